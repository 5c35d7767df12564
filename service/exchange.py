"""The exchange as a process: cases for people, blocks and handles for platforms; its steward drives the members.

It sees case numbers and keys of PINs when they are used, sealed shares, ciphertexts, and which cases matched when and
where.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from hashing import VIDEO_RULE
from protocols.base import ConfigurationError, IntegrityError, UnknownCase
from protocols.ledger import decode, encode
from protocols.scan.enrolling_messages import BlockPlanes
from protocols.scan.exchange import Exchange
from protocols.scan.founding_messages import CommitteeKey, SignedManifest
from protocols.scan.keys import MEMBERS
from protocols.scan.matching_messages import MatchHandles, MatchList, SignedMatchList
from protocols.scan.proof_messages import SignedRefusal
from protocols.scan.store import number_key
from service.cases import Cases
from service.config import Settings
from service.endpoints import Call, Endpoint
from service.errors import Forbidden, Unavailable
from service.letters import open_letter
from service.limits import Queue
from service.messages import (
    Answered,
    Bank,
    CaseStatus,
    Manifests,
    OpenCase,
    PlanesFrom,
    Sighted,
    Sightings,
    StatusRequest,
    Verdicts,
    WithdrawalRequest,
)
from service.role import Role
from service.sightings import Finds
from service.steward import Steward
from service.storage import tidy

_CASE_BYTES = 1 << 24
_WAIT = 0.5  # seconds that one may wait before its case is taken in; beyond, it is asked to come again
_PATIENCE = 5.0  # seconds that one check or version waits for people who open cases


class ExchangeRole(Role):
    """The organisation that keeps cases and the sealed bank."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Raises what `Role` raises; ConfigurationError for lost shares of what is no member."""
        super().__init__(folder, settings)
        if settings.lost_shares and settings.lost_shares not in [f"member-{number}" for number in MEMBERS]:
            raise ConfigurationError(
                f"settings: lost_shares is {settings.lost_shares!r}; expected a member, or nothing"
            )
        blocks = folder / "blocks"
        blocks.mkdir(exist_ok=True)
        with self.step():
            self.exchange = Exchange(self.pinned, self.pinned.parameters, blocks, self.store)
        self.cases = Cases(self.engine, self.sealer, max_entries=settings.max_entries)
        self.finds = Finds(self.engine, video_share=VIDEO_RULE.share)
        self._public = self.store.table(f"public {self.pinned.manifest.epoch}")
        self._refusals = self.store.table("refusals")
        self._manifests = self.store.table("manifests")
        self._keep_manifest()
        self._work = threading.Event()
        self._people = Queue(_WAIT)
        self.steward = Steward(self)
        watch, watch_by = self.metrics.watch, self.metrics.watch_by
        watch("entries_waiting", "Accepted entries in no published block", lambda: self.exchange.waiting)
        watch("blocks", "Published blocks", lambda: len(self.exchange.published.all()))
        watch("bank_version", "Newest version of the bank", lambda: self.exchange.version)
        watch_by("cases", "Cases", "status", self.cases.counts)
        watch_by("withdrawals_unconfirmed", "Withdrawals that a member owes its word on", "member", self._owed)
        watch_by("waits_for", "1: the exchange's own work waits for this", "what", self._waits)

    def endpoints(self) -> Sequence[Endpoint]:
        """What people and platforms may ask."""
        people, platform = {"client"}, {"platform"}
        return [
            *super().endpoints(),
            Endpoint("GET", "/manifests", self._chain, None, Manifests, people, "The manifests so far", limit="read"),
            Endpoint(
                "POST", "/cases", self._open, OpenCase, CaseStatus, people, "Open a case", _CASE_BYTES, limit="open"
            ),
            Endpoint(
                "POST",
                "/cases/status",
                self._status,
                StatusRequest,
                CaseStatus,
                people,
                "Its status",
                1 << 10,
                limit=None,
            ),
            Endpoint(
                "POST",
                "/cases/withdraw",
                self._withdraw,
                WithdrawalRequest,
                CaseStatus,
                people,
                "Withdraw it",
                1 << 10,
                limit=None,
            ),
            Endpoint("GET", "/key", self._key, None, CommitteeKey, platform, "The committee's public key"),
            Endpoint("GET", "/bank", self._bank, None, Bank, platform, "What is published"),
            Endpoint(
                "GET",
                "/bank/{block:number}/{version:number}",
                self._planes,
                None,
                BlockPlanes,
                platform,
                "Planes of a block",
                query=PlanesFrom,
            ),
            Endpoint(
                "POST", "/matches", self._resolve, Answered, MatchHandles, platform, "Handles of matches", 1 << 26
            ),
            Endpoint("POST", "/sightings", self._sighted, Sighted, Sightings, platform, "Group matches", 1 << 24),
            Endpoint("POST", "/verdicts", self._verdicts, Verdicts, None, platform, "What was done", 1 << 24),
        ]

    def _keep_manifest(self) -> None:
        """Who pinned an earlier manifest can follow to this one. Raises IntegrityError for an epoch that was before."""
        epoch = number_key(self.pinned.manifest.epoch)
        latest = max(self._manifests, default=epoch)
        if epoch < latest or self._manifests.get(epoch, encode(self.manifest)) != encode(self.manifest):
            raise IntegrityError(f"manifest: epoch {int.from_bytes(latest)} was in use here; sign one that follows it")
        with self.step():
            self._manifests[epoch] = encode(self.manifest)

    def background(self) -> None:
        """The steward's work."""
        self.steward.run()

    def idle(self, pause: float) -> float:
        """Wait until there is work, or a while; how long to pause then."""
        self._work.wait(2.0)
        self._work.clear()
        return 0.0

    def _chain(self, call: Call) -> Manifests:
        return Manifests([decode(self._manifests[epoch], SignedManifest) for epoch in sorted(self._manifests)])

    def _owed(self) -> dict[str, float]:
        return {f"member-{number}": len(self.cases.unconfirmed(number)) for number in MEMBERS}

    def _waits(self) -> dict[str, float]:
        reason, lacking = self.steward.waiting_for, self.steward.lacking
        told = {f"member-{n}": float(n in lacking or reason.startswith(f"member-{n}")) for n in MEMBERS}
        return told | {"other": float(bool(reason) and not any(told.values()))}

    # People ------------------------------------------------------------------------------------------------------

    def _open(self, call: Call) -> CaseStatus:
        with self._people.place():
            case = self.cases.open(call.message, self.exchange.enrolled_before)
            shown = self._shown(case)
        self._work.set()
        return shown

    def let_people_ahead(self) -> None:
        """Before work that takes the machine's time: wait while people open cases, though not for ever."""
        self._people.until_empty(_PATIENCE)

    def _status(self, call: Call) -> CaseStatus:
        return self._shown(self._case(call))

    def _shown(self, case: bytes) -> CaseStatus:
        status = self.cases.status(case)
        if status.status == "received":
            return msgspec.structs.replace(status, awaiting=sorted(self.steward.away))
        return status

    def _withdraw(self, call: Call) -> CaseStatus:
        case = self._case(call)
        with self.step():
            with suppress(UnknownCase):  # its entries are not accepted yet, or it is withdrawn already
                self.exchange.withdraw(case.hex())
            self.exchange.spend(self.cases.withdraw(case, self.store))
        for member in self.steward.members:  # now, not at the steward's next round
            self.steward.deliver(member)
        self._work.set()
        return self.cases.status(case)

    def _case(self, call: Call) -> bytes:
        """Here and not before the body is read: what counts for an address are wrong PINs."""
        asked = call.message
        return self.cases.check_pin(asked.case, asked.pin, call.address, lambda: self.limits.take("case", call.address))

    # Platforms ---------------------------------------------------------------------------------------------------

    @property
    def committee_key(self) -> CommitteeKey | None:
        """The public key, once the members have made it."""
        body = self._public.get(b"key")
        return None if body is None else decode(body, CommitteeKey)

    def keep_key(self, key: CommitteeKey) -> None:
        """The ceremony is done."""
        self._public[b"key"] = encode(key)

    def keep_refusal(self, signed: SignedRefusal) -> None:
        """A member's word on a proof that it refused, kept as evidence. Raises IntegrityError."""
        if signed.signature not in self._refusals:
            with self.step():
                self.exchange.resolver.receive_refusal(signed)
                self._refusals[signed.signature] = encode(signed)

    def _key(self, call: Call) -> CommitteeKey:
        key = self.committee_key
        if key is None:
            raise Unavailable(f"the committee has no key yet: the exchange waits for {self.steward.waiting_for}")
        return key

    def _bank(self, call: Call) -> Bank:
        with self.step():
            return Bank(self.exchange.published.all())

    def _planes(self, call: Call) -> BlockPlanes:
        with self.step():
            return self.exchange.published.planes(call.path["block"], call.path["version"], call.query.first)

    def _resolve(self, call: Call) -> MatchHandles:
        answered: Answered = call.message
        if len(answered.lists) != 2 or len(answered.pair) != 2:
            raise IntegrityError("match lists: two members' lists are needed")
        opened = [open_letter(self.identity, self.parties, sealed, [SignedMatchList]) for sealed in answered.lists]
        a, b = (message for _, message in opened if isinstance(message, SignedMatchList))
        told = decode(a.body, MatchList)
        if told.platform != call.caller:
            raise Forbidden("match lists: of another platform's session")
        with self.step():
            handles = self.exchange.resolver.resolve((a, b), (answered.pair[0], answered.pair[1]))
            cases = {handle: bytes.fromhex(self.exchange.resolver.case_of(handle)) for handle in handles.handles}
            self.exchange.resolver.forget(handles.handles)
            self.finds.matched(call.caller, cases, self.store)
        self.finds.searched(call.caller, told.block, told.version)
        return handles

    def _sighted(self, call: Call) -> Sightings:
        return self.finds.sighted(call.caller, call.message)

    def _verdicts(self, call: Call) -> None:
        self.finds.feedback(call.caller, call.message)

    def tidy(self) -> None:
        """Once a day."""
        self.finds.tidy()
        tidy(self.engine)
