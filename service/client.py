"""The person's device: hashes photos and videos, seals them, opens a case, sees its status, withdraws.

Nothing but sealed shares leaves it. The manifest is pinned by its digest, which does not come from the exchange; the
program itself must not come from there either.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hashing import Fingerprint, HashingError, fingerprints_to_enroll, is_video, pack, video_to_enroll
from hashing.decoding import LIMITS
from protocols.base import InputError, IntegrityError, Progress, quiet
from protocols.ledger import Message, decode
from protocols.scan.client import Client
from protocols.scan.enrolling_messages import EntryReceipt, SealedEntry
from protocols.scan.manifest import follow
from protocols.scan.sealing import Signed
from service import config
from service.errors import LimitReached, NotAdult
from service.messages import HELP_FOR_MINORS, CaseStatus, Erasure, Manifests, OpenCase, StatusRequest, WithdrawalRequest
from service.peer import Peer
from service.pins import new_number, new_pin, pin_key

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, repr=False)
class Opened:
    """A case that was opened: number and PIN, shown once; the state it has reached; how many entries."""

    number: str
    pin: str
    status: CaseStatus
    entries: int


class Device:
    """Talks to one exchange, under a pinned manifest."""

    def __init__(self, settings: config.Client) -> None:
        """Raises Unavailable, IntegrityError if the manifest is not the pinned one, ConfigurationError."""
        fetched = Peer(settings.exchange, "exchange", None, None).call("GET", "/manifests", kind=Manifests, retries=3)
        self._followed = follow(
            fetched.chain,
            config.digest_of(settings),
            allow_insecure=settings.allow_insecure,
            allow_unsafe_threshold=settings.allow_unsafe_threshold,
        )
        self._pinned = self._followed[-1]
        self._exchange = Peer(settings.exchange, "exchange", self._pinned.parties["exchange"], None, timeout=120.0)

    def open_case(
        self,
        paths: Sequence[str],
        adult: bool,
        variants: str = "none",
        tell: Progress = quiet,
        wait: float = 60.0,
    ) -> Opened:
        """Open a case for photos and videos; wait so many seconds for it to become active, and check the receipts.

        Raises NotAdult before anything is read, InputError that names each file that cannot be taken (then nothing is
        sent), IntegrityError, Unavailable.
        """
        if not adult:
            raise NotAdult(HELP_FOR_MINORS)
        fingerprints = self._fingerprints(paths, variants, tell)
        sealed = self._seal(fingerprints)
        number, pin = new_number(), new_pin()
        message = OpenCase(number, pin_key(number, pin), True, sealed)
        tell("sending", 0, 1)
        until = time.monotonic() + wait
        status = self._send(message, until)
        while status.status == "received" and time.monotonic() < until:
            tell("waiting for the members' check", 0, 1)
            time.sleep(0.5)
            status = self.status(number, pin)
        if status.status in ("active", "refused"):
            self._check_receipts(status, sealed)
        return Opened(number, pin, status, len(sealed))

    def _send(self, message: OpenCase, until: float) -> CaseStatus:
        """Open the case; where too many do so at once, again when the exchange says that there is room."""
        while True:
            try:
                return self._exchange.call("POST", "/cases", message, kind=CaseStatus, retries=5)
            except LimitReached as full:
                pause = max(1.0, full.retry_after)
                if time.monotonic() + pause > until:
                    raise
                time.sleep(pause)

    def status(self, number: str, pin: str) -> CaseStatus:
        """Where a case stands. Raises WrongPin, InputError, Unavailable; IntegrityError for a bad receipt."""
        asked = StatusRequest(number, pin_key(number, pin))
        status = self._exchange.call("POST", "/cases/status", asked, kind=CaseStatus, retries=3)
        if status.erasure is not None:
            self.check_erasure(status)
        return status

    def withdraw(self, number: str, pin: str, wait: float = 60.0) -> CaseStatus:
        """Withdraw a case for good; wait so long for the signed receipt, and verify it. May be done again.

        Raises WrongPin, InputError, IntegrityError, Unavailable.
        """
        asked = WithdrawalRequest(number, pin_key(number, pin))
        status = self._exchange.call("POST", "/cases/withdraw", asked, kind=CaseStatus, retries=5)
        until = time.monotonic() + wait
        while status.status != "deleted" and time.monotonic() < until:
            time.sleep(0.5)
            status = self.status(number, pin)
        if status.erasure is not None:
            self.check_erasure(status)
        return status

    def check_erasure(self, status: CaseStatus) -> Erasure:
        """The receipt of a deleted case: signed by the exchange, with all members' word. Raises IntegrityError."""
        if status.erasure is None:
            raise IntegrityError("receipt: there is none yet")
        erasure = self._verify("exchange", status.erasure, Erasure)
        signers, named = set(), []
        for signed in erasure.receipts:
            receipt = self._verify(decode(signed.body, EntryReceipt).member, signed, EntryReceipt)
            if receipt.status != "withdrawn":
                raise IntegrityError(f"receipt of {receipt.member}: entries are {receipt.status}; expected withdrawn")
            signers.add(receipt.member)
            named.append(set(receipt.entries))
        if signers != {keys.name for keys in self._pinned.members} or any(entries != named[0] for entries in named):
            raise IntegrityError("receipt: a member's word is missing, or the members name different entries")
        return erasure

    def _verify(self, name: str, signed: Signed, kind: type[M]) -> M:
        """What a party signed, under the manifest in force or one before it. Raises IntegrityError."""
        for pinned in reversed(self._followed):
            if name in pinned.parties:
                with suppress(IntegrityError):
                    return pinned.parties[name].verify(signed, kind)
        raise IntegrityError(
            f"{kind.__name__}: not signed by {name[:40]!r} since the pinned manifest; pin the one of then"
        )

    def _fingerprints(self, paths: Sequence[str], variants: str, tell: Progress) -> list[Fingerprint]:
        found: list[Fingerprint] = []
        wrong: list[str] = []
        for done, path in enumerate(paths):
            tell("hashing on this device", done, len(paths))
            try:
                if is_video(path):
                    mine = video_to_enroll(path, "none", LIMITS, tell).fingerprints
                else:
                    mine = fingerprints_to_enroll(path, variants).padded()
            except HashingError as error:
                wrong.append(f"{Path(path).name}: {error}")
                continue
            if not mine:
                wrong.append(f"{Path(path).name}: too little detail to be matched; take another picture of it")
            found += mine
        if wrong or not found:
            raise InputError("; ".join(wrong) or "no photos or videos were given")
        return found

    def _seal(self, fingerprints: list[Fingerprint]) -> list[SealedEntry]:
        hashes = pack(fingerprints)
        enrollment = Client(self._pinned, self._pinned.parameters).seal(["case"] * len(hashes), hashes)
        return enrollment.cases[0].entries

    def _check_receipts(self, status: CaseStatus, sealed: list[SealedEntry]) -> None:
        """Every member signs for every entry as it was sent, accepted or refused."""
        expected = {entry.entry: entry.commitments for entry in sealed}
        told: dict[int, dict[bytes, bytes]] = {}
        for signed in status.receipts:
            number, receipt = self._pinned.verify_member(signed, EntryReceipt)
            if receipt.status in ("accepted", "refused"):
                told.setdefault(number, {}).update(zip(receipt.entries, receipt.commitments, strict=False))
        if len(told) != len(self._pinned.members) or any(entries != expected for entries in told.values()):
            raise IntegrityError("receipts: a member's is missing, or says something else than was sent")
