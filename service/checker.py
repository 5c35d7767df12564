"""A platform as a process: keeps up with the bank, compares uploads with it, calls the takedown hook, gives feedback.

It drives its own scans: it calls members A and B, who follow each other's letters, and the third member for what they
compare with, of which some is kept in stock, so that any one member may be away for a while. Which two decrypt is tried
in turn. A scan that fails is begun anew, with fresh encryptions of zero. One that an earlier process left open is given
up at the members.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import split as split_command

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hashing.decoding import LIMITS
from protocols.base import (
    HushmatchError,
    InputError,
    IntegrityError,
    MessageError,
    Progress,
    ProtocolError,
    ReplayError,
    StaleVersion,
    quiet,
)
from protocols.scan import matching
from protocols.scan.ceremony import read_committee_key
from protocols.scan.checker import Checker
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.enrolling_messages import BlockDigest, BlockPlanes, BlockSignatures
from protocols.scan.founding_messages import CommitteeKey
from protocols.scan.keys import MEMBERS
from service.config import Settings
from service.endpoints import Call, Endpoint
from service.errors import Forbidden, LimitReached, StorageFailed, Unavailable
from service.hook import Hook
from service.logs import Event, log
from service.messages import Bank, Checked, CheckFiles, CheckUpload, Hit, Sighted, Sightings, Synced, Upload, Verdicts
from service.rechecks import Rechecks, in_messages
from service.remote import Carrier, RemoteExchange, RemoteMember
from service.role import Role
from service.uploads import prepare

PAIRS = ((1, 2), (2, 3), (3, 1))
_TRIES = 4  # of a batch, while too few members are there
_PATIENCE = 120.0  # seconds of one batch, while the bank changes
_RETRIES = 7  # of what may be said again, while the exchange starts anew: 25 s
_SYNC_SECONDS = 60.0
_UPLOAD_BYTES = 1 << 28
_NAME_CHARACTERS = 1000
_PAUSE = 2.0


class PlatformRole(Role):
    """A company that checks uploads."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Raises what `Role` raises."""
        super().__init__(folder, settings)
        self._blocks = folder / "blocks"
        self._blocks.mkdir(exist_ok=True)
        self._exchange = self.peer("exchange")
        self._peers = {number: self.peer(f"member-{number}") for number in MEMBERS}
        self._members = {number: RemoteMember(number, peer) for number, peer in self._peers.items()}
        self._wire = Carrier()
        self._checker: Checker | None = None
        self._stock: dict[tuple[tuple[int, int], int], list[bytes]] = defaultdict(list)
        self._first_pair = 0
        self.metrics.watch("bank_version", "Newest version of the bank", self._version)
        self.metrics.watch_by("stock", "Batches that were dealt ahead for two members", "pair", self._dealt)
        self._scanning, self._hooking = threading.Lock(), threading.Lock()
        self._open = self.store.table("open")  # session -> the pair that has it
        self._rechecks = Rechecks(self.store.table("found"))
        called = self.store.table("called")
        target = settings.hook if settings.hook.startswith(("http://", "https://")) else split_command(settings.hook)
        self._hook = Hook(target, called, keep=self.store.commit) if settings.hook else None

    def _version(self) -> int:
        blocks = {} if self._checker is None else self._checker.blocks
        return max((installed.version for installed in list(blocks.values())), default=0)

    def _dealt(self) -> dict[str, float]:
        stock = list(self._stock.items())
        return {f"{a} {b}": sum(len(deals) for (pair, _), deals in stock if pair == (a, b)) for a, b in PAIRS}

    # The bank ----------------------------------------------------------------------------------------------------

    def connect(self) -> Checker:
        """The scan's role, once the committee has a key. Raises Unavailable; IntegrityError if keys differ."""
        if self._checker is None:
            told = self._exchange.call("GET", "/key", kind=CommitteeKey)
            for peer in self._peers.values():
                try:
                    if peer.call("GET", "/key", kind=CommitteeKey).b != told.b:
                        raise IntegrityError(f"committee key: {peer.name} has another one than the exchange tells")
                except Unavailable:
                    continue
            parameters = self.pinned.parameters
            a = common_polynomial(parameters, self.pinned.manifest.epoch, self.pinned.raw)
            key = PublicKey(a, read_committee_key(told, parameters))
            for session, pair in list(self._open.items()):
                self._give_up(session, pair)
            self._checker = Checker(self.bare_identity, self.pinned, parameters, key, self._blocks, store=self.store)
        return self._checker

    def sync(self, tell: Progress = quiet) -> int:
        """Fetch blocks that are new, going on where it was interrupted; how many. Raises HushmatchError."""
        bank, fetched = self.connect().bank, 0
        for signed in self._exchange.call("GET", "/bank", kind=Bank).blocks:
            installed = bank.blocks.get(signed.block)
            if installed is not None and installed.version >= signed.version:
                continue
            try:
                self._fetch(signed, tell)
            except (IntegrityError, MessageError):  # altered on its way or on disk: not to be gone on with
                bank.drop(signed.block)
                raise
            fetched += 1
        return fetched

    def _fetch(self, signed: BlockSignatures, tell: Progress) -> None:
        """One block, from where it was interrupted."""
        bank, bits = self.connect().bank, self.pinned.parameters.bits
        _, told = self.pinned.verify_member(signed.signatures[0], BlockDigest)
        first = bank.resume(signed.block, signed.version, told.lanes)
        while first < bits:
            tell(f"fetching block {signed.block}", first, bits)
            path = f"/bank/{signed.block}/{signed.version}"
            planes = self._exchange.call("GET", path, kind=BlockPlanes, query={"first": first}, retries=3)
            if (planes.block, planes.version, planes.first) != (signed.block, signed.version, first):
                raise MessageError(f"block {signed.block}: the exchange sent other planes than were asked for")
            bank.receive_planes(planes)
            first += planes.count
        bank.install(signed)

    # Scanning ----------------------------------------------------------------------------------------------------

    def scan(self, hashes: NDArray[np.uint8], tell: Progress = quiet) -> list[tuple[int, bytes]]:
        """(row, handle) of every match of hashes (Q, bits/8) with the bank as it is now. Raises HushmatchError."""
        found: list[tuple[int, bytes]] = []
        with self._scanning, threadpool_limits(1, user_api="blas"):
            self.sync(tell)
            checker = self.connect()
            starts, blocks = range(0, len(hashes), checker.batch), sorted(checker.blocks)
            jobs = list(itertools.product(starts, blocks))
            for done, (start, block) in enumerate(jobs):
                tell("scanning", done, len(jobs))
                batch = hashes[start : start + checker.batch]
                found += [(start + row, handle) for row, handle in self._scan(batch, block) if row < len(batch)]
            tell("scanning", len(jobs), len(jobs))
            self.deal_ahead()
        return found

    def _scan(self, hashes: NDArray[np.uint8], block: int) -> list[tuple[int, bytes]]:
        """One batch against one block: every pair of members is tried, and the block fetched anew if it changed."""
        until = time.monotonic() + _PATIENCE
        for attempt in itertools.count(1):
            failed: list[HushmatchError] = []
            for turn in range(len(PAIRS)):
                index = (self._first_pair + turn) % len(PAIRS)
                try:
                    found = self._answer(hashes, block, PAIRS[index])
                except (Unavailable, LimitReached, StaleVersion) as error:  # away, busy, or of another version
                    failed.append(error)
                except ReplayError as error:  # a member has started anew: without its stock, and without the session
                    failed.append(error)
                    self._drop_stock(PAIRS[index])
                else:
                    self._first_pair = index
                    return found
            away = [error for error in failed if isinstance(error, Unavailable)]
            if time.monotonic() > until or (len(away) == len(PAIRS) and attempt >= _TRIES):
                break
            time.sleep(min(_PAUSE * attempt, _PAUSE * _TRIES))
            with suppress(Unavailable, StaleVersion):  # tried again with the next attempt
                self.sync()
        if away:
            raise Unavailable("no two members answer: " + "; ".join(sorted({error.reason for error in away})))
        raise failed[-1]

    def _drop_lost(self) -> None:
        """Forget deals that one of their pair has lost, so that others are dealt while the dealer is there."""
        for number, member in self._members.items():
            stocked = [deal_id for (pair, _), stock in self._stock.items() if number in pair for deal_id in stock]
            with suppress(Unavailable):
                gone = set(member.sessions.stock.missing(stocked))
                for key, stock in self._stock.items():
                    self._stock[key] = [deal_id for deal_id in stock if deal_id not in gone]

    def _drop_stock(self, pair: tuple[int, int]) -> None:
        for key in [key for key in self._stock if key[0] == pair]:
            del self._stock[key]

    def _give_up(self, session: bytes, pair: bytes) -> None:
        for number in pair:
            self._members[number].sessions.abandon(session)
        with self.step():
            self._open.pop(session, None)

    def _answer(self, hashes: NDArray[np.uint8], block: int, pair: tuple[int, int]) -> list[tuple[int, bytes]]:
        checker = self.connect()
        a, b = (self._members[number] for number in pair)
        with self.step():
            scanned = checker.scan(hashes, block, pair)
            self._open[scanned.session] = bytes(pair)
        try:
            return matching.answer(
                self._wire,
                RemoteExchange(self._exchange),  # type: ignore[arg-type]
                checker,
                a,  # type: ignore[arg-type]
                b,  # type: ignore[arg-type]
                scanned,
                lambda lanes: self._next_deal(pair, lanes),
            )
        finally:
            with self.step():
                del self._open[scanned.session]

    def _next_deal(self, pair: tuple[int, int], lanes: int) -> bytes:
        stock = self._stock[pair, lanes]
        return stock.pop() if stock else self._deal(pair, lanes)

    def _deal(self, pair: tuple[int, int], lanes: int) -> bytes:
        a, b = (self._members[number] for number in pair)
        dealer = next(member for number, member in self._members.items() if number not in pair)
        try:
            return matching.deal(self._wire, self.name, dealer, a, b, lanes)  # type: ignore[arg-type]
        except Unavailable as error:
            raise Unavailable(
                f"{error.reason}; what {dealer.name} dealt ahead for members {pair[0]} and {pair[1]} is used up"
            ) from None

    def deal_ahead(self) -> None:
        """Fill the stock for every pair, as far as members are there; that one is not full is no scan's failure."""
        self._drop_lost()
        lanes = {installed.lanes for installed in self.connect().blocks.values()}
        for pair, count in itertools.product(PAIRS, lanes):
            stock = self._stock[pair, count]
            try:
                while len(stock) < self.settings.stock:
                    stock.insert(0, self._deal(pair, count))
            except Unavailable:
                continue
            except ProtocolError as error:
                log(Event.INCIDENT, level=logging.ERROR, error=error)

    # Uploads -----------------------------------------------------------------------------------------------------

    def check(self, paths: Sequence[str | CheckUpload], tell: Progress = quiet) -> Checked:
        """Compare files, or uploads in memory, with the bank; the hook is called for each sighting.

        Raises HushmatchError.
        """
        given = [path if isinstance(path, CheckUpload) else os.path.abspath(path) for path in paths]
        uploads = prepare(given, self.settings.queries, tell, LIMITS)
        matches = self.scan(uploads.hashes, tell) if len(uploads.hashes) else []
        with self.step():  # on disk before the exchange is told, so that who is killed between asks for the same
            found = uploads.group(self._rechecks.with_earlier(uploads, matches))
        told = self._sight([one.upload for one in found])
        with self.step():
            self._rechecks.told(uploads, matches)
        hits = [
            Hit(one.path, one.upload.kind, handles)
            for one, handles in zip(found, told, strict=True)
            if handles  # of a video, too few frames may match
        ]
        if self._hook is not None:
            for hit in hits:
                for handle in hit.sightings:
                    self._hook.add(hit.path, handle, hit.kind)
            self._call_hook()
        blocks = 0 if self._checker is None else len(self._checker.blocks)
        return Checked(len(uploads.asked), blocks, hits, [(one.path, one.reason) for one in uploads.refused])

    def _sight(self, uploads: Sequence[Upload]) -> list[list[bytes]]:
        """The sightings of each upload; as many at once as the exchange takes."""
        told: list[list[bytes]] = []
        for some in in_messages(uploads):
            answer = self._exchange.call("POST", "/sightings", Sighted(some), kind=Sightings, retries=_RETRIES)
            told += answer.uploads
        return told

    def _call_hook(self) -> None:
        if self._hook is not None:
            with self._hooking:
                self._hook.run()

    def feedback(self, verdicts: Verdicts) -> None:
        """Tell the exchange what was done about sightings. Raises InputError for handles that are not ours."""
        self._exchange.call("POST", "/verdicts", verdicts)

    def endpoints(self) -> Sequence[Endpoint]:
        """For this platform's own tools, which sign with its keys."""
        me = {"platform"}
        return [
            *super().endpoints(),
            Endpoint("POST", "/check", self._check, CheckFiles, Checked, me, "Compare files on disk", limit=None),
            Endpoint(
                "POST",
                "/upload",
                self._upload,
                CheckUpload,
                Checked,
                me,
                "Compare an upload",
                _UPLOAD_BYTES,
                limit=None,
            ),
            Endpoint("POST", "/sync", self._sync, None, Synced, me, "Fetch what is new", limit=None),
            Endpoint("POST", "/verdicts", self._feedback, Verdicts, None, me, "Say what was done", limit=None),
        ]

    def _check(self, call: Call) -> Checked:
        self._own(call)
        return self.check(call.message.paths)

    def _upload(self, call: Call) -> Checked:
        self._own(call)
        name = call.message.name
        if not name.isprintable() or not 0 < len(name) <= _NAME_CHARACTERS or name.startswith("-"):
            raise InputError(f"name: expected 1 to {_NAME_CHARACTERS} printable characters, the first not a dash")
        return self.check([call.message])

    def _sync(self, call: Call) -> Synced:
        self._own(call)
        with self._scanning:
            return Synced(self.sync())

    def _feedback(self, call: Call) -> None:
        self._own(call)
        self.feedback(call.message)

    def _own(self, call: Call) -> None:
        if call.caller != self.name:
            raise Forbidden(f"only {self.name} itself may ask this")

    def background(self) -> None:
        """Keep up with the bank, keep a stock, and call the hook again where it failed."""
        while not self.stopping(_SYNC_SECONDS if self._checker else _PAUSE):
            try:
                with self._scanning:
                    self.sync()
                    self.deal_ahead()
            except Unavailable:
                pass  # whoever checks something is told
            except StorageFailed:
                raise
            except HushmatchError as error:
                log(Event.INCIDENT, level=logging.ERROR, error=error)
            self._call_hook()
