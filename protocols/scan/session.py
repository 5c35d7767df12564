"""A member's part in answering a batch of results: as A, as B, or as the dealer.

For one batch of results against one block, with members A and B:

    platform -> A: header, c1, c0     platform -> B: header, c1
    A <-> B: digest of the header     (nothing is evaluated before they agree)
    B -> A: lambda_B*sigma_B*c1 + mu
    A <-> B: gate openings, chunk by chunk; then shares of the match bits
    A, B -> exchange: signed match lists; A, B -> platform: signed match counts

A adds tombstones to c0 from the slot map that it checked itself, and both drop slots that are not live, so a stale
platform or a lying exchange gains nothing. Triples are dealt ahead by the third member and serve once.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.base import BudgetExceeded, IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import as_array
from protocols.scan.comparison import Comparison, corrections, gates
from protocols.scan.custody import Custody
from protocols.scan.keys import MEMBERS, KeyShare, half_unit
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
    SignedMatchCounts,
    SignedMatchList,
    TripleCorrection,
    TripleSeed,
)
from protocols.scan.packing import Words, field_planes, pack, positions, unpack
from protocols.scan.parameters import FIELDS, RESIDUE_BITS, WIDTH, Parameters
from protocols.scan.ring import Residues, ring_of
from protocols.scan.sampling import SEED_BYTES, Stream, derive, fresh_seed
from protocols.scan.sealing import Identity, digest, same

CHUNK = 16  # results that are compared together: small enough for the cache, large enough to keep messages few
_DAY = 86_400.0


def chunks(batch: int) -> list[tuple[int, int]]:
    """[first, last) of the results that are compared together."""
    return [(first, min(first + CHUNK, batch)) for first in range(0, batch, CHUNK)]


def deal(parameters: Parameters, lanes: int, batch: int) -> tuple[TripleSeed, TripleCorrection]:
    """As the dealer: triples for one batch of results against a block of `lanes` lanes. Keeps nothing."""
    deal_id, seed_a, seed_b = secrets.token_bytes(16), fresh_seed(), fresh_seed()
    words = FIELDS * lanes * parameters.n // 64
    count = gates(parameters)
    total = batch * words
    corrected = np.empty(count * total, dtype=np.uint64)
    for number, (first, last) in enumerate(chunks(batch)):
        a, b = (derive(seed, "chunk", number.to_bytes(4)) for seed in (seed_a, seed_b))
        part = corrected[count * first * words : count * last * words]
        corrections(a, b, part.reshape(count, (last - first) * words))
    return TripleSeed(deal_id, seed_a, total), TripleCorrection(deal_id, seed_b, total, corrected.data)


@dataclass(repr=False)
class _Session:
    """One batch of results at one member."""

    header: ScanHeader
    digest: bytes
    first: bool
    c1: memoryview
    c0: memoryview
    lanes: int
    agreed: bool = False
    answered: PartialDecryption | None = None
    planes: Words | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    bits: Words | None = None
    decided: bool = False
    matches: dict[int, list[int]] = field(default_factory=dict)
    many: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Standing:
    """What is computed from a block's live slots: tombstones plus floor(q/2t), (2, lanes, n); their bit planes."""

    version: int
    revision: int
    added: Residues
    live: Words


