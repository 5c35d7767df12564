"""The order of messages when the members make their key."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

from protocols.base import IntegrityError
from protocols.scan.ceremony import PAIRS
from protocols.scan.founding_messages import CommitteeKey
from protocols.scan.keys import MEMBERS
from protocols.scan.member import Member
from protocols.scan.wire import Wire, swap


def make_key(wire: Wire, members: Sequence[Member]) -> CommitteeKey:
    """The ceremony of all three members. Raises IntegrityError that names who is at fault."""
    send, by_number = wire.send, {member.number: member for member in members}
    swap(wire, members, lambda m: m.ceremony.commit(), lambda m, s, x: m.ceremony.receive_commitment(s, x))
    for dealer, receiver in permutations(members, 2):
        with wire.cpu(dealer.name):
            contribution = dealer.ceremony.contribute(receiver.number)
        contribution = send(dealer.name, receiver.name, contribution)
        with wire.cpu(receiver.name):
            receiver.ceremony.receive_contribution(dealer.number, contribution)
    swap(wire, members, lambda m: m.ceremony.test_vector(), lambda m, s, x: m.ceremony.receive_test_vector(s, x))
    for dealer_number, pair in product(MEMBERS, PAIRS):
        a, b = (by_number[number] for number in pair)
        with wire.cpu(b.name):
            masked = b.ceremony.mask(dealer_number, pair)
        masked = send(b.name, a.name, masked)
        with wire.cpu(a.name):
            a.ceremony.unmask(b.number, dealer_number, masked)
        for m in (a, b):
            share = m.ceremony.open_share(dealer_number, pair)
            for other in members:
                if other is not m:
                    other.ceremony.receive_share(m.number, send(m.name, other.name, share))
    swap(wire, members, lambda m: m.ceremony.tell_plaintext(), lambda m, s, x: m.ceremony.receive_plaintext(s, x))
    keys = [send(member.name, "exchange", member.finish_ceremony()) for member in members]
    if any(key.b != keys[0].b for key in keys):
        raise IntegrityError("ceremony: the members made different public keys")
    return keys[0]
