"""One batch of results against one block, as A or B of the pair answers it: the order of steps.

    platform -> A: header, c1, c0     platform -> B: header, c1
    A <-> B: digest of the header     (nothing is evaluated before they agree)
    A <-> B: digest of the deal     (with proofs: two deals would fail an honest proof)
    A <-> B: the check of the proof   (`verification`; nothing is decrypted before it is accepted)
    B -> A: lambda_B*sigma_B*c1 + mu
    A <-> B: gate openings, chunk by chunk; then shares of the match bits
    A, B -> exchange: signed match lists; A, B -> platform: signed match counts

A adds tombstones to c0 from the slot map that it checked itself, and both drop slots that are not live, so a stale
platform or a lying exchange gains nothing. Triples are dealt ahead by the third member and serve once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import as_array
from protocols.scan.blocks import BlockStore
from protocols.scan.comparison import Comparison, gates, rounds
from protocols.scan.dealing import Stock, chunks, dealt_squares, words_of
from protocols.scan.encryption import PublicKey
from protocols.scan.keys import MEMBERS, KeyShare
from protocols.scan.matching_messages import (
    GateOpening,
    HeaderDigest,
    MatchBits,
    MatchCounts,
    MatchList,
    PartialDecryption,
    ScanHeader,
    TripleCorrection,
    TripleSeed,
)
from protocols.scan.packing import Words, positions
from protocols.scan.parameters import FIELDS, RESIDUE_BITS, WIDTH, Parameters
from protocols.scan.proof_messages import ProofDeal, ProofOpening, ProofToss
from protocols.scan.sampling import Stream, derive
from protocols.scan.sealing import digest, same
from protocols.scan.standing import Standing, Standings
from protocols.scan.verification import Verification, results_digest


@dataclass(repr=False)
class Session:
    """Member `member`'s part. digest: of the header. c0: empty at B. proof: None where none is asked for."""

    member: int
    parameters: Parameters
    standings: Standings
    header: ScanHeader
    digest: bytes
    lanes: int
    c1: memoryview
    c0: memoryview
    proof: Verification | None
    begun: float = field(default_factory=time.monotonic)
    agreed: bool = False
    deal: TripleSeed | TripleCorrection | None = None
    answered: PartialDecryption | None = None
    planes: Words | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    bits: Words | None = None
    decided: bool = False
    matches: dict[int, list[int]] = field(default_factory=dict)
    many: list[int] = field(default_factory=list)

    @property
    def first(self) -> bool:
        """Whether this member is A."""
        return self.header.pair[0] == self.member

    @property
    def other(self) -> int:
        """The other member of the pair."""
        return next(member for member in self.header.pair if member != self.member)

    def receive_header(self, sender: int, message: HeaderDigest) -> None:
        """What the other member was given. Raises IntegrityError if it differs."""
        if sender != self.other:
            raise MessageError(f"header digest: member-{sender} is not of the pair")
        if not same(message.digest, self.digest):
            raise IntegrityError(f"{self.header.platform} gave member-{sender} another header")
        if self.proof is not None:
            self.proof.receive_commitment(message.toss)
        self.agreed = True

    # Proof -------------------------------------------------------------------------------------------------------

    def verification(self) -> Verification:
        """The check of the batch's proof. Raises ReplayError without proofs or before members compared headers."""
        if self.proof is None or not self.agreed:
            raise ReplayError("proof: none is checked here, or members have not compared headers")
        return self.proof

    def use_deal(self, stock: Stock, deal_id: bytes) -> ProofDeal:
        """Take the deal that the batch is checked and compared with; what to tell the other. Raises ReplayError."""
        self.verification()
        if self.deal is not None:
            raise ReplayError("proof: the batch has its deal already")
        dealer, self.deal = self._take(stock, deal_id)
        return ProofDeal(self.header.session, digest("deal", deal_id, bytes([dealer])))

    def receive_deal(self, sender: int, message: ProofDeal) -> None:
        """Raises IntegrityError, before anything is tossed, if the other member was told of another deal."""
        proof = self.verification()
        if sender != self.other or self.deal is None:
            raise ReplayError(f"proof: no deal of member-{sender} is due")
        dealer = next(member for member in MEMBERS if member not in self.header.pair)
        if not same(message.deal, digest("deal", self.deal.deal, bytes([dealer]))):
            raise IntegrityError(f"proof: member-{sender} was told of another deal; the platform is not at fault")
        proof.deal_agreed = True

    def receive_toss(self, sender: int, message: ProofToss, bank: BlockStore, public_key: PublicKey) -> ProofOpening:
        """The other member's seed; what to open. Raises IntegrityError, ProofRefused, ReplayError, StaleVersion."""
        self.verification().receive_toss(sender, message)
        return self.open_proof(bank, public_key)

    def open_proof(self, bank: BlockStore, public_key: PublicKey) -> ProofOpening:
        """What this member opens of a challenged batch. Raises ProofRefused, ReplayError, StaleVersion."""
        proof, header = self.verification(), self.header
        installed = bank.blocks.get(header.block)
        if installed is None or not same(installed.digest, header.block_digest):
            raise StaleVersion(f"proof: block {header.block}, version {header.version} is not installed here")
        if self.deal is None:
            raise ReplayError("proof: the batch has no deal yet")
        dealt = dealt_squares(self.deal, header.batch, self.parameters.bits)
        results = results_digest(header.c1_digest, header.c0_digest)
        return proof.opening(public_key, installed.planes, dealt, results)

    # Decryption into shares --------------------------------------------------------------------------------------

    def partial(self, key_share: KeyShare) -> PartialDecryption:
        """As B. A second call gives the bytes of the first: mu serves once. Raises ReplayError out of turn."""
        self._check_turn(first=False)
        if self.answered is None:
            batch, n, lanes = self.header.batch, self.parameters.n, self.lanes
            masked = np.empty((batch, 2 * lanes, RESIDUE_BITS, n // 64), dtype=np.uint64)
            planes = self._empty_planes()
            key_share.mask_batch(self.other, self._c1(), Stream(), masked, planes)
            self.planes = planes
            self.answered = PartialDecryption(self.header.session, masked.data)
        return self.answered

    def receive_partial(self, sender: int, message: PartialDecryption, key_share: KeyShare) -> None:
        """As A. Raises MessageError, ReplayError."""
        self._check_turn(first=True)
        if sender != self.other or self.planes is not None or self.comparisons:
            raise ReplayError(f"partial decryption: none of member-{sender} is due")
        shape = (self.header.batch, 2 * self.lanes, RESIDUE_BITS, self.parameters.n // 64)
        masked = as_array(message.partial, np.uint64, shape, "partial decryption")
        c0 = as_array(self.c0, np.uint64, shape, "c0")
        planes = self._empty_planes()
        key_share.unmask_batch(sender, self._c1(), c0, masked, self._standing().added, planes)
        self.planes = planes

    def _check_turn(self, first: bool) -> None:
        if not self.agreed or self.first != first:
            raise ReplayError("the members have not compared headers, or this is the other one's step")
        if self.proof is not None and not self.proof.accepted:
            raise ReplayError("nothing is decrypted before the proof of the whole batch is accepted")

    def _c1(self) -> Words:
        shape = (self.header.batch, 2, RESIDUE_BITS, self.parameters.n // 64)
        return as_array(self.c1, np.uint64, shape, "c1")

    def _empty_planes(self) -> Words:
        size = self.lanes * self.parameters.n // 64
        return np.empty((WIDTH, self.header.batch, FIELDS, size), dtype=np.uint64)

    def _standing(self) -> Standing:
        return self.standings.of(self.header.block, self.header.version)

    # Comparison --------------------------------------------------------------------------------------------------

    def start_comparison(self, stock: Stock, deal_id: bytes) -> None:
        """Spend a deal on shares that are ready. A batch that was proved has its deal already. Raises ReplayError."""
        if self.planes is None or self.comparisons:
            raise ReplayError("comparison: shares are not ready, or it was started before")
        message = self.deal or self._take(stock, deal_id)[1]
        planes, batch = self.planes, self.header.batch
        size = planes.shape[2] * planes.shape[3]
        start, count = 0, gates(self.parameters)
        for number, (first, last) in enumerate(chunks(self.parameters, self.lanes, batch)):
            words = (last - first) * size
            corrected = None
            if isinstance(message, TripleCorrection):
                part = memoryview(message.corrections)[8 * start : 8 * (start + count * words)]
                corrected = np.frombuffer(part, dtype=np.uint64).reshape(count, words)
            start += count * words
            seed = derive(message.seed, "chunk", number.to_bytes(4))
            rows = planes[:, first:last].reshape(WIDTH, words)
            side = Comparison(self.parameters, rows, self.first, seed, corrected)
            self.comparisons.append(side)
        self.planes = None

    def _take(self, stock: Stock, deal_id: bytes) -> tuple[int, TripleSeed | TripleCorrection]:
        words = self.header.batch * words_of(self.parameters, self.lanes)
        return stock.take(deal_id, words, self.first, self.header.pair)

    def gate_opening(self, chunk: int, round_: int) -> GateOpening:
        """Raises ReplayError out of turn."""
        side = self._side(chunk, round_)
        return GateOpening(self.header.session, chunk, round_, side.opening().data)

    def next_gates(self, sender: int, message: GateOpening) -> GateOpening | None:
        """Take the other's opening; this one's of the chunk's next round, None after the last.

        Raises ReplayError, MessageError.
        """
        if sender != self.other:
            raise MessageError(f"gate opening of member-{sender}: not of this session")
        self._side(message.chunk, message.round).receive(message.masked)
        if message.round + 1 == len(rounds(self.parameters)):
            return None
        return self.gate_opening(message.chunk, message.round + 1)

    def _side(self, chunk: int, round_: int) -> Comparison:
        if not 0 <= chunk < len(self.comparisons) or round_ != self.comparisons[chunk].round:
            raise ReplayError(f"comparison: round {round_} of chunk {chunk} is not due")
        return self.comparisons[chunk]

    def match_bits(self) -> MatchBits:
        """This member's share of the match bits. Raises ReplayError before the last round."""
        if not self.comparisons:
            raise ReplayError("comparison: it was not started")
        self.bits = np.concatenate([side.result() for side in self.comparisons])
        return MatchBits(self.header.session, self.bits.data)

    def receive_match_bits(self, sender: int, message: MatchBits, cap: int | None, pair_key: bytes) -> None:
        """Combine, drop slots that are not live, apply the cap. Raises ReplayError, MessageError, StaleVersion.

        pair_key: what both members choose by, alike, which matches of a query over the cap are answered.
        """
        if self.bits is None or self.decided or sender != self.other:
            raise ReplayError(f"match bits of member-{sender} are not due")
        live = self._standing().live
        theirs = as_array(message.bits, np.uint64, self.bits.shape, "match bits")
        bits = (self.bits ^ theirs).reshape(self.header.batch, *live.shape) & live
        queries, fields, coefficients = positions(bits)
        slots = coefficients * FIELDS + fields
        for query in np.unique(queries):
            numbers = np.sort(slots[queries == query])
            if cap is not None and len(numbers) > cap:
                self.many.append(int(query))
                numbers = np.sort(numbers[self._chosen(int(query), len(numbers), cap, pair_key)])
            self.matches[int(query)] = [int(slot) for slot in numbers]
        self.decided = True

    def _chosen(self, query: int, found: int, cap: int, pair_key: bytes) -> NDArray[np.int64]:
        seed = derive(pair_key, "cap", self.header.session, query.to_bytes(4))
        return np.argsort(Stream(seed).words(found), kind="stable")[:cap]

    def answer(self, name: str) -> tuple[MatchList, MatchCounts]:
        """The list for the exchange and the counts for the platform, of the member of this name. Raises ReplayError."""
        if not self.decided:
            raise ReplayError("the session is not decided")
        h = self.header
        pairs = [(query, slot) for query, slots in sorted(self.matches.items()) for slot in slots]
        queries, slots = [query for query, _ in pairs], [slot for _, slot in pairs]
        counts = [len(self.matches.get(query, [])) for query in range(h.batch)]
        match_list = MatchList(name, h.session, h.platform, h.version, h.block, queries, slots, self.many)
        return match_list, MatchCounts(name, h.session, h.block, counts)
