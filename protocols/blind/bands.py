"""Which tokens a fingerprint gets: bands drawn in public, chosen by how reliable the fingerprint's bits are.

Band j of L is a fixed set of k of the hash's bit positions, drawn from SHAKE-256 of the parameters. A fingerprint's
input in band j is j and its bits there, so that two fingerprints share a token where they agree on all of a band.

Of a fingerprint whose bits' margins are known (for PDQ, the DCT coefficients' distances from their median), only
the T most promising inputs become tokens, among all bands as they are and with any one bit turned over. A bit with
margin m flips in a copy with probability p = 1 / (1 + exp(a |m| / median|m|)); an input survives in a copy with
probability prod (1 - p_i) over its band, times p_f / (1 - p_f) if bit f was turned over. Entry and query choose
alone, and mostly the same bands, because a copy's margins are like the original's (multi-probe hashing: Lv et al.,
VLDB 2007, there for queries only). Without margins: the first T bands, nothing turned over.

NOT protected: what is chosen depends on the fingerprint; it leaves the device only blinded, and T is constant.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from protocols.base import Hashes, Margins
from protocols.blind.parameters import Parameters

SHARPNESS = 2.0  # a; fitted on photos that no reported recall is measured on
TURNED = 1  # bits that either side may have turned over in a token: what `choose` does


@lru_cache(maxsize=16)
def positions(parameters: Parameters) -> NDArray[np.intp]:
    """(L, k), ascending in every row: the same for everybody with these parameters."""
    drawn = hashlib.shake_256(parameters.domain).digest(parameters.bands * parameters.bits * 8)
    keys = np.frombuffer(drawn, dtype="<u8").reshape(parameters.bands, parameters.bits)
    chosen = np.sort(keys.argsort(axis=1, kind="stable")[:, : parameters.k], axis=1)
    chosen.flags.writeable = False
    return chosen


def log_odds(margins: NDArray[np.floating]) -> NDArray[np.float32]:
    """log((1 - p) / p) of the probability p that a bit flips in a copy, of margins (bits,) of any scale."""
    size = np.abs(margins).astype(np.result_type(margins, np.float64))
    size = np.ldexp(size, -int(np.frexp(size.max())[1])).astype(np.float64)  # below 1, whatever the scale was
    typical = np.median(size) or size.max() or 1
    with np.errstate(over="ignore"):
        return np.minimum(SHARPNESS * (size / typical), 1e30).astype(np.float32)


def choose(margins: NDArray[np.floating], count: int, parameters: Parameters) -> tuple[NDArray, NDArray]:
    """The `count` most promising inputs of one fingerprint with margins (bits,).

    Returns bands (count,), and the position turned over in each (count,), or -1.
    """
    bands = positions(parameters)
    odds = log_odds(margins)
    loss = np.log1p(np.exp(-odds))[bands].sum(axis=1)  # -log(probability) with nothing turned over
    near = np.argpartition(loss, count - 1)[:count]  # no other band has an input among the best `count`
    where = bands[near]
    losses = np.concatenate([loss[near, None], loss[near, None] + odds[where]], axis=1).ravel()
    few = np.flatnonzero(losses <= loss[near[-1]])  # the best `count` lie below the last of these bands unturned
    row, column = np.divmod(few[np.argpartition(losses[few], count - 1)[:count]], parameters.k + 1)
    return near[row], np.where(column == 0, -1, where[row, column - 1])


def inputs(
    hashes: Hashes, margins: Margins | None, count: int, parameters: Parameters
) -> tuple[list[bytes], NDArray, NDArray]:
    """What goes into the OPRF for N packed hashes: N*count inputs, row by row, `count` a hash.

    Returns them, their bands (N, count), and their bits (N, count, k) of 0s and 1s as they went in.
    """
    bands = positions(parameters)
    chosen = np.tile(np.arange(count), (len(hashes), 1))
    bits = np.unpackbits(hashes, axis=1)
    turned = np.full((len(hashes), count), -1)
    for row in range(len(hashes) if margins is not None else 0):
        chosen[row], turned[row] = choose(margins[row], count, parameters)  # type: ignore[index]
    where = bands[chosen]
    values = np.take_along_axis(bits[:, None, :], where, axis=2) ^ (where == turned[:, :, None])
    packed = np.packbits(values, axis=2)
    prefix = parameters.domain
    texts = [
        prefix + band.to_bytes(2) + body.tobytes()
        for band, body in zip(chosen.ravel().tolist(), packed.reshape(-1, packed.shape[2]), strict=True)
    ]
    return texts, chosen, values
