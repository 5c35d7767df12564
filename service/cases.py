"""The life of a case in the exchange's database, from opening to erasure.

    received -> active | refused -> withdrawn -> deleted

Every step is one transaction and may be repeated: what was done already is done no second time. Steps that belong to
what a role keeps in memory take its `store` and commit both together; call those while the role works on nothing else.

What a member does with a withdrawal decides whether this holds when messages cross: it forgets every entry that it is
told, drops a check that one of them is in, refuses them ever after, and answers a repeat with a receipt again.

NOT protected: whoever can write to the database decides what it says; `models` says what a reader learns.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import cast

from sqlalchemy import ColumnElement, Engine, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError as RowExists
from sqlalchemy.orm import Session

from protocols.base import InputError, IntegrityError, MessageError, ReplayError, UnknownCase
from protocols.ledger import decode, encode
from protocols.scan.enrolling_messages import EntryReceipt, SealedEntry, SignedReceipt
from protocols.scan.entries import SHARES, check_lengths
from protocols.scan.sealing import digest
from service.atrest import Sealer
from service.errors import NotAdult, WrongPin
from service.messages import ERASURE, HELP_FOR_MINORS, CaseState, CaseStatus, Erasure, OpenCase, SignedErasure
from service.models import Case, Entry, Match, Receipt, Sighting, Withdrawal
from service.pins import Delays, case_id, hash_key
from service.sightings import platform_rows
from service.storage import SqlStore, in_chunks, lock_cases, transaction

EXCHANGE = 0  # stands as a member's number where the exchange itself signed
_DIGEST_BYTES = 16
_SETTLED = ("accepted", "refused")
_ENROLLED = "entries: one was enrolled before; seal the fingerprints anew"


class CaseTaken(InputError):
    """The case number is in use, with other contents."""


class Cases:
    """Cases, their entries and the members' receipts. Safe to use from several threads."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        *,
        max_entries: int,
        clock: Callable[[], float] = time.time,
        delays: Delays | None = None,
    ) -> None:
        """sealer: of what the members sign. max_entries: of one case. clock: unix seconds."""
        self._engine, self._sealer, self._clock = engine, sealer, clock
        self._max_entries = max_entries
        self._delays = delays or Delays()

    # The person --------------------------------------------------------------------------------------------------

    def open(self, message: OpenCase, used: Callable[[Iterable[bytes]], bool] = lambda entries: False) -> bytes:
        """Take in a case; its entries are `received`. Returns its id. used: whether an entry id was enrolled before.

        Raises NotAdult, InputError, MessageError, CaseTaken; ReplayError for an entry that was enrolled before.
        """
        if not message.adult:
            raise NotAdult(HELP_FOR_MINORS)
        case, contents = case_id(message.case), self._contents(message.entries)
        row = Case(
            id=case,
            status="received",
            pin_hash=hash_key(message.pin),
            contents=contents,
            opened_on=self._today(),
        )
        entries = [
            {"id": entry.entry, "case": case, "status": "received", "sealed": encode(entry)}
            for entry in message.entries
        ]
        try:
            with transaction(self._engine) as session:
                session.add(row)
                session.flush()
                if used([entry.entry for entry in message.entries]):
                    raise ReplayError(_ENROLLED)
                session.connection().execute(insert(Entry), entries)
        except RowExists:
            self._check_same(case, message.pin, contents)
        return case

    def _contents(self, entries: Sequence[SealedEntry]) -> bytes:
        if not 0 < len(entries) <= self._max_entries:
            raise InputError(f"entries: {len(entries)} came; a case takes 1 to {self._max_entries}")
        for entry in entries:
            check_lengths(entry.entry, entry.commitments)
            if len(entry.sealed) != len(SHARES):
                raise MessageError(f"an entry is sealed to {len(entry.sealed)} members; expected {len(SHARES)}")
        if len({entry.entry for entry in entries}) != len(entries):
            raise ReplayError("entries: an entry id comes twice")
        return digest("case", *(encode(entry) for entry in entries))

    def _check_same(self, case: bytes, pin: bytes, contents: bytes) -> None:
        """A case that could not be stored is there already, with the same contents and PIN."""
        with transaction(self._engine) as session:
            there = session.get(Case, case)
        if there is None:
            raise ReplayError(_ENROLLED)
        # Contents first: only who sealed these very entries gets as far as the PIN, so nobody can try PINs here.
        same = hmac.compare_digest(there.contents, contents)
        if not same or not hmac.compare_digest(there.pin_hash, hash_key(pin)):
            raise CaseTaken("case number is in use with other entries or another PIN; make a fresh number and PIN")

    def check_pin(self, number: str, pin: bytes, address: str, admit: Callable[[], None] = lambda: None) -> bytes:
        """The id of the case that `number` and the key `pin` belong to. A right one is neither delayed nor counted.

        admit: called for a wrong one; raises LimitReached. Raises WrongPin, alike for a wrong PIN and an unknown
        number, with the delay for this address; InputError.
        """
        case, hashed = case_id(number), hash_key(pin)
        with transaction(self._engine) as session:
            there = session.get(Case, case)
        if not hmac.compare_digest(there.pin_hash if there else bytes(len(hashed)), hashed):
            admit()
            raise WrongPin("no case has this number and PIN", self._delays.wrong(case, address))
        self._delays.right(case, address)
        return case

    def status(self, case: bytes) -> CaseStatus:
        """What the person is told. Raises UnknownCase."""
        with transaction(self._engine) as session:
            row = _get(session, case)
            counts = dict(
                session.execute(
                    select(Entry.status, func.count()).where(Entry.case == case).group_by(Entry.status)
                ).all()
            )
            erasures = [decode(body, SignedErasure) for body in self._kept(session, case, "deleted")]
            return CaseStatus(
                cast(CaseState, row.status),
                row.opened_on,
                counts.get("received", 0),
                counts.get("accepted", 0),
                counts.get("refused", 0),
                platform_rows(session, case),
                [decode(body, SignedReceipt) for body in self._kept(session, case, *_SETTLED, "withdrawn")],
                list(_awaiting(session, case)),
                erasures[0] if erasures else None,
            )

    def withdraw(self, case: bytes, store: SqlStore | None = None) -> list[bytes]:
        """From now on the case matches no more; every member owes a confirmation. Returns its entries' ids.

        Raises UnknownCase.
        """
        with transaction(self._engine, store) as session:
            row = _get(session, case, lock=True)
            if row.status not in ("withdrawn", "deleted"):
                row.status = "withdrawn"
                mine = update(Entry).where(Entry.case == case)
                session.execute(mine.values(sealed=None))
                session.execute(mine.where(Entry.status != "refused").values(status="withdrawn"))
                session.add_all(Withdrawal(member=member, case=case) for member in SHARES)
            return _entries(session, case)

    # The members' check ------------------------------------------------------------------------------------------

    def received(self, limit: int) -> list[tuple[bytes, list[SealedEntry]]]:
        """Cases whose entries wait for the members' check, the oldest days first: (id, entries).

        Check each in a batch of its own: receipts name all entries of a batch, and must not link cases.
        """
        waiting = select(Case.id).where(Case.status == "received").order_by(Case.opened_on, Case.id).limit(limit)
        with transaction(self._engine) as session:
            return [(case, list(_unsettled(session, case))) for case in session.scalars(waiting).all()]

    def settle(
        self,
        case: bytes,
        accepted: Collection[bytes],
        refused: Collection[bytes],
        receipts: Mapping[int, Sequence[SignedReceipt]],
        store: SqlStore | None = None,
    ) -> list[bytes]:
        """What the members say about entries of a case; receipts by member, already verified.

        Returns the accepted ones that may be placed in a block: none if the case was withdrawn meanwhile. Raises
        UnknownCase; IntegrityError for entries of another case, or that were settled otherwise.
        """
        outcome = dict.fromkeys(accepted, "accepted") | dict.fromkeys(refused, "refused")
        with transaction(self._engine, store) as session:
            row = _get(session, case, lock=True)
            if row.status in ("withdrawn", "deleted"):
                return []
            entries = session.scalars(select(Entry).where(Entry.case == case)).all()
            if len(outcome) != len(accepted) + len(refused) or not outcome.keys() <= {entry.id for entry in entries}:
                raise IntegrityError("settling: an entry is of another case, or both accepted and refused")
            for entry in entries:
                now = outcome.get(entry.id, entry.status)
                if entry.status not in ("received", now):
                    raise IntegrityError(f"settling: an entry is {entry.status} already")
                entry.status = now
                if now != "received":
                    entry.sealed = None
            for member, signed in receipts.items():
                for one in signed:
                    self._keep(session, case, member, decode(one.body, EntryReceipt).status, encode(one))
            states = {entry.status for entry in entries}
            if "received" not in states:
                row.status = "active" if "accepted" in states else "refused"
            return sorted(entry.id for entry in entries if entry.id in outcome and entry.status == "accepted")

    def placed(self, block: int, version: int, entries: Iterable[bytes], store: SqlStore | None = None) -> None:
        """A block of this version of the bank was published with these entries in it."""
        chunks = list(in_chunks(sorted(entries)))
        with transaction(self._engine, store) as session:
            cases = (session.scalars(select(Entry.case).where(Entry.id.in_(some)).distinct()) for some in chunks)
            lock_cases(session, {case for some in cases for case in some})
            for some in chunks:
                new = Entry.id.in_(some) & ((Entry.block != block) | Entry.block.is_(None))
                session.execute(update(Entry).where(new).values(block=block, version=version, placed_on=self._today()))

    # The members' confirmations ----------------------------------------------------------------------------------

    def unconfirmed(self, member: int) -> list[tuple[bytes, list[bytes]]]:
        """Withdrawals that a member has not confirmed: (case id, ids of all its entries). To be sent until it has."""
        with transaction(self._engine) as session:
            cases = session.scalars(select(Withdrawal.case).where(Withdrawal.member == member)).all()
            return [(case, _entries(session, case)) for case in cases]

    def confirmations(self, member: int) -> int:
        """How many withdrawals a member has confirmed, ever."""
        with transaction(self._engine) as session:
            return session.scalar(select(func.count()).select_from(Receipt).where(*_withdrawn_at(member))) or 0

    def confirmed_by(self, member: int) -> list[list[bytes]]:
        """The entries of each withdrawal that a member has confirmed, as it was told them: deleted cases too."""
        with transaction(self._engine) as session:
            rows = session.scalars(select(Receipt).where(*_withdrawn_at(member))).all()
        opened = (self._sealer.open(row.body, Receipt.__tablename__, row.case + row.digest) for row in rows)
        return [decode(decode(body, SignedReceipt).body, EntryReceipt).entries for body in opened]

    def confirm(self, case: bytes, member: int, receipt: SignedReceipt, store: SqlStore | None = None) -> None:
        """A member forgot a withdrawn case's entries; its signature is already verified.

        Raises UnknownCase; IntegrityError for a case that is not withdrawn, or a receipt that leaves out an entry.
        """
        told = decode(receipt.body, EntryReceipt)
        with transaction(self._engine, store) as session:
            row = _get(session, case, lock=True)
            if row.status == "deleted":
                return
            if row.status != "withdrawn" or told.status != "withdrawn":
                raise IntegrityError(f"confirmation: the case is {row.status}, the receipt says {told.status}")
            if not set(_entries(session, case)) <= set(told.entries):
                raise IntegrityError(f"confirmation of {told.member}: an entry of the case is left out")
            session.execute(delete(Withdrawal).where(Withdrawal.case == case, Withdrawal.member == member))
            self._keep(session, case, member, "withdrawn", encode(receipt))

    def confirmed(self) -> list[bytes]:
        """Withdrawn cases that every member has confirmed: to be deleted once no block holds their entries."""
        owed = exists().where(Withdrawal.case == Case.id)
        with transaction(self._engine) as session:
            return list(session.scalars(select(Case.id).where(Case.status == "withdrawn", ~owed)).all())

    def erasure(self, case: bytes) -> Erasure:
        """What the exchange signs before `delete`. Raises UnknownCase, IntegrityError while a member owes its word."""
        with transaction(self._engine) as session:
            row = _get(session, case)
            if row.status != "withdrawn" or _awaiting(session, case):
                raise IntegrityError("erasure: the case is not withdrawn, or a member has not confirmed")
            words = [decode(body, SignedReceipt) for body in self._kept(session, case, "withdrawn")]
            return Erasure(case, self._today(), words, ERASURE)

    def delete(self, case: bytes, signed: SignedErasure, store: SqlStore | None = None) -> None:
        """Forget everything about a case but its PIN and receipts. Raises UnknownCase, IntegrityError."""
        with transaction(self._engine, store) as session:
            row = _get(session, case, lock=True)
            if row.status == "deleted":
                return
            if row.status != "withdrawn" or _awaiting(session, case):
                raise IntegrityError("deletion: the case is not withdrawn, or a member has not confirmed")
            row.status = "deleted"
            for kind in (Entry, Match, Sighting):
                session.execute(delete(kind).where(kind.case == case))
            self._keep(session, case, EXCHANGE, "deleted", encode(signed))

    def counts(self) -> dict[str, int]:
        """How many cases there are of each status."""
        with transaction(self._engine) as session:
            return dict(session.execute(select(Case.status, func.count()).group_by(Case.status)).all())

    def _keep(self, session: Session, case: bytes, member: int, status: str, body: bytes) -> None:
        name = hashlib.sha256(body).digest()[:_DIGEST_BYTES]
        if session.get(Receipt, (case, member, name)) is None:
            sealed = self._sealer.seal(body, Receipt.__tablename__, case + name)
            session.add(Receipt(case=case, member=member, digest=name, status=status, body=sealed))

    def _kept(self, session: Session, case: bytes, *statuses: str) -> list[bytes]:
        """What was kept under one of the statuses, by member."""
        rows = select(Receipt).where(Receipt.case == case, Receipt.status.in_(statuses))
        ordered = session.scalars(rows.order_by(Receipt.member, Receipt.status, Receipt.digest))
        return [self._sealer.open(row.body, Receipt.__tablename__, case + row.digest) for row in ordered]

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()


def _get(session: Session, case: bytes, lock: bool = False) -> Case:
    row = session.get(Case, case, with_for_update=lock or None)
    if row is None:
        raise UnknownCase("case: there is none of this id")
    return row


def _withdrawn_at(member: int) -> tuple[ColumnElement[bool], ...]:
    return Receipt.member == member, Receipt.status == "withdrawn"


def _entries(session: Session, case: bytes) -> list[bytes]:
    return list(session.scalars(select(Entry.id).where(Entry.case == case).order_by(Entry.id)).all())


def _unsettled(session: Session, case: bytes) -> Iterator[SealedEntry]:
    waiting = select(Entry.sealed).where(Entry.case == case, Entry.status == "received").order_by(Entry.id)
    for sealed in session.scalars(waiting):
        yield decode(cast(bytes, sealed), SealedEntry)


def _awaiting(session: Session, case: bytes) -> Sequence[int]:
    return session.scalars(select(Withdrawal.member).where(Withdrawal.case == case).order_by(Withdrawal.member)).all()