class Sessions:
    """Member `member`'s sessions, triples in stock, and budgets. Thread-safe by session."""

    def __init__(
        self, member: int, identity: Identity, pinned: Pinned, parameters: Parameters, custody: Custody
    ) -> None:
        self._member = member
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._custody = custody
        self._ring = ring_of(parameters.n)
        self._sessions: dict[bytes, _Session] = {}
        self._seen: set[bytes] = set()
        self._kept: dict[int, _Standing] = {}
        self._deals: dict[bytes, tuple[int, TripleSeed | TripleCorrection]] = {}
        self._dealt: set[bytes] = set()
        self._day: dict[str, deque[tuple[float, int, int]]] = defaultdict(deque)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Sessions of member-{self._member}>"

    def use_keys(self, key_share: KeyShare, pair_keys: dict[int, bytes]) -> None:
        """What the ceremony gave."""
        self._key_share, self._pair_keys = key_share, pair_keys

    # Agreeing on what is answered --------------------------------------------------------------------------------

    def receive_results(self, platform: str, message: ScanResults) -> HeaderDigest:
        """A batch of results from a platform; what to tell the other member of the pair.

        Raises IntegrityError for a signature or digest that does not verify, StaleVersion, ReplayError, MessageError,
        BudgetExceeded.
        """
        if platform not in self._pinned.parties:
            raise IntegrityError(f"{platform} is not in the manifest")
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
        with self._lock:
            if header.session in self._seen:
                raise ReplayError(f"results of {platform}: the session was seen before")
            self._spend(platform, header.batch)
            self._seen.add(header.session)
            session = _Session(header, digest("header", message.header.body), first, message.c1, message.c0, lanes)
            self._sessions[header.session] = session
        return HeaderDigest(header.session, session.digest)

    def _check_header(self, header: ScanHeader, platform: str) -> bool:
        if header.platform != platform or header.batch != self._pinned.manifest.batch:
            raise MessageError(f"header of {platform}: names another platform, or a batch of another size")
        if len(header.session) != 16 or len(set(header.pair)) != 2 or self._member not in header.pair:
            raise MessageError(f"header of {platform}: not for member-{self._member}")
        if not set(header.pair) <= set(MEMBERS):
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

    def _spend(self, platform: str, batch: int) -> None:
        """Count a batch against the day's budget of (query, block) results."""
        day, now, manifest = self._day[platform], time.time(), self._pinned.manifest
        while day and day[0][0] < now - _DAY:
            day.popleft()
        asked, matched = sum(row[1] for row in day), sum(row[2] for row in day)
        wait = day[0][0] + _DAY - now if day else _DAY
        if manifest.daily_results is not None and asked + batch > manifest.daily_results:
            raise BudgetExceeded(f"{platform} has used its day's {manifest.daily_results} results", wait)
        share = manifest.daily_match_share
        if share is not None and asked >= 1000 and matched > share * asked:
            raise BudgetExceeded(f"{platform} is stopped: more than {share:.1%} of its day's queries match", wait)
        day.append((now, batch, 0))

    def receive_header(self, sender: int, message: HeaderDigest) -> None:
        """What the other member was given. Raises IntegrityError if it differs."""
        session = self._session(message.session)
        if sender != self._other(session):
            raise MessageError(f"header digest: member-{sender} is not of the pair")
        if not same(message.digest, session.digest):
            raise IntegrityError(f"{session.header.platform} gave member-{sender} another header")
        session.agreed = True

    # Decryption into shares --------------------------------------------------------------------------------------

    def partial(self, session_id: bytes) -> PartialDecryption:
        """As B. A second call gives the bytes of the first: mu serves once. Raises ReplayError out of turn."""
        session = self._agreed(session_id, first=False)
        if session.answered is None:
            batch, n, lanes = session.header.batch, self._parameters.n, session.lanes
            c1 = self._c1(session)
            masked = np.empty((batch, 2, lanes, RESIDUE_BITS, n // 64), dtype=np.uint64)
            planes = self._planes(session)
            stream = Stream()
            for row in range(batch):
                padded, share = self._key_share.mask(self._other(session), c1[row], lanes, stream)
                pack(padded, masked[row])
                field_planes(share.reshape(-1), planes, row)
            session.planes = planes
            session.answered = PartialDecryption(session_id, masked.data)
        return session.answered

    def receive_partial(self, sender: int, message: PartialDecryption) -> None:
        """As A. Raises MessageError, ReplayError."""
        session = self._agreed(message.session, first=True)
        if sender != self._other(session) or session.planes is not None or session.comparisons:
            raise ReplayError(f"partial decryption: none of member-{sender} is due")
        batch, n, lanes = session.header.batch, self._parameters.n, session.lanes
        shape = (batch, 2, lanes, RESIDUE_BITS, n // 64)
        masked = as_array(message.partial, np.uint64, shape, "partial decryption")
        c0 = as_array(session.c0, np.uint64, shape, "c0")
        c1 = self._c1(session)
        added = self._standing(session).added
        planes = self._planes(session)
        for row in range(batch):
            mine = self._ring.add(unpack(c0[row], "c0"), added)
            share = self._key_share.unmask(sender, c1[row], mine, unpack(masked[row], "partial decryption"))
            field_planes(share.reshape(-1), planes, row)
        session.planes = planes

    def _c1(self, session: _Session) -> Residues:
        shape = (session.header.batch, 2, RESIDUE_BITS, self._parameters.n // 64)
        words = as_array(session.c1, np.uint64, shape, "c1")
        return np.stack([unpack(row, "c1") for row in words])

    def _standing(self, session: _Session) -> _Standing:
        """What the block's live slots come to, made anew after a withdrawal. Raises StaleVersion."""
        p, block = self._parameters, session.header.block
        slots = self._custody.blocks[block]
        if slots.version != session.header.version:
            raise StaleVersion("the block was rebuilt during the session")
        kept = self._kept.get(block)
        if kept is None or (kept.version, kept.revision) != (slots.version, slots.revision):
            weights = np.uint64(2 * (p.threshold + 1)) << (np.uint64(WIDTH) * np.arange(FIELDS, dtype=np.uint64))
            message = slots.tombstones().astype(np.uint64) @ weights
            scaled = self._ring.scale_up(message.reshape(slots.lanes, p.n))
            added = self._ring.add(scaled, half_unit(p.n, slots.lanes))
            kept = _Standing(slots.version, slots.revision, added, slots.live_mask())
            self._kept[block] = kept
        return kept

    def _planes(self, session: _Session) -> Words:
        size = session.lanes * self._parameters.n // 64
        return np.empty((session.header.batch, WIDTH, FIELDS, size), dtype=np.uint64)

    # Comparison --------------------------------------------------------------------------------------------------

    def receive_deal(self, sender: int, message: TripleSeed | TripleCorrection) -> None:
        """Triples of member `sender` into stock. Raises ReplayError for a deal that came before, MessageError."""
        if message.deal in self._dealt or len(message.seed) != SEED_BYTES or message.words <= 0:
            raise ReplayError("triples: the deal came before, or is malformed")
        if isinstance(message, TripleCorrection):
            as_array(message.corrections, np.uint64, (gates(self._parameters), message.words), "corrections")
        self._dealt.add(message.deal)
        self._deals[message.deal] = sender, message

    def start_comparison(self, session_id: bytes, deal_id: bytes) -> None:
        """Spend a deal on a session whose shares are ready.

        Raises ReplayError for a deal that is not in stock, or that one of the pair dealt: a dealer knows both sides'
        masks.
        """
        session = self._session(session_id)
        if session.planes is None or session.comparisons:
            raise ReplayError("comparison: shares are not ready, or it was started before")
        # single use: out of stock before anything is masked with it
        dealer, message = self._deals.pop(deal_id, (0, None))
        planes, batch = session.planes, session.header.batch
        size = planes.shape[2] * planes.shape[3]
        if message is None or message.words != batch * size or isinstance(message, TripleSeed) != session.first:
            raise ReplayError("comparison: the deal is not in stock, or was made for another batch")
        if dealer in session.header.pair:
            raise ReplayError(f"comparison: member-{dealer} dealt and takes part; the third member deals")
        start, count = 0, gates(self._parameters)
        for number, (first, last) in enumerate(chunks(batch)):
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
            self._day[session.header.platform].append((time.time(), 0, len(session.matches)))

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
        """Forget a session that failed. It is not answered any more, and its id stays used."""
        self._sessions.pop(session_id, None)

    def _session(self, session_id: bytes) -> _Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise ReplayError("the session is unknown, or ended already")
        return session

    def _agreed(self, session_id: bytes, first: bool) -> _Session:
        session = self._session(session_id)
        if not session.agreed or session.first != first:
            raise ReplayError("the members have not compared headers, or this is the other one's step")
        return session

    def _other(self, session: _Session) -> int:
        return next(member for member in session.header.pair if member != self._member)
