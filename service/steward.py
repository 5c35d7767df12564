"""What the exchange does by itself: drives members through the ceremony, checks, new versions, and withdrawals.

Everything that it has to do follows from its database, so that it goes on after a crash where it was: cases that are
`received` are checked; entries that stand in no published block get slots; what a member has not confirmed is told it
again. New entries and new versions take all three members; while one is away they wait. A withdrawal takes effect at
each member that is there at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from protocols.base import HushmatchError, IntegrityError
from protocols.ledger import decode
from protocols.scan import enrolling, founding
from protocols.scan.keys import MEMBERS
from protocols.scan.messages import (
    BlockSignatures,
    CaseEntries,
    CommitteeKey,
    Enrollment,
    EntryReceipt,
    SealedEntry,
    SlotMap,
)
from service.errors import StorageFailed, Unavailable
from service.logs import Event, log
from service.messages import MemberState, SignedErasure
from service.peer import Peer
from service.remote import Carrier, RemoteMember

if TYPE_CHECKING:
    from service.exchange import ExchangeRole

_CASES = 64  # looked at before the next new version
_DAY = 86_400.0


class _OnDisk:
    """The exchange's part of building blocks, each change of it a step of its process."""

    def __init__(self, role: ExchangeRole) -> None:
        self._role = role
        self.build = role.exchange.build

    def adopt(self, message: SlotMap) -> None:
        with self._role.step():
            self._role.exchange.adopt(message)

    def publish(self, block: int, signatures: list) -> BlockSignatures:
        role = self._role
        with role.step():
            published = role.exchange.publish(block, signatures)
            slots = role.exchange.blocks[block]
            entries = [entry.tobytes() for entry in slots.entries[slots.live]]
            role.cases.placed(block, slots.version, entries, role.store)
        return published


class Steward:
    """The exchange's own work."""

    def __init__(self, role: ExchangeRole) -> None:
        self._role = role
        self._peers: dict[int, Peer] = {number: role.peer(f"member-{number}") for number in MEMBERS}
        self.members = [RemoteMember(number, peer) for number, peer in self._peers.items()]
        self._wire = Carrier()
        self._tidied = 0.0
        self._fresh = True  # what an earlier process left half-checked is given up before it comes again
        self.waiting_for = ""

    def run(self) -> None:
        """Until the role ends."""
        pause = 0.0
        while not self._role.stopping(pause):
            pause = 0.2 if self._attempt(self.once) else min(5.0, pause * 2 or 0.5)
            if not self.waiting_for:
                pause = self._role.idle(pause)

    def _attempt(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Unavailable as error:
            self.waiting_for = error.reason
            return False
        except StorageFailed:
            raise
        except HushmatchError as error:
            self.waiting_for = f"{type(error).__name__}"
            log(Event.INCIDENT, level=logging.ERROR, error=error)
            return False
        self.waiting_for = ""
        return True

    def once(self) -> None:
        """Everything that is due. Raises Unavailable where a member that it takes is away."""
        self._deliver_all()
        states = self._states()
        if self._role.committee_key is None:
            self._found(states)
        self._collect(states)
        for case, entries in self._role.cases.received(_CASES):
            self._check(case, entries)
        self._fresh = False
        self._update(max(state.version for state in states))
        self._erase()
        if time.time() - self._tidied > _DAY:
            self._role.tidy()
            self._tidied = time.time()

    def _states(self) -> list[MemberState]:
        return [peer.call("GET", "/state", kind=MemberState) for peer in self._peers.values()]

    def _found(self, states: list[MemberState]) -> None:
        """The ceremony. Raises IntegrityError if it broke off when some members had concluded it."""
        if any(state.has_key for state in states):
            if not all(state.has_key for state in states):
                raise IntegrityError("ceremony: it broke off at its end; sign a manifest of a new epoch")
            keys = [self._peers[number].call("GET", "/key", kind=CommitteeKey) for number in MEMBERS]
            if any(key.b != keys[0].b for key in keys):
                raise IntegrityError("ceremony: the members made different public keys")
            key = keys[0]
        else:
            for peer in self._peers.values():
                peer.call("POST", "/ceremony")
            key = founding.make_key(self._wire, self.members)  # type: ignore[arg-type]
        with self._role.step():
            self._role.keep_key(key)

    def _collect(self, states: list[MemberState]) -> None:
        """Members' word on proofs that they refused."""
        for state in states:
            for signed in state.refusals:
                self._role.keep_refusal(signed)

    def _check(self, case: bytes, entries: list[SealedEntry]) -> None:
        role, name = self._role, case.hex()
        if self._fresh:
            forget = role.exchange.to_forget([entry.entry for entry in entries])
            enrolling.abandon(self._wire, self.members, forget)  # type: ignore[arg-type]
        with role.step():
            parts = role.exchange.receive(Enrollment([CaseEntries(name, entries)]))
        batch = parts[1].batch
        try:
            receipts = enrolling.check(self._wire, self.members, parts)  # type: ignore[arg-type]
            with role.step():
                role.exchange.settle(batch, receipts)
                told = [decode(one.body, EntryReceipt) for one in receipts[1]]
                by_status = {receipt.status: receipt.entries for receipt in told}
                kept = role.cases.settle(
                    case, by_status.get("accepted", []), by_status.get("refused", []), receipts, role.store
                )
                if not kept and by_status.get("accepted"):
                    role.exchange.withdraw(name)  # its person has withdrawn it meanwhile
        except HushmatchError:
            self._fresh = True
            with role.step():
                role.exchange.abandon_batch(batch)
            raise

    def _update(self, members_at: int) -> None:
        role = self._role
        with role.step():
            if not role.exchange.stale():
                return
            slot_map = role.exchange.assign(None, role.exchange.tombstoned(), above=members_at)
        keepers = {member.name: member.bank for member in self.members} if role.pinned.manifest.proofs else {}
        enrolling.update(
            self._wire,
            _OnDisk(role),  # type: ignore[arg-type]
            self.members,  # type: ignore[arg-type]
            slot_map,
            keepers,  # type: ignore[arg-type]
            lambda what, done, total: None,
            role.pinned.manifest.proofs,
        )

    # Withdrawal --------------------------------------------------------------------------------------------------

    def _deliver_all(self) -> None:
        """Tell every member that is there what it has not confirmed. Raises Unavailable, after all are tried."""
        away = [error for member in self.members if (error := self.deliver(member)) is not None]
        if away:
            raise away[0]

    def deliver(self, member: RemoteMember) -> Unavailable | None:
        """Tell one member what it has not confirmed; why it could not be reached, if so."""
        role = self._role
        for case, entries in role.cases.unconfirmed(member.number):
            try:
                signed = member.custody.withdraw(role.exchange.to_forget(entries))
            except Unavailable as error:
                return error
            receipt = role.parties[member.name].verify(signed, EntryReceipt)
            if receipt.member != member.name or receipt.epoch != role.pinned.manifest.epoch:
                raise IntegrityError(f"receipt of {member.name}: names another member or epoch")
            with role.step():
                role.cases.confirm(case, member.number, signed, role.store)
        return None

    def _erase(self) -> None:
        """Cases that every member has forgotten, and that stand in no block any more, are deleted."""
        role = self._role
        if role.exchange.tombstoned():
            return
        for case in role.cases.confirmed():
            erasure = role.cases.erasure(case)
            with role.step():
                role.cases.delete(case, role.identity.sign(erasure, SignedErasure), role.store)
