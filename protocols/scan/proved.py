"""The order of messages when a block is audited and when a batch is proved; `protocol` has the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, TypeVar

from protocols.base import ProofRefused
from protocols.ledger import Ledger, Message
from protocols.scan.exchange import Exchange
from protocols.scan.member import Member
from protocols.scan.messages import BlockDigest
from protocols.scan.proof_messages import ProofOpening, ProofToss

M = TypeVar("M", bound=Message)


def audit(ledger: Ledger, members: Sequence[Member], asked: dict[str, BlockDigest]) -> None:
    """The members' audit of a published block; `asked`: what the exchange wants each to sign.

    Raises IntegrityError if it fails.
    """
    any_asked = asked[members[0].name]
    block, version = any_asked.block, any_asked.version

    def swap(make: Callable[[Member], M], take: Callable[[Member, int, Any], None]) -> None:
        made = []
        for sender in members:
            with ledger.cpu(sender.name, "audit"):
                made.append((sender, make(sender)))
        for (sender, message), (receiver, _) in permutations(made, 2):
            received = ledger.send(sender.name, receiver.name, message)
            with ledger.cpu(receiver.name, "audit"):
                take(receiver, sender.number, received)

    swap(lambda m: m.auditor.commit(asked[m.name]), lambda m, s, x: m.auditor.receive_commitment(s, x))
    swap(lambda m: m.auditor.toss(block, version), lambda m, s, x: m.auditor.receive_toss(s, x))
    swap(lambda m: m.auditor.opening(block, version), lambda m, s, x: m.auditor.receive_opening(s, x))
    for member in members:
        with ledger.cpu(member.name, "audit"):
            member.auditor.conclude(block, version)


def verify(ledger: Ledger, exchange: Exchange, a: Member, b: Member, session: bytes, deal: bytes) -> None:
    """A's and B's check of a batch's proof, headers compared already. Raises ProofRefused, once all are told."""

    def step(take: Callable[[Member, int, Any], Message | None], came: dict[int, Any]) -> dict[int, Any]:
        """Each member's next message, given what the other sent; keyed by its receiver."""
        made, refused = {}, []
        for member, other in ((a, b), (b, a)):
            with ledger.cpu(member.name, "check"):
                try:
                    made[other.number] = member, take(member, other.number, came.get(member.number))
                except ProofRefused as error:
                    refused.append((member, error))
        for member, failure in refused:
            told = ledger.send(member.name, "exchange", member.sessions.refuse(session, failure))
            exchange.receive_refusal(told)
        if refused:
            raise refused[0][1]
        return {
            receiver: ledger.send(sender.name, f"member-{receiver}", message)
            for receiver, (sender, message) in made.items()
            if message is not None
        }

    deals = step(lambda m, _, __: m.sessions.use_deal(session, deal), {})
    step(lambda m, s, x: m.sessions.receive_deal(s, x), deals)

    def answer(member: Member, sender: int, toss: ProofToss) -> ProofOpening:
        member.sessions.verification(session).receive_toss(sender, toss)
        return member.sessions.open_proof(session)

    tosses = step(lambda m, _, __: m.sessions.verification(session).toss(), {})
    openings = step(answer, tosses)
    closings = step(lambda m, s, x: m.sessions.verification(session).receive_opening(s, x), openings)
    step(lambda m, s, x: m.sessions.verification(session).receive_closing(s, x), closings)
