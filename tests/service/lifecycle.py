"""Parts of a case's life for the tests: a clock, entries, receipts as members would write them (unsigned here)."""

import os
import secrets

from protocols.ledger import encode
from protocols.scan.enrolling_messages import EntryReceipt, SealedEntry, SignedReceipt
from service.atrest import Sealer
from service.messages import OpenCase
from service.pins import new_number

DAY = 86_400
NOON = 1_795_348_800  # 2026-11-22 12:00 UTC
MEMBERS = (1, 2, 3)
SEALER = Sealer(bytes(range(32)))


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return float(self.now)


def entry():
    return SealedEntry(os.urandom(16), os.urandom(96), [os.urandom(40) for _ in MEMBERS])


def new_case(entries=2):
    return OpenCase(new_number(), secrets.token_bytes(32), True, [entry() for _ in range(entries)])


def receipt(member, status, entries):
    body = EntryReceipt(f"member-{member}", 1, 1, status, list(entries), [bytes(96) for _ in entries])
    return SignedReceipt(encode(body), f"signature of member-{member}".encode())


def receipts(accepted, refused=()):
    told = [("accepted", accepted)] + ([("refused", refused)] if refused else [])
    return {member: [receipt(member, status, ids) for status, ids in told] for member in MEMBERS}


def ids(message):
    return [each.entry for each in message.entries]


def activate(cases, message):
    """Open and settle a case, every entry accepted."""
    case = cases.open(message)
    cases.settle(case, ids(message), [], receipts(ids(message)))
    return case
