"""Every role of the encrypted scan in one process, talking through a ledger's messages only.

`founding`, `enrolling` and `matching` hold the order of messages; a deployment over a network runs them too, and seals
what one member tells another: a dealer who read it would see what it dealt for.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from threadpoolctl import ThreadpoolController

from protocols.base import Capabilities, ConfigurationError, Hashes, IntegrityError, Protocol, ProtocolError
from protocols.ledger import encode
from protocols.scan.blocks import BlockStore
from protocols.scan.ceremony import read_committee_key
from protocols.scan.checker import Checker
from protocols.scan.client import Client
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.enrolling import abandon, check, update, withdraw
from protocols.scan.enrolling_messages import (
    ENROLLING_MESSAGES,
    BlockDigest,
    BlockPlanes,
    CaseWithdrawal,
    EntryWithdrawal,
    Receipts,
    SignedReceipt,
    SlotMap,
)
from protocols.scan.exchange import Exchange
from protocols.scan.founding import make_key
from protocols.scan.founding_messages import FOUNDING_MESSAGES, Manifest, SignedManifest
from protocols.scan.keys import MEMBERS
from protocols.scan.manifest import Pinned
from protocols.scan.matching import answer, deal
from protocols.scan.matching_messages import MATCHING_MESSAGES
from protocols.scan.member import Member
from protocols.scan.parameters import PROTOCOL_VERSION, Parameters
from protocols.scan.product import check_exactness
from protocols.scan.proof import length
from protocols.scan.proof_messages import PROOF_MESSAGES
from protocols.scan.sealing import Identity, digest

_ENROLL_STEP = 1024  # entries sealed and checked together
_PLATFORM = "platform-1"
_TURN = 1e-4  # seconds


@contextmanager
def _short_turns() -> Iterator[None]:
    """Workers that wait for the interpreter's lock get it after 0.1 ms, not 5.

    Another's keystream gives it up for some 10 us a piece, and has it back before a waiting thread is awake.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


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
    messages = FOUNDING_MESSAGES + ENROLLING_MESSAGES + MATCHING_MESSAGES + PROOF_MESSAGES

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
        """Most memory that a batch against a block takes, in bytes: at most five copies of results, four of a proof."""
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
        key = make_key(self.ledger, list(self._members.values()))
        for_platform = pin_it(send("exchange", _PLATFORM, signed))
        b = read_committee_key(send("exchange", _PLATFORM, key), self.parameters)
        public_key = PublicKey(common_polynomial(self.parameters, 1, for_platform.raw), b)
        self._exchange = Exchange(pinned, self.parameters, self._folder / "exchange")
        self._checker = Checker(platform, for_platform, self.parameters, public_key, self._folder / _PLATFORM, executor)
        self._client = Client(pin_it(send("exchange", "client", signed)), self.parameters)

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
        receipts = abandon(self.ledger, list(self._members.values()), self._exchange.abandon())
        self._client.check_abandoned(self.ledger.send("exchange", "client", Receipts(receipts)))

    def _enroll_step(self, cases: list[str], hashes: Hashes) -> None:
        send, cpu = self.ledger.send, self.ledger.cpu
        with cpu("client", "sealing"):
            enrollment = self._client.seal(cases, hashes)
        enrollment = send("client", "exchange", enrollment)
        with cpu("exchange"):
            parts = self._exchange.receive(enrollment)
        receipts = check(self.ledger, self._present(), parts)
        accepted, refused = self._exchange.settle(parts[1].batch, receipts)
        if refused:
            raise IntegrityError(f"the members refuse entries of {', '.join(refused)}: they are not well-formed")
        self._client.check_accepted(send("exchange", "client", accepted))

    def _update(self, slot_map: SlotMap) -> None:
        """Bring every role that is there to a new version of the bank."""
        if not slot_map.blocks:
            return
        present = self._present()
        keepers: dict[str, BlockStore | Checker] = {_PLATFORM: self._checker}
        if self.proofs:
            keepers |= {member.name: member.bank for member in present}
        digests = update(self.ledger, self._exchange, present, slot_map, keepers, self._progress, self.proofs)
        self._missed += [slot_map, *digests] if self._away else []

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
            for part in self._exchange.published.serve(block, installed.version if installed else 0):
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

        with (
            self._blas.limit(limits=1, user_api="blas"),
            _short_turns(),
            ThreadPoolExecutor(self.workers) as workers,
        ):
            answers = workers.map(scan, jobs) if self.workers > 1 else map(scan, jobs)
            for done, answer in enumerate(answers, start=1):
                found += answer
                self._progress("scanning", done, len(jobs))
        return found

    def _scan(self, start: int, hashes: Hashes, block: int) -> list[tuple[int, str]]:
        """One batch against one block, from the platform's uploads to its answer."""
        cpu, platform = self.ledger.cpu, self._checker
        a, b = (self._members[number] for number in self.pair)
        with cpu(_PLATFORM, "encryption of zero"):
            platform.zeros.prepare(platform.blocks[block].lanes)
        with cpu(_PLATFORM, "product"):
            scanned = platform.scan(hashes, block, self.pair)
        self.ledger.charge(_PLATFORM, "product", scanned.elsewhere)
        found = answer(self.ledger, self._exchange.resolver, platform, a, b, scanned, self._next_deal)
        case_of = self._exchange.resolver.case_of
        return [(start + query, case_of(handle)) for query, handle in found if query < len(hashes)]

    def _next_deal(self, lanes: int) -> bytes:
        with self._stock_lock:
            stock = self._stock.get((self.pair, lanes), [])
            deal_id = stock.pop() if stock else None
        return deal_id or self._deal(lanes)

    def _deal(self, lanes: int) -> bytes:
        """Triples for one batch against a block, from the third member. Raises ProtocolError if it is away."""
        a, b = (self._members[number] for number in self.pair)
        dealer = next(m for m in self._members.values() if m.number not in self.pair)
        if dealer.number == self._away:
            raise ProtocolError(f"{dealer.name} is away and the triples dealt ahead are used up; bring it back")
        return deal(self.ledger, _PLATFORM, dealer, a, b, lanes)

    def deal_ahead(self, batches: int) -> None:
        """Stock triples for so many batches against each block, so that the third member may be away for a while."""
        with self.ledger.phase("match"):
            for block in self._checker.blocks.values():
                stock = self._stock.setdefault((self.pair, block.lanes), [])
                stock += [self._deal(block.lanes) for _ in range(batches)]

    def _withdraw(self, case: str) -> None:
        told = self.ledger.send("client", "exchange", CaseWithdrawal(case))
        withdrawal = self._exchange.withdraw(told.case)
        receipts = withdraw(self.ledger, self._present(), withdrawal)
        if self._away is not None:
            self._missed.append(withdrawal)
            self._unconfirmed.append((case, receipts))
            return
        self._confirm_withdrawal(case, receipts)

    def _confirm_withdrawal(self, case: str, receipts: dict[int, SignedReceipt]) -> None:
        ordered = Receipts([receipts[member] for member in MEMBERS])
        self._client.check_withdrawn(case, self.ledger.send("exchange", "client", ordered))
