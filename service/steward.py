"""What the exchange does by itself: drives members through the ceremony, checks, new versions, and withdrawals.

Everything that it has to do follows from its database, so that it goes on after a crash where it was: cases that are
`received` are checked; entries that stand in no published block get slots; what a member has not confirmed is told it
again. New entries and new versions take all three members; while one is away they wait. A withdrawal takes effect at
each member that is there at once; one that comes back is told it before it answers platforms. Only where the two that
are there could not answer them, because a version broke off, is the next one made without the third; it gets one when
it is back.

A member that was restored from an old copy of its disk is noticed by what it says that it holds: it is told again all
that it confirmed. If it lacks entries, blocks are made without it, and nothing new is checked, until it is replaced: by
one whose shares the exchange's people have declared lost (`lost_shares`). That one checks new entries and deals, and
blocks are made by the other two as long as an entry that it lacks stands.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from protocols.base import HushmatchError, IntegrityError, ProtocolError, quiet
from protocols.ledger import decode
from protocols.scan import enrolling, founding
from protocols.scan.enrolling_messages import (
    BlockSignatures,
    CaseEntries,
    Enrollment,
    EntryReceipt,
    SealedEntry,
    SlotMap,
)
from protocols.scan.founding_messages import CommitteeKey
from protocols.scan.keys import MEMBERS
from service.errors import StorageFailed, Unavailable
from service.logs import Event, log
from service.messages import MemberState, SignedErasure
from service.peer import Peer
from service.remote import Carrier, RemoteMember

if TYPE_CHECKING:
    from service.exchange import ExchangeRole

_CASES = 64  # looked at before the next new version
_TRIES = 5  # of a case's check, members that are away not counted
_DAY = 86_400.0


class _OnDisk:
    """The exchange's part of building blocks, each change of it a step of its process."""

    def __init__(self, role: ExchangeRole) -> None:
        self._role = role
        self.published = role.exchange.published

    def adopt(self, message: SlotMap) -> None:
        with self._role.step():
            self._role.exchange.adopt(message)

    def publish(self, block: int, signatures: list) -> BlockSignatures:
        role = self._role
        with role.step():
            published = role.exchange.publish(block, signatures)
            slots = role.exchange.blocks[block]
            role.cases.placed(block, slots.version, slots.standing(), role.store)
        return published


