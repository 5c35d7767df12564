"""What the third member deals ahead for one batch: triples for its comparison, squares for its proof.

A deal is two seeds and B's corrections. It serves once, and is dropped at a restart.

NOT protected: the dealer together with A or B knows the other one's masks.
"""

from __future__ import annotations

import secrets
from collections import Counter

import numpy as np

from protocols.base import ReplayError
from protocols.ledger import as_array
from protocols.scan.comparison import corrections, gates
from protocols.scan.matching_messages import TripleCorrection, TripleSeed
from protocols.scan.packing import unpack
from protocols.scan.parameters import FIELDS, RESIDUE_BITS, Parameters
from protocols.scan.proof import deal_squares, squares
from protocols.scan.ring import Residues
from protocols.scan.sampling import SEED_BYTES, derive, fresh_seed
from protocols.scan.store import Table

CHUNK_WORDS = 81920  # that are compared together: few enough to lie in a cache, many enough to keep rounds few


def words_of(parameters: Parameters, lanes: int) -> int:
    """Words of 64 comparisons in a result of `lanes` lanes."""
    return FIELDS * lanes * parameters.n // 64


def chunks(parameters: Parameters, lanes: int, batch: int) -> list[tuple[int, int]]:
    """[first, last) of the results that are compared together: 32 of 8 lanes at n = 4096, more of fewer lanes."""
    step = max(1, CHUNK_WORDS // words_of(parameters, lanes))
    return [(first, min(first + step, batch)) for first in range(0, batch, step)]


def deal(parameters: Parameters, lanes: int, batch: int, proofs: bool) -> tuple[TripleSeed, TripleCorrection]:
    """As the dealer: triples for one batch of results against a block of `lanes` lanes; squares. Keeps nothing."""
    deal_id, seed_a, seed_b = secrets.token_bytes(16), fresh_seed(), fresh_seed()
    words = words_of(parameters, lanes)
    count = gates(parameters)
    total = batch * words
    corrected = np.empty(count * total, dtype=np.uint64)
    for number, (first, last) in enumerate(chunks(parameters, lanes, batch)):
        a, b = (derive(seed, "chunk", number.to_bytes(4)) for seed in (seed_a, seed_b))
        part = corrected[count * first * words : count * last * words]
        corrections(a, b, part.reshape(count, (last - first) * words))
    squared = memoryview(b"")
    if proofs:
        squared = deal_squares(derive(seed_a, "squares"), derive(seed_b, "squares"), batch, parameters.bits).data
    return TripleSeed(deal_id, seed_a, total), TripleCorrection(deal_id, seed_b, total, corrected.data, squared)


def dealt_squares(message: TripleSeed | TripleCorrection, batch: int, bits: int) -> tuple[Residues, Residues]:
    """A side's shares of the squares (r, r^2) of a deal, each (2, batch, bits). Raises MessageError."""
    corrected = None
    if isinstance(message, TripleCorrection):
        shape = (2, batch, RESIDUE_BITS, bits // 64)
        corrected = unpack(as_array(message.squares, np.uint64, shape, "squares"), "squares")
    return squares(derive(message.seed, "squares"), corrected, batch, bits)


class Stock:
    """A member's deals: in memory only. That one came is kept in a table, so that none comes twice."""

    limit = 64  # deals; with more, the oldest of the platform that has most is dropped: none can push out another's

    def __init__(self, parameters: Parameters, dealt: Table | None = None) -> None:
        self._parameters = parameters
        self._deals: dict[bytes, tuple[int, TripleSeed | TripleCorrection]] = {}
        self._asked: dict[bytes, str] = {}  # by which platform, the oldest first
        self._dealt = {} if dealt is None else dealt

    def receive(self, sender: int, message: TripleSeed | TripleCorrection, platform: str = "") -> None:
        """A deal of `sender`, asked for by `platform`. Raises ReplayError for one that came before, MessageError."""
        if message.deal in self._dealt or len(message.seed) != SEED_BYTES or message.words <= 0:
            raise ReplayError("triples: the deal came before, or is malformed")
        if isinstance(message, TripleCorrection):
            as_array(message.corrections, np.uint64, (gates(self._parameters), message.words), "corrections")
        self._dealt[message.deal] = b""
        while len(self._deals) >= self.limit:
            self._drop_one(platform)
        self._deals[message.deal], self._asked[message.deal] = (sender, message), platform

    def _drop_one(self, platform: str) -> None:
        asked = list(self._asked.items())
        most, _ = Counter([*(by for _, by in asked), platform]).most_common(1)[0]
        oldest = next(deal_id for deal_id, by in asked if by == most)
        del self._deals[oldest], self._asked[oldest]

    def missing(self, deals: list[bytes]) -> list[bytes]:
        """Which of these deals are not in stock: used, dropped, or gone with an earlier process."""
        return [deal_id for deal_id in deals if deal_id not in self._deals]

    def take(
        self, deal_id: bytes, words: int, first: bool, pair: list[int]
    ) -> tuple[int, TripleSeed | TripleCorrection]:
        """The dealer, and a deal out of stock, before anything is masked with it.

        words: of a gate. Raises ReplayError for a deal that is not in stock, or that one of the pair dealt: a dealer
        knows both sides' masks.
        """
        dealer, message = self._deals.pop(deal_id, (0, None))
        self._asked.pop(deal_id, None)
        if message is None or message.words != words or isinstance(message, TripleSeed) != first:
            raise ReplayError("comparison: the deal is not in stock, or was made for another batch")
        if dealer in pair:
            raise ReplayError(f"comparison: member-{dealer} dealt and takes part; the third member deals")
        return dealer, message
