"""What the attacks share: the configuration, the verdict that each of them gives, a role that remembers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.results import Row
from protocols import available
from protocols.scan.parameters import FIELDS, WIDTH


@dataclass(frozen=True)
class Config:
    """crops: training pictures a photo for the fitted inversion. shown: photos in the side-by-side picture. slots and
    uploads: the distance matrix of the geometry attack, in entries and queries. harvest: bank entries and uploads
    of the measured band harvesting. chosen: results that a cheating platform sends against proofs.
    """

    seed: int = 1
    crops: int = 120
    shown: int = 5
    slots: int = 4000
    uploads: int = 200
    harvest: int = 20_000
    chosen: int = 10_240


QUICK = Config(crops=20, shown=3, slots=3000, uploads=80, harvest=4_000, chosen=512)


def verdict(attack: str, against: str, defence: str, measure: str, value: float, succeeds: bool, chance: float) -> Row:
    """One row of the summary: what the attack reached, what guessing reaches, and whether that is a success."""
    return {
        "attack": attack,
        "against": against,
        "defence": defence,
        "measure": measure,
        "value": value,
        "chance": chance,
        "succeeds": succeeds,
    }


def runnable(bits: int = 256) -> list[str]:
    """Protocols that can run here at this hash length, plaintext first."""
    return [name for name, can in available().items() if can.why_not is None and bits in can.bits]


def random_hashes(rng: np.random.Generator, rows: int, bits: int = 256) -> NDArray[np.uint8]:
    """Uniform packed hashes, (rows, bits/8) uint8."""
    return rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)


def remember(role: Any, method: str) -> list[Any]:
    """Make a role curious: a list that fills with what its method returns from now on. The role otherwise follows
    the protocol; this is what "semi-honest" means.
    """
    seen: list[Any] = []
    inner = getattr(role, method)

    @functools.wraps(inner)
    def curious(*arguments: Any, **options: Any) -> Any:
        answer = inner(*arguments, **options)
        seen.append(answer)
        return answer

    setattr(role, method, curious)
    return seen


def remember_shares(member: Any) -> list[NDArray[np.uint64]]:
    """Make a member of `scan` curious: a list that fills with its bit planes of each batch that it answers as A."""
    seen: list[NDArray[np.uint64]] = []
    sessions = member.sessions
    inner = sessions.receive_partial

    @functools.wraps(inner)
    def curious(sender: int, message: Any) -> None:
        inner(sender, message)
        seen.append(sessions._sessions[message.session].planes)

    sessions.receive_partial = curious
    return seen


def case_at(protocol: Any, slots: list[int]) -> list[str]:
    """Whose entries stand at these slots of block 0 of a `scan`: what the exchange knows."""
    exchange = protocol._exchange
    return [exchange._case_of[entry] for entry in exchange.blocks[0].entries_at(slots)]


def shares_at(seen: list[NDArray[np.uint64]], slots: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A member's shares of the aligned distances in these slots, (queries, slots), out of its batches' bit planes.

    seen: by `remember_shares`, (10, batch, 5, words) each: bit r of word c stands for coefficient r*words + c.
    """
    planes = np.concatenate(seen, axis=1)
    place, field = np.divmod(slots, FIELDS)
    row, word = np.divmod(place, planes.shape[-1])
    bits = (planes[1:, :, field, word] >> row.astype(np.uint64)) & np.uint64(1)
    return (bits << np.arange(WIDTH - 1, dtype=np.uint64)[:, None, None]).sum(axis=0, dtype=np.uint64)
