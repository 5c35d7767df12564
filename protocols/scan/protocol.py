"""Every role of the encrypted scan in one process, talking through encoded messages only.

This file holds the order of messages and nothing else: a deployment over a network calls the same role objects in the
same order. Channels between members must be encrypted there: a dealer who read them would see what it dealt for.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from msgspec import structs
from threadpoolctl import ThreadpoolController

from protocols.base import (
    Capabilities,
    ConfigurationError,
    Hashes,
    HushmatchError,
    IntegrityError,
    Protocol,
    ProtocolError,
)
from protocols.ledger import Message, encode
from protocols.scan.ceremony import PAIRS, read_committee_key
from protocols.scan.checker import Checker, Scanned
from protocols.scan.client import Client
from protocols.scan.comparison import rounds
from protocols.scan.custody import encryptor
from protocols.scan.dealing import chunks, deal
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.entries import SHARES
from protocols.scan.exchange import Exchange
from protocols.scan.keys import MEMBERS
from protocols.scan.manifest import Pinned
from protocols.scan.member import Member
from protocols.scan.messages import (
    MESSAGES,
    BlockDigest,
    BlockPlanes,
    CaseWithdrawal,
    CommitteeKey,
    EntryWithdrawal,
    Manifest,
    PlaneShares,
    Receipts,
    SignedManifest,
    SignedReceipt,
    SlotMap,
)
from protocols.scan.parameters import PROTOCOL_VERSION, Parameters
from protocols.scan.product import check_exactness
from protocols.scan.proof import length
from protocols.scan.proof_messages import PROOF_MESSAGES
from protocols.scan.proved import audit, verify
from protocols.scan.sealing import Identity, digest

_ENROLL_STEP = 1024  # entries sealed and checked together
_PLANES_STEP = 16  # planes a message
_PLATFORM = "platform-1"

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Scan(Protocol):
    """The encrypted scan; see docs/scan.md."""

    capabilities = Capabilities(
        exact=True,
        reveals="the exchange learns which cases matched, and the two members that decrypt which sealed entries"
        " matched; any two members together can read everything, and with proofs off also a platform that sends other"
        " results than the scan's",
        bits=(64, 256),
        max_threshold=71,
    )
    messages = MESSAGES + PROOF_MESSAGES

    def __init__(
        self,
        *,
        bits: int = 256,
        threshold: int = 31,
        lanes: int = 8,
        pair: tuple[int, int] = (1, 2),
        batch: int = 64,
        workers: int | None = None,
        memory: int = 2 << 30,
        match_cap: int | None = None,
        daily_results: int | None = None,
        daily_match_share: float | None = None,
        folder: str | Path | None = None,
        executor: Executor | None = None,
        proofs: bool = True,
        parameter_set: str = "N4096",
        allow_insecure: bool = False,
        allow_unsafe_threshold: bool = False,
        **options: Any,
    ) -> None:
        """lanes: R, ciphertexts that share their first half; small blocks use fewer. pair: members A and B.

        batch: queries scanned together; every batch is padded to it. workers: blocks scanned at once (default: one a
        processor). memory: bytes that scanning may take beyond the blocks themselves. match_cap: most matches told of a
        query. daily_results: a budget over all pairs; each member admits two thirds of it. daily_match_share: most of a
        day's queries that may match. folder: where blocks are kept (default: a
        temporary one). executor: whose workers do the platform's products, if not this process: a process pool, or a
        Dask client's `get_executor()`; they must be able to read `folder`. proofs: members answer only results that are
        proved to be the published scan, and sign only blocks that they audited; stands in the manifest. allow_insecure:
        admit parameter sets for tests. allow_unsafe_threshold: research only.

        Raises ConfigurationError.
        """
        super().__init__(bits=bits, threshold=threshold, **options)
        self.parameters = Parameters(parameter_set, lanes, bits, threshold, allow_unsafe_threshold)
        if self.parameters.insecure and not allow_insecure:
            raise ConfigurationError(f"{parameter_set} is for tests: it needs allow_insecure=True")
        if pair not in set(permutations(MEMBERS, 2)):
            raise ConfigurationError(f"pair is {pair!r}; expected two different members of {MEMBERS}")
        if not 1 <= batch <= 4096:
            raise ConfigurationError(f"batch is {batch}; expected 1 to 4096")
        self.pair = pair
        self.proofs = proofs
        self._batch = batch
        self.workers = self._workers_within(memory, workers or len(os.sched_getaffinity(0)))
        check_exactness(np, bits)
        self._temporary = tempfile.TemporaryDirectory(prefix="hushmatch-") if folder is None else None
        self._folder = Path(folder or self._temporary.name)  # type: ignore[union-attr]
        self._blas = ThreadpoolController()
        self._stock: dict[tuple[tuple[int, int], int], list[bytes]] = {}
        self._stock_lock = threading.Lock()
        self._away: int | None = None
        self._missed: list[EntryWithdrawal | SlotMap | BlockDigest] = []
        self._unconfirmed: list[tuple[str, dict[int, SignedReceipt]]] = []
        with self._blas.limit(limits=1, user_api="blas"), self.ledger.phase("setup"):
            self._set_up(
                Manifest(
                    PROTOCOL_VERSION,
                    parameter_set,
                    lanes,
                    bits,
                    threshold,
                    1,
                    [],
                    batch,
                    match_cap,
                    daily_results,
                    daily_match_share,
                    proofs,
                ),
                executor,
            )

    def session_bytes(self) -> int:
        """Most memory that a batch against a block takes, in bytes: about five copies of results, four of a proof."""
        p = self.parameters
        proof = 4 * self._batch * length(p, p.lanes) * 8 if self.proofs else 0
        return 5 * self._batch * 2 * (p.lanes + 1) * p.n * 8 + proof

    def _workers_within(self, memory: int, wanted: int) -> int:
        if memory < self.session_bytes():
            raise ConfigurationError(
                f"memory is {memory} bytes; a batch of {self._batch} with {self.parameters.lanes} lanes takes"
                f" {self.session_bytes()}: give more, or take a smaller batch"
            )
        return max(1, min(wanted, memory // self.session_bytes()))

    # Setting up --------------------------------------------------------------------------------------------------

    def _set_up(self, draft: Manifest, executor: Executor | None) -> None:
        send = self.ledger.send
        for role in ("exchange", _PLATFORM, *(f"member-{number}" for number in MEMBERS)):
            (self._folder / role).mkdir(parents=True, exist_ok=True)
        members = [Member(number, self._folder / f"member-{number}") for number in MEMBERS]
        self._members = {member.number: member for member in members}
        exchange, platform = Identity("exchange"), Identity(_PLATFORM)
        parties = [send(m.name, "exchange", m.identity.public) for m in members]
        parties += [exchange.public, send(_PLATFORM, "exchange", platform.public)]
        manifest = structs.replace(draft, parties=parties)
        # Members' keys and parameters reach members directly: this stands for people who compare them out of band.
        agreed = structs.replace(draft, parties=[m.identity.public for m in members])
        signatures = [
            send(m.name, "exchange", m.sign_manifest(send("exchange", m.name, manifest), agreed)) for m in members
        ]
        signed = SignedManifest(encode(manifest), [signature.signature for signature in signatures])
        pin = digest("manifest", signed.manifest)
        for member in members:
            with self.ledger.cpu(member.name):
                member.pin(send("exchange", member.name, signed), self.parameters)
        insecure, unsafe = self.parameters.insecure, self.parameters.allow_unsafe_threshold
        pin_it = partial(Pinned, expected_digest=pin, allow_insecure=insecure, allow_unsafe_threshold=unsafe)
        pinned = pin_it(signed)
        key = self._make_key()
        for_platform = pin_it(send("exchange", _PLATFORM, signed))
        b = read_committee_key(send("exchange", _PLATFORM, key), self.parameters)
        public_key = PublicKey(common_polynomial(self.parameters, 1, for_platform.raw), b)
        self._exchange = Exchange(exchange, pinned, self.parameters, self._folder / "exchange")
        self._checker = Checker(platform, for_platform, self.parameters, public_key, self._folder / _PLATFORM, executor)
        self._client = Client(pin_it(send("exchange", "client", signed)), self.parameters)

    def _make_key(self) -> CommitteeKey:
        """The ceremony. Raises IntegrityError that names who is at fault."""
        send = self.ledger.send
        members = list(self._members.values())
        self._all_to_all(lambda m: m.ceremony.commit(), lambda m, s, x: m.ceremony.receive_commitment(s, x))
        for dealer, receiver in permutations(members, 2):
            with self.ledger.cpu(dealer.name):
                contribution = dealer.ceremony.contribute(receiver.number)
            contribution = send(dealer.name, receiver.name, contribution)
            with self.ledger.cpu(receiver.name):
                receiver.ceremony.receive_contribution(dealer.number, contribution)
        self._all_to_all(lambda m: m.ceremony.test_vector(), lambda m, s, x: m.ceremony.receive_test_vector(s, x))
        for dealer_number, pair in product(MEMBERS, PAIRS):
            a, b = (self._members[number] for number in pair)
            with self.ledger.cpu(b.name):
                masked = b.ceremony.mask(dealer_number, pair)
            masked = send(b.name, a.name, masked)
            with self.ledger.cpu(a.name):
                a.ceremony.unmask(dealer_number, pair, masked)
            for m in (a, b):
                for other in members:
                    if other is not m:
                        share = send(m.name, other.name, m.ceremony.open_share(dealer_number, pair))
                        other.ceremony.receive_share(m.number, share)
        self._all_to_all(lambda m: m.ceremony.tell_plaintext(), lambda m, s, x: m.ceremony.receive_plaintext(s, x))
        keys = [send(member.name, "exchange", member.finish_ceremony()) for member in members]
        if any(key.b != keys[0].b for key in keys):
            raise IntegrityError("ceremony: the members made different public keys")
        return keys[0]

    def _all_to_all(self, make: Callable[[Member], M], take: Callable[[Member, int, M], None]) -> None:
        """A round: each member that is there makes one message, then all get each other's."""
        made = []
        for sender in self._present():
            with self.ledger.cpu(sender.name):
                made.append((sender, make(sender)))
        for sender, message in made:
            for receiver in self._present():
                if receiver is not sender:
                    received = self.ledger.send(sender.name, receiver.name, message)
                    with self.ledger.cpu(receiver.name):
                        take(receiver, sender.number, received)

    def _present(self) -> list[Member]:
        return [member for member in self._members.values() if member.number != self._away]

    # Enrolling ---------------------------------------------------------------------------------------------------

    def _enroll(self, cases: list[str], hashes: Hashes) -> None:
        if self._away is not None:
            raise ProtocolError(f"member-{self._away} is away: new entries are checked by all three members")
        with self._blas.limit(limits=1, user_api="blas"):
            try:
                for first in range(0, len(cases), _ENROLL_STEP):
                    last = min(first + _ENROLL_STEP, len(cases))
                    self._enroll_step(cases[first:last], hashes[first:last])
                    self._progress("sealing and checking entries", last, len(cases))
                self._update(self._exchange.assign())
            except BaseException:
                self._abandon()
                raise

    def _abandon(self) -> None:
        """Undo an enrolment that failed before its entries had slots."""
        send, receipts = self.ledger.send, []
        abandoned = self._exchange.abandon()
        for member in self._members.values():
            receipt = member.custody.abandon(send("exchange", member.name, abandoned))
            receipts.append(send(member.name, "exchange", receipt))
        self._client.check_abandoned(send("exchange", "client", Receipts(receipts)))

    def _enroll_step(self, cases: list[str], hashes: Hashes) -> None:
        send, cpu = self.ledger.send, self.ledger.cpu
        with cpu("client", "sealing"):
            enrollment = self._client.seal(cases, hashes)
        enrollment = send("client", "exchange", enrollment)
        with cpu("exchange"):
            parts = self._exchange.receive(enrollment)
        batch = parts[1].batch
        received = {m.number: send("exchange", m.name, parts[m.number]) for m in self._present()}
        self._all_to_all(
            lambda m: m.custody.receive(received[m.number]), lambda m, s, x: m.custody.receive_commitment(s, x)
        )
        self._all_to_all(lambda m: m.custody.toss(batch), lambda m, s, x: m.custody.receive_toss(s, x))
        settled = False
        while not settled:
            self._all_to_all(lambda m: m.custody.opening(batch), lambda m, s, x: m.custody.receive_opening(s, x))
            settled = all([m.custody.settle(batch) for m in self._present()])
        receipts = {m.number: [send(m.name, "exchange", r) for r in m.custody.conclude(batch)] for m in self._present()}
        accepted, refused = self._exchange.settle(batch, receipts)
        if refused:
            raise IntegrityError(f"the members refuse entries of {', '.join(refused)}: they are not well-formed")
        self._client.check_accepted(send("exchange", "client", accepted))

    def _update(self, slot_map: SlotMap) -> None:
        """Bring every role that is there to a new version of the bank."""
        if not slot_map.blocks:
            return
        send, cpu, present = self.ledger.send, self.ledger.cpu, self._present()
        maps = {m.number: send("exchange", m.name, slot_map) for m in present}
        self._all_to_all(
            lambda m: m.custody.receive_map(maps[m.number]), lambda m, s, x: m.custody.receive_map_digest(s, x)
        )
        for member in present:
            member.custody.accept_map()
        self._exchange.adopt(slot_map)
        self._missed += [slot_map] if self._away else []
        for done, block in enumerate(slot_map.blocks):
            self._progress("building blocks", done, len(slot_map.blocks))
            parts = [self._planes(block, share) for share in SHARES]
            for built in self._timed("exchange", self._exchange.build(block, slot_map.version, parts)):
                if isinstance(built, BlockPlanes):
                    planes = send("exchange", _PLATFORM, built)
                    with cpu(_PLATFORM):
                        self._checker.receive_planes(planes)
                    for member in present if self.proofs else []:
                        member.bank.receive_planes(send("exchange", member.name, built))
                else:
                    digests = {m.name: send("exchange", m.name, built) for m in present}
                    if self.proofs:
                        audit(self.ledger, present, digests)
                    signatures = [send(m.name, "exchange", m.sign_block(digests[m.name])) for m in present]
                    self._missed += [built] if self._away else []
            published = self._exchange.publish(block, signatures)
            for member in present if self.proofs else []:
                member.bank.install(send("exchange", member.name, published))
            published = send("exchange", _PLATFORM, published)
            with cpu(_PLATFORM):
                self._checker.install(published)
        self._progress("building blocks", len(slot_map.blocks), len(slot_map.blocks))

    def _planes(self, block: int, share: int) -> Iterator[PlaneShares]:
        member = self._members[encryptor(share, self._away or 0)]
        for planes in self._timed(member.name, member.custody.planes(block, share, _PLANES_STEP)):
            if self.proofs:
                member.auditor.keep(planes)
            yield self.ledger.send(member.name, "exchange", planes)

    def _timed(self, role: str, iterator: Iterator[T]) -> Iterator[T]:
        """The iterator's items, the CPU time of making them counted for `role`."""
        while True:
            with self.ledger.cpu(role):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def rebuild(self) -> None:
        """Build every block anew in which a withdrawn entry still stands as ciphertext."""
        with self.ledger.phase("withdraw"), self._blas.limit(limits=1, user_api="blas"):
            self._update(self._exchange.assign(self._away, self._exchange.tombstoned()))

    def take_away(self, member: int) -> None:
        """From now on a member does not answer. Raises ConfigurationError if of the pair, or one is away already."""
        if self._away is not None or member not in MEMBERS or member in self.pair:
            raise ConfigurationError(
                f"member {member} cannot be away: it is of the pair, unknown, or one is away already"
            )
        self._away = member

    def bring_back(self) -> None:
        """The member that was away catches up with what it missed."""
        if self._away is None:
            return
        back, self._away = self._members[self._away], None
        missed, self._missed = self._missed, []
        for message in missed:
            received = self.ledger.send("exchange", back.name, message)
            if isinstance(received, EntryWithdrawal):
                case, receipts = self._unconfirmed.pop(0)
                receipts[back.number] = self.ledger.send(back.name, "exchange", back.custody.withdraw(received))
                self._confirm_withdrawal(case, receipts)
            elif isinstance(received, BlockDigest):
                back.custody.sign_block(received)
            else:
                back.custody.receive_map(received)
                for other in self._present():
                    if other is not back:
                        told = self.ledger.send(other.name, back.name, other.custody.accepted_map(received.version))
                        back.custody.receive_map_digest(other.number, told)
                back.custody.accept_map()
        for block in self._exchange.blocks if self.proofs else []:
            installed = back.bank.blocks.get(block)
            for part in self._exchange.serve(block, installed.version if installed else 0):
                got = self.ledger.send("exchange", back.name, part)
                if isinstance(got, BlockPlanes):
                    back.bank.receive_planes(got)
                else:
                    back.bank.install(got)

    # Matching ----------------------------------------------------------------------------------------------------

    def _match(self, hashes: Hashes) -> Iterable[tuple[int, str]]:
        starts = range(0, len(hashes), self._batch)
        jobs = [(start, block) for start in starts for block in sorted(self._checker.blocks)]
        found: list[tuple[int, str]] = []

        def scan(job: tuple[int, int]) -> list[tuple[int, str]]:
            return self._scan(job[0], hashes[job[0] : job[0] + self._batch], job[1])

        with self._blas.limit(limits=1, user_api="blas"), ThreadPoolExecutor(self.workers) as workers:
            answers = workers.map(scan, jobs) if self.workers > 1 else map(scan, jobs)
            for done, answer in enumerate(answers, start=1):
                found += answer
                self._progress("scanning", done, len(jobs))
        return found

    def _scan(self, start: int, hashes: Hashes, block: int) -> list[tuple[int, str]]:
        """One batch against one block, from the platform's uploads to its answer."""
        cpu, platform = self.ledger.cpu, self._checker
        a, b = (self._members[number] for number in self.pair)
        lanes = platform.blocks[block].lanes
        with cpu(_PLATFORM, "encryption of zero"):
            platform.zeros.prepare(lanes)
        with cpu(_PLATFORM, "product"):
            scanned = platform.scan(hashes, block, self.pair)
        self.ledger.charge(_PLATFORM, "product", scanned.elsewhere)
        try:
            return [(start + query, case) for query, case in self._answer(scanned, lanes, len(hashes))]
        except HushmatchError:
            for role in (platform, a.sessions, b.sessions):
                role.abandon(scanned.session)
            raise

    def _answer(self, scanned: Scanned, lanes: int, asked: int) -> list[tuple[int, str]]:
        """From a batch of results to the platform's answer: (query, case), of the first `asked` queries."""
        send, cpu, platform, session = self.ledger.send, self.ledger.cpu, self._checker, scanned.session
        a, b = (self._members[number] for number in self.pair)
        with cpu(_PLATFORM, "proof" if self.proofs else "product"):
            to_a, to_b = platform.results(scanned)
        headers = {}
        for member, results in ((a, to_a), (b, to_b)):
            received = send(_PLATFORM, member.name, results)
            with cpu(member.name, "decryption"):
                headers[member.number] = member.sessions.receive_results(_PLATFORM, received)
        del to_a, to_b, received
        b.sessions.receive_header(a.number, send(a.name, b.name, headers[a.number]))
        a.sessions.receive_header(b.number, send(b.name, a.name, headers[b.number]))
        deal_id = self._next_deal(lanes)
        if self.proofs:
            verify(self.ledger, self._exchange, a, b, session, deal_id)
        with cpu(b.name, "decryption"):
            masked = b.sessions.partial(session)
        masked = send(b.name, a.name, masked)
        with cpu(a.name, "decryption"):
            a.sessions.receive_partial(b.number, masked)
        self._compare(session, a, b, deal_id)
        lists, counts = [], []
        for member in (a, b):
            with cpu(member.name, "comparison"):
                match_list, match_counts = member.sessions.answer(session)
            lists.append(send(member.name, "exchange", match_list))
            counts.append(send(member.name, _PLATFORM, match_counts))
        with cpu("exchange"):
            handles = self._exchange.resolve((lists[0], lists[1]), self.pair)
        handles = send("exchange", _PLATFORM, handles)
        with cpu(_PLATFORM):
            answer = platform.receive_answer(session, counts, handles)
        return [(query, self._exchange.case_of(handle)) for query, handle in answer if query < asked]

    def _next_deal(self, lanes: int) -> bytes:
        with self._stock_lock:
            stock = self._stock.get((self.pair, lanes), [])
            deal_id = stock.pop() if stock else None
        return deal_id or self._deal(lanes)

    def _compare(self, session: bytes, a: Member, b: Member, deal_id: bytes) -> None:
        send, cpu = self.ledger.send, self.ledger.cpu
        for member in (a, b):
            with cpu(member.name, "comparison"):
                member.sessions.start_comparison(session, deal_id)
        for chunk, round_ in product(range(len(chunks(self._batch))), range(len(rounds(self.parameters)))):
            opened = []
            for sender, receiver in ((a, b), (b, a)):
                with cpu(sender.name, "comparison"):
                    opening = sender.sessions.gate_opening(session, chunk, round_)
                opened.append((receiver, sender, send(sender.name, receiver.name, opening)))
            for receiver, sender, opening in opened:
                with cpu(receiver.name, "comparison"):
                    receiver.sessions.receive_gates(sender.number, opening)
        shares = []
        for sender, receiver in ((a, b), (b, a)):
            with cpu(sender.name, "comparison"):
                bits = sender.sessions.match_bits(session)
            shares.append((receiver, sender, send(sender.name, receiver.name, bits)))
        for receiver, sender, bits in shares:
            with cpu(receiver.name, "comparison"):
                receiver.sessions.receive_match_bits(sender.number, bits)

    def _deal(self, lanes: int) -> bytes:
        """Triples for one batch against a block, from the third member. Raises ProtocolError if it is away."""
        a, b = (self._members[number] for number in self.pair)
        dealer = next(m for m in self._members.values() if m.number not in self.pair)
        if dealer.number == self._away:
            raise ProtocolError(f"{dealer.name} is away and the triples dealt ahead are used up; bring it back")
        with self.ledger.cpu(dealer.name, "dealing"):
            seed, correction = deal(self.parameters, lanes, self._batch, self.proofs)
        for member, message in ((a, seed), (b, correction)):
            received = self.ledger.send(dealer.name, member.name, message)
            with self.ledger.cpu(member.name, "comparison"):
                member.sessions.stock.receive(dealer.number, received)
        return seed.deal

    def deal_ahead(self, batches: int) -> None:
        """Stock triples for so many batches against each block, so that the third member may be away for a while."""
        with self.ledger.phase("match"):
            for block in self._checker.blocks.values():
                stock = self._stock.setdefault((self.pair, block.lanes), [])
                stock += [self._deal(block.lanes) for _ in range(batches)]

    def _withdraw(self, case: str) -> None:
        send = self.ledger.send
        withdrawal = self._exchange.withdraw(send("client", "exchange", CaseWithdrawal(case)).case)
        receipts = {}
        for member in self._present():
            receipt = member.custody.withdraw(send("exchange", member.name, withdrawal))
            receipts[member.number] = send(member.name, "exchange", receipt)
        if self._away is not None:
            self._missed.append(withdrawal)
            self._unconfirmed.append((case, receipts))
            return
        self._confirm_withdrawal(case, receipts)

    def _confirm_withdrawal(self, case: str, receipts: dict[int, SignedReceipt]) -> None:
        ordered = Receipts([receipts[member] for member in MEMBERS])
        self._client.check_withdrawn(case, self.ledger.send("exchange", "client", ordered))