class Steward:
    """The exchange's own work."""

    def __init__(self, role: ExchangeRole) -> None:
        self._role = role
        self._peers: dict[int, Peer] = {number: role.peer(f"member-{number}") for number in MEMBERS}
        self.members = [RemoteMember(number, peer) for number, peer in self._peers.items()]
        self._wire = Carrier()
        self._tidied = 0.0
        self._failures: Counter[bytes] = Counter()
        self._fresh = True  # what an earlier process left half-checked is given up before it comes again
        self.waiting_for = ""
        self.away: set[int] = set()
        self.lacking: set[int] = set()  # there, and known to have lost shares of older entries

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
        states, missing = self._reach()
        if self._role.committee_key is None:
            if missing is not None:
                raise missing
            self._found(list(states.values()))
            return
        self._collect(list(states.values()))
        whole = {number: state for number, state in states.items() if number not in self.lacking}
        if missing is not None:
            self._keep_serving(whole)
            raise missing
        self._fresh = not all([self._settle(case, entries) for case, entries in self._role.cases.received(_CASES)])
        behind = self._behind(whole)
        if behind or self._role.exchange.stale():
            self._role.let_people_ahead()
            self._update(whole, behind)
        self._erase()
        if time.time() - self._tidied > _DAY:
            self._role.tidy()
            self._tidied = time.time()

    def _reach(self) -> tuple[dict[int, MemberState], Unavailable | None]:
        """Where the members that are there stand, now that they know of all withdrawals; why another one is missed."""
        states, missing, lacking = {}, None, set()
        for member in self.members:
            try:
                state = self._tell(member)
                if state.has_key and state.entries < self._role.exchange.enrolled:
                    if member.name != self._role.settings.lost_shares:
                        raise Unavailable(
                            f"{member.name} lacks entries that it had accepted: restored from an old copy, or not all"
                            " of its database; it has to be replaced"
                        )
                    lacking.add(member.number)
                states[member.number] = state
            except Unavailable as error:
                missing = missing or error
        self.away, self.lacking = {member.number for member in self.members} - states.keys(), lacking
        return states, missing

    def _tell(self, member: RemoteMember) -> MemberState:
        """What was withdrawn while it was away, and what it confirmed and does not know; then it may answer."""
        role, peer = self._role, self._peers[member.number]
        confirmed = role.cases.confirmations(member.number)
        state = peer.call("GET", "/state", kind=MemberState)
        if state.has_key:
            if state.withdrawals < confirmed:
                for entries in role.cases.confirmed_by(member.number):
                    member.custody.withdraw(role.exchange.to_forget(entries))
                state = peer.call("GET", "/state", kind=MemberState)
            away = self.deliver(member)
            if away is not None:
                raise away
            peer.call("POST", "/told")
        return state

    def _behind(self, states: Mapping[int, MemberState]) -> frozenset[int]:
        """Published blocks about which one of these members answers no batches."""
        published = {signed.block: signed.version for signed in self._role.exchange.published.all()}
        told = [dict(state.blocks) for state in states.values()]
        return frozenset(
            block for block, version in published.items() if any(served.get(block) != version for served in told)
        )

    def _keep_serving(self, states: Mapping[int, MemberState]) -> None:
        """With one member missing: a version for the other two, if they answer no platform about some block."""
        behind = self._behind(states)
        if len(states) == len(MEMBERS) - 1 and behind:
            self._update(states, behind)

    def _found(self, states: list[MemberState]) -> None:
        """The ceremony. Raises IntegrityError if it broke off when some members had concluded it."""
        if all(state.has_key for state in states):
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
                try:
                    self._role.keep_refusal(signed)
                except ProtocolError as error:  # no evidence, and no reason to stop
                    log(Event.INCIDENT, level=logging.ERROR, error=error)

    def _settle(self, case: bytes, entries: list[SealedEntry]) -> bool:
        """Check a case, or refuse one whose check fails again and again: it must not hold up the others.

        Raises Unavailable.
        """
        try:
            self._check(case, entries)
        except (Unavailable, StorageFailed):
            raise
        except HushmatchError as error:
            log(Event.INCIDENT, level=logging.ERROR, error=error)
            self._failures[case] += 1
            if self._failures[case] >= _TRIES:
                ids = [entry.entry for entry in entries]
                enrolling.abandon(self._wire, self.members, self._role.exchange.to_forget(ids))  # type: ignore[arg-type]
                with self._role.step():
                    self._role.cases.settle(case, [], ids, {}, self._role.store)
            return False
        self._failures.pop(case, None)
        return True

    def _check(self, case: bytes, entries: list[SealedEntry]) -> None:
        role, name = self._role, case.hex()
        role.let_people_ahead()
        if self._fresh:
            forget = role.exchange.to_forget([entry.entry for entry in entries])
            enrolling.abandon(self._wire, self.members, forget)  # type: ignore[arg-type]
        with role.step():
            parts = role.exchange.receive(Enrollment([CaseEntries(name, entries)]))
        batch = parts[1].batch
        try:
            receipts = enrolling.check(self._wire, self.members, parts)  # type: ignore[arg-type]
            with role.step():
                if role.cases.status(case).status != "received":  # its person has withdrawn it meanwhile
                    role.exchange.abandon_batch(batch)
                    return
                role.exchange.settle(batch, receipts)
                told = [decode(one.body, EntryReceipt) for one in receipts[1]]
                by_status = {receipt.status: receipt.entries for receipt in told}
                accepted, refused = by_status.get("accepted", []), by_status.get("refused", [])
                role.cases.settle(case, accepted, refused, receipts, role.store)
        except HushmatchError:
            self._fresh = True
            with role.step():
                role.exchange.abandon_batch(batch)
            raise

    def _update(self, states: Mapping[int, MemberState], behind: frozenset[int]) -> None:
        """The next version, by these members."""
        role, present = self._role, [member for member in self.members if member.number in states]
        away = next((number for number in MEMBERS if number not in states), None)
        above = max(state.version for state in states.values())
        with role.step():
            slot_map = role.exchange.assign(away, role.exchange.tombstoned() | behind, above)
        keepers = {member.name: member.bank for member in present} if role.pinned.manifest.proofs else {}
        enrolling.update(
            self._wire,
            _OnDisk(role),  # type: ignore[arg-type]
            present,  # type: ignore[arg-type]
            slot_map,
            keepers,  # type: ignore[arg-type]
            quiet,
            role.pinned.manifest.proofs,
        )

    # Withdrawal --------------------------------------------------------------------------------------------------

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
