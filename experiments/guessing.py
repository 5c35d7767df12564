"""How many tokens a platform must try until one opens an entry that an image of its own comes near to.

It need not choose as the protocol does: it may turn over whatever bits of its image it likes, in any band, and the
margins tell it which are likely to be wrong (`protocols.blind.bands` has the probabilities). Asking the most probable
inputs first it opens the entry at the first that is one of the entry's tokens. Inputs are counted, not listed: of each
band the sets of turned bits whose losses add up to no more, by dynamic programming over losses in steps of STEP,
rounded down, so that the count is not too small. A platform that knows better how copies come about needs fewer.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hashing.pdq import Pdq
from protocols.blind import bands
from protocols.blind.parameters import Parameters

STEP = 0.05  # of -log(probability)
LONGEST = 1200  # steps: what is less likely than e^-60 beside the likeliest is out of reach


def tries(entry: Pdq, image: Pdq, parameters: Parameters) -> float:
    """Inputs that are at least as probable, given `image`, as the first of them that is a token of `entry`.

    Infinite where that is out of reach.
    """
    where = bands.positions(parameters)
    _, chosen, values = bands.inputs(packed(entry), entry.margins[None], parameters.entry_tokens, parameters)
    odds = bands.log_odds(image.margins).astype(np.float64)
    unturned = np.log1p(np.exp(-odds))[where].sum(axis=1)
    differ = np.unpackbits(packed(image))[where[chosen[0]]] != values[0]
    needed = (unturned[chosen[0]] + (odds[where[chosen[0]]] * differ).sum(axis=1)).min()
    room = np.floor((needed - unturned) / STEP + 1e-6).astype(np.int64)
    if room.max() > LONGEST:
        return float("inf")
    steps = np.minimum(np.floor(odds / STEP), LONGEST + 1).astype(np.int64)
    return float(_count(steps[where], room))


def packed(pdq: Pdq) -> NDArray[np.uint8]:
    """(1, 32) uint8."""
    return np.frombuffer(pdq.fingerprint.data, dtype=np.uint8)[None]


@njit("float64(int64[:, :], int64[:])", cache=True)
def _count(steps, room):  # type: ignore[no-untyped-def]
    """Over the rows with room >= 0: subsets of steps[row] that add up to at most room[row]."""
    total = 0.0
    for row in range(len(room)):
        if room[row] >= 0:
            ways = np.zeros(room[row] + 1)
            ways[0] = 1
            for step in steps[row]:
                for at in range(room[row], step - 1, -1):
                    ways[at] += ways[at - step]
            total += ways.sum()
    return total
