"""A member's part in answering a batch of results: as A, as B, or as the dealer.

For one batch of results against one block, with members A and B:

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

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ProofRefused, ReplayError, StaleVersion
from protocols.ledger import as_array, decode, role_of
from protocols.scan.blocks import BlockStore
from protocols.scan.budgets import Budgets
from protocols.scan.comparison import Comparison, gates, rounds
from protocols.scan.custody import Custody
from protocols.scan.dealing import Stock, chunks, dealt_squares, words_of
from protocols.scan.encryption import PublicKey
from protocols.scan.keys import MEMBERS, KeyShare
from protocols.scan.manifest import Pinned
from protocols.scan.messages import (
    GateOpening,
    HeaderDigest,
    MatchBits,
    MatchCounts,
    MatchList,
    PartialDecryption,
    ScanHeader,
    ScanResults,
    SignedHeader,
    SignedMatchCounts,
    SignedMatchList,
    TripleCorrection,
    TripleSeed,
)
from protocols.scan.packing import Words, check_residues, positions
from protocols.scan.parameters import FIELDS, RESIDUE_BITS, WIDTH, Parameters
from protocols.scan.proof_messages import (
    ProofClosing,
    ProofDeal,
    ProofOpening,
    ProofRefusal,
    ProofToss,
    SignedRefusal,
)
from protocols.scan.sampling import Stream, derive
from protocols.scan.sealing import Identity, digest, same
from protocols.scan.standing import Standing, standing
from protocols.scan.store import Store, Tables
from protocols.scan.verification import Verification, proof_of, results_digest


@dataclass(repr=False)
class _Session:
    """One batch of results at one member."""

    header: ScanHeader
    digest: bytes
    first: bool
    c1: memoryview
    c0: memoryview
    lanes: int
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


class Sessions:
    """Member `member`'s sessions, triples in stock, and budgets. Thread-safe by session."""

    def __init__(
        self,
        member: int,
        identity: Identity,
        pinned: Pinned,
        parameters: Parameters,
        custody: Custody,
        store: Tables | None = None,
        unfinished: int = 0,
    ) -> None:
        """store: what was seen, asked for and refused. unfinished: challenged batches a platform may leave a day.

        Each of those is one more try to pass the checks by luck (docs/prove.md has the odds).
        """
        store = store or Store()
        self._refused = store.table("refused")
        self._budgets = Budgets(pinned.manifest, store.table("asked"), unfinished)
        self._member = member
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._custody = custody
        self._sessions: dict[bytes, _Session] = {}
        self._seen = store.table("sessions")
        self._kept: dict[int, Standing] = {}
        self.stock = Stock(parameters, store.table("deals"))
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Sessions of member-{self._member}>"

    def use_bank(self, bank: BlockStore) -> None:
        """The published blocks, which proofs are about."""
        self._bank = bank

    def use_keys(self, key_share: KeyShare, pair_keys: dict[int, bytes], public_key: PublicKey) -> None:
        """What the ceremony gave."""
        self._key_share, self._pair_keys, self._public_key = key_share, pair_keys, public_key

    # Agreeing on what is answered --------------------------------------------------------------------------------

    def receive_results(self, platform: str, message: ScanResults) -> HeaderDigest:
        """A batch of results from a platform; what to tell the other member of the pair.

        Raises IntegrityError for a signature or digest that does not verify, StaleVersion, ReplayError, MessageError,
        BudgetExceeded.
        """
        if platform not in self._pinned.parties or role_of(platform) != "platform":
            raise IntegrityError(f"{platform} is no platform of the manifest")
        if platform.encode() in self._refused:
            raise IntegrityError(f"{platform} is not served: a proof of it was refused, or not finished: reinstate it")
        header = self._pinned.parties[platform].verify(message.header, ScanHeader)
        first = self._check_header(header, platform)
        lanes = self._custody.blocks[header.block].lanes
        size = 2 * header.batch * RESIDUE_BITS * self._parameters.n // 8
        if len(message.c1) != size or len(message.c0) != (size * lanes if first else 0):
            raise MessageError(f"results of {platform}: c1 or c0 has the wrong length")
        if not same(digest("c1", message.c1), header.c1_digest) or (
            first and not same(digest("c0", message.c0), header.c0_digest)
        ):
            raise IntegrityError(f"results of {platform}: not the ones that its header is about")
        n, batch = self._parameters.n, header.batch  # range: checked now, as failing after the toss would be a failure
        check_residues(message.c1, (batch, 2), n, "c1")
        if first:
            check_residues(message.c0, (batch, 2 * lanes), n, "c0")
        proof = None
        if self._pinned.manifest.proofs:
            proof = proof_of(message, header, self._member, self._identity, self._parameters, lanes)
        with self._lock:
            if header.session in self._seen:
                raise ReplayError(f"results of {platform}: the session was seen before")
            self._budgets.spend(platform, header.batch)
            self._seen[header.session] = b""
            agreed_on = digest("header", message.header.body)
            session = _Session(header, agreed_on, first, message.c1, message.c0, lanes, proof)
            self._sessions[header.session] = session
        return HeaderDigest(header.session, session.digest, b"" if proof is None else proof.commitment)

    def _check_header(self, header: ScanHeader, platform: str) -> bool:
        if header.platform != platform or header.batch != self._pinned.manifest.batch:
            raise MessageError(f"header of {platform}: names another platform, or a batch of another size")
        if len(header.session) != 16 or len(header.pair) != 2 or self._member not in header.pair:
            raise MessageError(f"header of {platform}: not for member-{self._member}")
        if len(set(header.pair)) != 2 or not set(header.pair) <= set(MEMBERS):
            raise MessageError(f"header of {platform}: {header.pair} is no pair of members")
        slots = self._custody.blocks.get(header.block)
        current = self._custody.block_digests.get(header.block)
        if header.epoch != self._pinned.manifest.epoch or slots is None or header.version != slots.version:
            raise StaleVersion(
                f"header of {platform}: epoch {header.epoch}, block {header.block}, version {header.version} is not"
                " what members serve; sync and scan again"
            )
        if current is None or not same(header.block_digest, current):
            raise StaleVersion(f"header of {platform}: block {header.block} is not the one that was signed")
        return header.pair[0] == self._member

    def receive_header(self, sender: int, message: HeaderDigest) -> None:
        """What the other member was given. Raises IntegrityError if it differs."""
        session = self._session(message.session)
        if sender != self._other(session):
            raise MessageError(f"header digest: member-{sender} is not of the pair")
        if not same(message.digest, session.digest):
            raise IntegrityError(f"{session.header.platform} gave member-{sender} another header")
        if session.proof is not None:
            session.proof.receive_commitment(message.toss)
        session.agreed = True

    # Proof -------------------------------------------------------------------------------------------------------

    def verification(self, session_id: bytes) -> Verification:
        """The check of a batch's proof. Raises ReplayError without proofs or before members compared headers."""
        session = self._session(session_id)
        if session.proof is None or not session.agreed:
            raise ReplayError("proof: none is checked here, or members have not compared headers")
        return session.proof

    def use_deal(self, session_id: bytes, deal_id: bytes) -> ProofDeal:
        """Take the deal that a batch is checked and compared with; what to tell the other. Raises ReplayError."""
        session = self._session(session_id)
        self.verification(session_id)
        if session.deal is not None:
            raise ReplayError("proof: the batch has its deal already")
        dealer, session.deal = self._take(session, deal_id)
        return ProofDeal(session_id, digest("deal", deal_id, bytes([dealer])))

    def receive_deal(self, sender: int, message: ProofDeal) -> None:
        """Raises IntegrityError, before anything is tossed, if the other member was told of another deal."""
        session, proof = self._session(message.session), self.verification(message.session)
        if sender != self._other(session) or session.deal is None:
            raise ReplayError(f"proof: no deal of member-{sender} is due")
        dealer = next(member for member in MEMBERS if member not in session.header.pair)
        if not same(message.deal, digest("deal", session.deal.deal, bytes([dealer]))):
            raise IntegrityError(f"proof: member-{sender} was told of another deal; the platform is not at fault")
        proof.deal_agreed = True

    def toss(self, session_id: bytes) -> ProofToss:
        """This member's seed of the challenge, told once. Raises ReplayError."""
        return self.verification(session_id).toss()

    def receive_toss(self, sender: int, message: ProofToss) -> ProofOpening:
        """The other member's seed; what to open. Raises IntegrityError, ProofRefused, ReplayError, StaleVersion."""
        self.verification(message.session).receive_toss(sender, message)
        return self.open_proof(message.session)

    def receive_opening(self, sender: int, message: ProofOpening) -> ProofClosing:
        """The other member's opening; the second round's. Raises ProofRefused, MessageError, ReplayError."""
        return self.verification(message.session).receive_opening(sender, message)

    def receive_closing(self, sender: int, message: ProofClosing) -> None:
        """The other member's sign sums: the batch is accepted, or refused. Raises ProofRefused, MessageError."""
        self.verification(message.session).receive_closing(sender, message)

    def open_proof(self, session_id: bytes) -> ProofOpening:
        """What this member opens of a challenged batch. Raises ProofRefused, ReplayError, StaleVersion."""
        session, proof = self._session(session_id), self.verification(session_id)
        header, bits = session.header, self._parameters.bits
        installed = self._bank.blocks.get(header.block)
        if installed is None or not same(installed.digest, header.block_digest):
            raise StaleVersion(f"proof: block {header.block}, version {header.version} is not installed here")
        if session.deal is None:
            raise ReplayError("proof: the batch has no deal yet")
        dealt = dealt_squares(session.deal, header.batch, bits)
        results = results_digest(header.c1_digest, header.c0_digest)
        return proof.opening(self._public_key, installed.planes, dealt, results)

    def refuse(self, session_id: bytes, refused: ProofRefused) -> SignedRefusal:
        """End a session whose proof failed; its platform is not served any more. For the exchange: who and why."""
        self.abandon(session_id)
        self._refused[refused.party.encode()] = refused.check.encode()
        name = self._identity.name
        evidence = decode(refused.evidence, SignedHeader)
        told = ProofRefusal(name, refused.party, session_id, refused.check, evidence)
        return self._identity.sign(told, SignedRefusal)

    def reinstate(self, platform: str) -> None:
        """Serve a platform again whose proof was refused, or not finished."""
        self._refused.pop(platform.encode(), None)

    # Decryption into shares --------------------------------------------------------------------------------------

    def partial(self, session_id: bytes) -> PartialDecryption:
        """As B. A second call gives the bytes of the first: mu serves once. Raises ReplayError out of turn."""
        session = self._agreed(session_id, first=False)
        if session.answered is None:
            batch, n, lanes = session.header.batch, self._parameters.n, session.lanes
            masked = np.empty((batch, 2 * lanes, RESIDUE_BITS, n // 64), dtype=np.uint64)
            planes = self._planes(session)
            self._key_share.mask_batch(self._other(session), self._c1(session), Stream(), masked, planes)
            session.planes = planes
            session.answered = PartialDecryption(session_id, masked.data)
        return session.answered

    def receive_partial(self, sender: int, message: PartialDecryption) -> None:
        """As A. Raises MessageError, ReplayError."""
        session = self._agreed(message.session, first=True)
        if sender != self._other(session) or session.planes is not None or session.comparisons:
            raise ReplayError(f"partial decryption: none of member-{sender} is due")
        batch, n, lanes = session.header.batch, self._parameters.n, session.lanes
        shape = (batch, 2 * lanes, RESIDUE_BITS, n // 64)
        masked = as_array(message.partial, np.uint64, shape, "partial decryption")
        c0 = as_array(session.c0, np.uint64, shape, "c0")
        planes = self._planes(session)
        self._key_share.unmask_batch(sender, self._c1(session), c0, masked, self._standing(session).added, planes)
        session.planes = planes

    def _c1(self, session: _Session) -> Words:
        shape = (session.header.batch, 2, RESIDUE_BITS, self._parameters.n // 64)
        return as_array(session.c1, np.uint64, shape, "c1")

    def _standing(self, session: _Session) -> Standing:
        """What the block's live slots come to, made anew after a withdrawal. Raises StaleVersion."""
        block = session.header.block
        slots = self._custody.blocks[block]
        if slots.version != session.header.version:
            raise StaleVersion("the block was rebuilt during the session")
        kept = self._kept.get(block)
        if kept is None or (kept.version, kept.revision) != (slots.version, slots.revision):
            kept = self._kept[block] = standing(slots, self._parameters)
        return kept

    def _planes(self, session: _Session) -> Words:
        size = session.lanes * self._parameters.n // 64
        return np.empty((session.header.batch, WIDTH, FIELDS, size), dtype=np.uint64)

    # Comparison --------------------------------------------------------------------------------------------------

    def start_comparison(self, session_id: bytes, deal_id: bytes) -> None:
        """Spend a deal on a session whose shares are ready.

        A batch that was proved has its deal already. Raises ReplayError.
        """
        session = self._session(session_id)
        if session.planes is None or session.comparisons:
            raise ReplayError("comparison: shares are not ready, or it was started before")
        message = session.deal or self._take(session, deal_id)[1]
        planes, batch = session.planes, session.header.batch
        size = planes.shape[2] * planes.shape[3]
        start, count = 0, gates(self._parameters)
        for number, (first, last) in enumerate(chunks(self._parameters, session.lanes, batch)):
            words = (last - first) * size
            corrected = None
            if isinstance(message, TripleCorrection):
                part = memoryview(message.corrections)[8 * start : 8 * (start + count * words)]
                corrected = np.frombuffer(part, dtype=np.uint64).reshape(count, words)
            start += count * words
            seed = derive(message.seed, "chunk", number.to_bytes(4))
            rows = np.ascontiguousarray(planes[first:last].reshape(last - first, WIDTH, size).swapaxes(0, 1))
            side = Comparison(self._parameters, rows.reshape(WIDTH, words), session.first, seed, corrected)
            session.comparisons.append(side)
        session.planes = None

    def _take(self, session: _Session, deal_id: bytes) -> tuple[int, TripleSeed | TripleCorrection]:
        words = session.header.batch * words_of(self._parameters, session.lanes)
        return self.stock.take(deal_id, words, session.first, session.header.pair)

    def gate_opening(self, session_id: bytes, chunk: int, round_: int) -> GateOpening:
        """Raises ReplayError out of turn."""
        side = self._side(self._session(session_id), chunk, round_)
        return GateOpening(session_id, chunk, round_, side.opening().data)

    def receive_gates(self, sender: int, message: GateOpening) -> None:
        """Raises ReplayError, MessageError."""
        session = self._session(message.session)
        if sender != self._other(session):
            raise MessageError(f"gate opening of member-{sender}: not of this session")
        self._side(session, message.chunk, message.round).receive(message.masked)

    def next_gates(self, sender: int, message: GateOpening) -> GateOpening | None:
        """Take the other's opening; this one's of the chunk's next round, None after the last. Raises as above."""
        self.receive_gates(sender, message)
        if message.round + 1 == len(rounds(self._parameters)):
            return None
        return self.gate_opening(message.session, message.chunk, message.round + 1)

    def _side(self, session: _Session, chunk: int, round_: int) -> Comparison:
        if not 0 <= chunk < len(session.comparisons) or round_ != session.comparisons[chunk].round:
            raise ReplayError(f"comparison: round {round_} of chunk {chunk} is not due")
        return session.comparisons[chunk]

    def match_bits(self, session_id: bytes) -> MatchBits:
        """This member's share of the match bits. Raises ReplayError before the last round."""
        session = self._session(session_id)
        if not session.comparisons:
            raise ReplayError("comparison: it was not started")
        session.bits = np.concatenate([side.result() for side in session.comparisons])
        return MatchBits(session_id, session.bits.data)

    def receive_match_bits(self, sender: int, message: MatchBits) -> None:
        """Combine, drop slots that are not live, apply the cap. Raises ReplayError, MessageError."""
        session = self._session(message.session)
        if session.bits is None or session.decided or sender != self._other(session):
            raise ReplayError(f"match bits of member-{sender} are not due")
        live = self._standing(session).live
        theirs = as_array(message.bits, np.uint64, session.bits.shape, "match bits")
        bits = (session.bits ^ theirs).reshape(session.header.batch, *live.shape) & live
        cap = self._pinned.manifest.match_cap
        queries, fields, coefficients = positions(bits)
        slots = coefficients * FIELDS + fields
        for query in np.unique(queries):
            numbers = np.sort(slots[queries == query])
            if cap is not None and len(numbers) > cap:
                session.many.append(int(query))
                numbers = np.sort(numbers[self._chosen(session, int(query), len(numbers), cap)])
            session.matches[int(query)] = [int(slot) for slot in numbers]
        session.decided = True
        with self._lock:
            self._budgets.note_matches(session.header.platform, len(session.matches))

    def _chosen(self, session: _Session, query: int, found: int, cap: int) -> NDArray[np.int64]:
        """Which matches of a query over the cap are answered: at random, but the same for both members."""
        key = self._pair_keys[self._other(session)]
        seed = derive(key, "cap", session.header.session, query.to_bytes(4))
        return np.argsort(Stream(seed).words(found), kind="stable")[:cap]

    def answer(self, session_id: bytes) -> tuple[SignedMatchList, SignedMatchCounts]:
        """The signed list for the exchange and counts for the platform; the session ends. Raises ReplayError."""
        session = self._session(session_id)
        if not session.decided:
            raise ReplayError("the session is not decided")
        del self._sessions[session_id]
        h, name = session.header, self._identity.name
        pairs = [(query, slot) for query, slots in sorted(session.matches.items()) for slot in slots]
        queries, slots = [query for query, _ in pairs], [slot for _, slot in pairs]
        match_list = MatchList(name, h.session, h.platform, h.version, h.block, queries, slots, session.many)
        counts = [len(session.matches.get(query, [])) for query in range(h.batch)]
        match_counts = MatchCounts(name, h.session, h.block, counts)
        return self._identity.sign(match_list, SignedMatchList), self._identity.sign(match_counts, SignedMatchCounts)

    def abandon(self, session_id: bytes) -> None:
        """Forget a session that failed. It is not answered any more, and its id stays used.

        A batch that was challenged and not accepted counts as failed, or a platform could try its luck: with more of
        them a day than are allowed, it is not served until it is reinstated. Without a signed refusal, as others may
        have caused it.
        """
        session = self._sessions.pop(session_id, None)
        if session is not None and session.proof is not None and session.proof.challenged:
            platform = session.header.platform
            if not self._budgets.note_unfinished(platform):
                self._refused[platform.encode()] = b"unfinished"

    def expire(self, seconds: float) -> int:
        """Give up sessions that were begun longer ago than this. How many they were."""
        before = time.monotonic() - seconds
        late = [key for key, session in list(self._sessions.items()) if session.begun < before]
        for key in late:
            self.abandon(key)
        return len(late)

    @property
    def open(self) -> int:
        """How many sessions are under way."""
        return len(self._sessions)

    def open_of(self, platform: str) -> int:
        """How many of a platform's sessions are under way."""
        return sum(session.header.platform == platform for session in list(self._sessions.values()))

    def platform_of(self, session_id: bytes) -> str:
        """Whose session it is. Raises ReplayError."""
        return self._session(session_id).header.platform

    def other_of(self, session_id: bytes) -> int:
        """The other member of a session's pair. Raises ReplayError."""
        return self._other(self._session(session_id))

    def _session(self, session_id: bytes) -> _Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise ReplayError("the session is unknown, or ended already")
        return session

    def _agreed(self, session_id: bytes, first: bool) -> _Session:
        session = self._session(session_id)
        if not session.agreed or session.first != first:
            raise ReplayError("the members have not compared headers, or this is the other one's step")
        if session.proof is not None and not session.proof.accepted:
            raise ReplayError("nothing is decrypted before the proof of the whole batch is accepted")
        return session

    def _other(self, session: _Session) -> int:
        return next(member for member in session.header.pair if member != self._member)
