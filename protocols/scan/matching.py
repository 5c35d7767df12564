"""The order of messages when a batch of results is proved, decrypted into shares, compared and answered.

A and B are the pair that decrypts. Whatever fails, the session is given up by all three, and what it was made from is
never used again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.base import HushmatchError, ProofRefused
from protocols.scan.checker import Checker, Scanned
from protocols.scan.comparison import rounds
from protocols.scan.dealing import chunks
from protocols.scan.member import Member
from protocols.scan.resolving import Resolver
from protocols.scan.wire import Wire


def deal(wire: Wire, platform: str, dealer: Member, a: Member, b: Member, lanes: int) -> bytes:
    """What one batch of a platform against `lanes` lanes takes, from the third member into stock. The deal's id."""
    with wire.cpu(dealer.name, "dealing"):
        deal_id, seed, correction = dealer.deal((a.number, b.number), lanes)
    for member, message in ((a, seed), (b, correction)):
        received = wire.send(dealer.name, member.name, message)
        with wire.cpu(member.name, "comparison"):
            member.sessions.stock.receive(dealer.number, received, platform)
    return deal_id


def answer(
    wire: Wire,
    exchange: Resolver,
    platform: Checker,
    a: Member,
    b: Member,
    scanned: Scanned,
    next_deal: Callable[[int], bytes],
) -> list[tuple[int, bytes]]:
    """(query, handle) of every match of a batch. next_deal: gives the id of a deal in stock for so many lanes.

    Raises HushmatchError; the session is then given up.
    """
    send, cpu, session = wire.send, wire.cpu, scanned.session
    proofs = platform.proofs
    try:
        with cpu(platform.name, "proof" if proofs else "product"):
            to_a, to_b = platform.results(scanned)
        headers = {}
        for member, results in ((a, to_a), (b, to_b)):
            received = send(platform.name, member.name, results)
            with cpu(member.name, "decryption"):
                headers[member.number] = member.sessions.receive_results(platform.name, received)
        del to_a, to_b, results, received  # tens of MB
        b.sessions.receive_header(a.number, send(a.name, b.name, headers[a.number]))
        a.sessions.receive_header(b.number, send(b.name, a.name, headers[b.number]))
        deal_id = next_deal(scanned.installed.lanes)
        if proofs:
            verify(wire, exchange, a, b, session, deal_id)
        with cpu(b.name, "decryption"):
            masked = b.sessions.partial(session)
        masked = send(b.name, a.name, masked)
        with cpu(a.name, "decryption"):
            a.sessions.receive_partial(b.number, masked)
        _compare(wire, a, b, scanned, deal_id, platform)
        lists, counts = [], []
        for member in (a, b):
            with cpu(member.name, "comparison"):
                match_list, match_counts = member.sessions.answer(session)
            lists.append(send(member.name, "exchange", match_list))
            counts.append(send(member.name, platform.name, match_counts))
        with cpu("exchange"):
            handles = exchange.resolve((lists[0], lists[1]), (a.number, b.number))
        handles = send("exchange", platform.name, handles)
        with cpu(platform.name):
            return platform.receive_answer(session, counts, handles)
    except HushmatchError:
        for role in (platform, a.sessions, b.sessions):
            role.abandon(session)
        raise


def verify(wire: Wire, exchange: Resolver, a: Member, b: Member, session: bytes, deal_id: bytes) -> None:
    """A's and B's check of a batch's proof, headers compared already. Raises ProofRefused, once all are told."""

    def step(take: Callable[[Member, int, Any], Any], came: dict[int, Any]) -> dict[int, Any]:
        """Each member's next message, given what the other sent; keyed by its receiver."""
        made, refused = {}, []
        for member, other in ((a, b), (b, a)):
            with wire.cpu(member.name, "check"):
                try:
                    made[other.number] = member, take(member, other.number, came.get(member.number))
                except ProofRefused as error:
                    refused.append((member, error))
        for member, failure in refused:
            told = wire.send(member.name, "exchange", member.sessions.refuse(session, failure))
            exchange.receive_refusal(told)
        if refused:
            raise refused[0][1]
        return {
            receiver: wire.send(sender.name, f"member-{receiver}", message)
            for receiver, (sender, message) in made.items()
            if message is not None
        }

    deals = step(lambda m, _, __: m.sessions.use_deal(session, deal_id), {})
    step(lambda m, s, x: m.sessions.receive_deal(s, x), deals)
    tosses = step(lambda m, _, __: m.sessions.toss(session), {})
    openings = step(lambda m, s, x: m.sessions.receive_toss(s, x), tosses)
    closings = step(lambda m, s, x: m.sessions.receive_opening(s, x), openings)
    step(lambda m, s, x: m.sessions.receive_closing(s, x), closings)


def _compare(wire: Wire, a: Member, b: Member, scanned: Scanned, deal_id: bytes, platform: Checker) -> None:
    send, cpu, session = wire.send, wire.cpu, scanned.session
    parts = chunks(platform.parameters, scanned.installed.lanes, platform.batch)
    for member in (a, b):
        with cpu(member.name, "comparison"):
            member.sessions.start_comparison(session, deal_id)
    sides = (a, b), (b, a)
    for chunk in range(len(parts)):
        opened: dict[int, Any] = {}
        for member in (a, b):
            with cpu(member.name, "comparison"):
                opened[member.number] = member.sessions.gate_opening(session, chunk, 0)
        for _ in rounds(platform.parameters):
            came = {to.number: send(sender.name, to.name, opened[sender.number]) for sender, to in sides}
            for sender, receiver in sides:
                with cpu(receiver.name, "comparison"):
                    opened[receiver.number] = receiver.sessions.next_gates(sender.number, came[receiver.number])
    shares = []
    for sender, receiver in sides:
        with cpu(sender.name, "comparison"):
            bits = sender.sessions.match_bits(session)
        shares.append((receiver, sender, send(sender.name, receiver.name, bits)))
    for receiver, sender, bits in shares:
        with cpu(receiver.name, "comparison"):
            receiver.sessions.receive_match_bits(sender.number, bits)
