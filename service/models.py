"""The tables of every role's database. Cases, matches and sightings are the exchange's; the others stay empty there.

A reader of a dump must not tell what was photographed, nor link two cases of one person: there is no address, name or
free text, times are days, and primary keys are random. SQLite keeps every table in the order of its primary key (no
rowid), so that a dump does not tell which case came after which either; for PostgreSQL `storage.tidy` sorts them.

NOT protected: the number of entries of a case; how many cases were opened on a day, and while that day lasts, between
which versions of the bank; what the file system and PostgreSQL's log keep of old pages.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = 64


class Base(DeclarativeBase):
    """Root of the tables. Annotated types: bytes are blobs, whole numbers have 64 bits."""

    type_annotation_map = {bytes: LargeBinary, int: BigInteger, str: String(NAME)}  # noqa: RUF012
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class Fact(Base):
    """A value of one of a role's tables (`storage.SqlStore`), sealed."""

    __tablename__ = "facts"
    name: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(primary_key=True)
    value: Mapped[bytes]


class LockedKey(Base):
    """The key that seals `facts`, locked under the role's passphrase."""

    __tablename__ = "locked_keys"
    name: Mapped[str] = mapped_column(primary_key=True)
    locked: Mapped[bytes]


class Case(Base):
    """A case. id: SHA-256 of its number. status: messages.CaseState. contents: digest of the entries it came with."""

    __tablename__ = "cases"
    id: Mapped[bytes] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(index=True)
    pin_hash: Mapped[bytes]
    contents: Mapped[bytes]
    opened_on: Mapped[date]


class Entry(Base):
    """An entry of a case. sealed: its encoded SealedEntry until the members have settled it.

    block, version, placed_on: where it stands, and since which version of the bank; none until it is published.
    Versions are rounded to the last of their day: they come often enough to tell cases apart (`Finds.tidy`).
    """

    __tablename__ = "entries"
    id: Mapped[bytes] = mapped_column(primary_key=True)
    case: Mapped[bytes] = mapped_column(ForeignKey("cases.id"), index=True)
    status: Mapped[str]
    sealed: Mapped[bytes | None]
    block: Mapped[int | None]
    version: Mapped[int | None]
    placed_on: Mapped[date | None]


class Receipt(Base):
    """What a member signed about a case's entries: an encoded SignedReceipt, sealed, for it names versions and entries.

    digest: the first 16 bytes of SHA-256 of what is sealed. member: 0 for the exchange's own word, a SignedErasure.
    """

    __tablename__ = "receipts"
    case: Mapped[bytes] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    member: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    status: Mapped[str]
    body: Mapped[bytes]


class Withdrawal(Base):
    """A member that has not confirmed yet that it forgot a withdrawn case's entries."""

    __tablename__ = "withdrawals"
    member: Mapped[int] = mapped_column(primary_key=True)
    case: Mapped[bytes] = mapped_column(ForeignKey("cases.id"), primary_key=True)


class Match(Base):
    """A match that was answered with `handle`, for a day or two. sighting: the one that it was counted for, if any."""

    __tablename__ = "matches"
    handle: Mapped[bytes] = mapped_column(primary_key=True)
    case: Mapped[bytes] = mapped_column(ForeignKey("cases.id"), index=True)
    platform: Mapped[str]
    found_on: Mapped[date]
    sighting: Mapped[bytes | None]


class Sighting(Base):
    """An upload that shows what a case is about. verdict: what the platform did, once it has told."""

    __tablename__ = "sightings"
    handle: Mapped[bytes] = mapped_column(primary_key=True)
    case: Mapped[bytes] = mapped_column(ForeignKey("cases.id"), index=True)
    platform: Mapped[str]
    kind: Mapped[str]
    found_on: Mapped[date]
    verdict: Mapped[str | None]


class Searched(Base):
    """When (unix seconds) a platform last compared uploads with a block, and with which version of it."""

    __tablename__ = "searched"
    platform: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]
    at: Mapped[int]


class Nonce(Base):
    """A signed request's nonce, kept until its request has expired (unix seconds)."""

    __tablename__ = "nonces"
    party: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[bytes] = mapped_column(primary_key=True)
    expires: Mapped[int] = mapped_column(index=True)
