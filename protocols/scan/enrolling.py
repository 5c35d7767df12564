"""The order of messages when entries are checked, blocks are built and audited, and cases are withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from protocols.scan.blocks import BlockStore
from protocols.scan.checker import Checker
from protocols.scan.enrolling_messages import (
    BlockDigest,
    BlockPlanes,
    EntryShares,
    EntryWithdrawal,
    PlaneShares,
    SignedReceipt,
    SlotMap,
)
from protocols.scan.entries import SHARES, encryptor
from protocols.scan.exchange import Exchange
from protocols.scan.member import Member
from protocols.scan.wire import Wire, swap, timed

_PLANES_STEP = 16  # planes a message


def check(wire: Wire, members: Sequence[Member], parts: dict[int, EntryShares]) -> dict[int, list[SignedReceipt]]:
    """All three members' check of a batch of entries: their receipts, for the exchange to settle it with."""
    send, batch = wire.send, parts[members[0].number].batch
    received = {m.number: send("exchange", m.name, parts[m.number]) for m in members}
    swap(
        wire,
        members,
        lambda m: m.custody.receive(received[m.number]),
        lambda m, s, x: m.custody.receive_commitment(s, x),
    )
    swap(wire, members, lambda m: m.custody.toss(batch), lambda m, s, x: m.custody.receive_toss(s, x))
    settled = False
    while not settled:
        swap(wire, members, lambda m: m.custody.opening(batch), lambda m, s, x: m.custody.receive_opening(s, x))
        settled = all([m.custody.settle(batch) for m in members])
    return {m.number: [send(m.name, "exchange", one) for one in m.custody.conclude(batch)] for m in members}


def update(
    wire: Wire,
    exchange: Exchange,
    members: Sequence[Member],
    slot_map: SlotMap,
    keepers: dict[str, BlockStore | Checker],
    progress: Callable[[str, int, int], None],
    audited: bool,
) -> list[BlockDigest]:
    """Bring the members that are there, and `keepers` of blocks, to a new version of the bank.

    keepers: by name, who gets the planes while they are made. Returns the digests that the members signed. Raises
    IntegrityError if the exchange is seen to cheat, StaleVersion or ReplayError if a withdrawal came in between.
    """
    send, by_number = wire.send, {member.number: member for member in members}
    maps = {m.number: send("exchange", m.name, slot_map) for m in members}
    swap(
        wire,
        members,
        lambda m: m.custody.receive_map(maps[m.number]),
        lambda m, s, x: m.custody.receive_map_digest(s, x),
    )
    for member in members:
        member.custody.accept_map()
    exchange.adopt(slot_map)
    digests = []
    for done, (block, lanes) in enumerate(zip(slot_map.blocks, slot_map.lanes, strict=True)):
        progress("building blocks", done, len(slot_map.blocks))
        encryptors = [by_number[encryptor(share, slot_map.away or 0)] for share in SHARES]
        parts = [_planes(wire, m, block, share) for m, share in zip(encryptors, SHARES, strict=True)]
        building = exchange.published.build(block, slot_map.version, lanes, parts)
        for built in timed(wire, "exchange", building):
            if isinstance(built, BlockPlanes):
                for name, keeper in keepers.items():
                    planes = send("exchange", name, built)
                    with wire.cpu(name):
                        keeper.receive_planes(planes)
            else:
                asked = {m.name: send("exchange", m.name, built) for m in members}
                if audited:
                    audit(wire, members, asked)
                signatures = [send(m.name, "exchange", m.sign_block(asked[m.name])) for m in members]
                digests.append(built)
        published = exchange.publish(block, signatures)
        exchange.published.drop_replaced()
        for name, keeper in keepers.items():
            received = send("exchange", name, published)
            with wire.cpu(name):
                keeper.install(received)
    progress("building blocks", len(slot_map.blocks), len(slot_map.blocks))
    return digests


def _planes(wire: Wire, member: Member, block: int, share: int) -> Iterator[PlaneShares]:
    for planes in timed(wire, member.name, member.planes(block, share, _PLANES_STEP)):
        yield wire.send(member.name, "exchange", planes)


def audit(wire: Wire, members: Sequence[Member], asked: dict[str, BlockDigest]) -> None:
    """The members' audit of a published block; `asked`: what the exchange wants each to sign.

    Raises IntegrityError if it fails.
    """
    block, version = asked[members[0].name].block, asked[members[0].name].version
    swap(
        wire,
        members,
        lambda m: m.auditor.commit(asked[m.name]),
        lambda m, s, x: m.auditor.receive_commitment(s, x),
        "audit",
    )
    swap(
        wire,
        members,
        lambda m: m.auditor.toss(block, version),
        lambda m, s, x: m.auditor.receive_toss(s, x),
        "audit",
    )
    swap(
        wire,
        members,
        lambda m: m.auditor.opening(block, version),
        lambda m, s, x: m.auditor.receive_opening(s, x),
        "audit",
    )
    for member in members:
        with wire.cpu(member.name, "audit"):
            member.auditor.conclude(block, version)


def withdraw(wire: Wire, members: Sequence[Member], withdrawal: EntryWithdrawal) -> dict[int, SignedReceipt]:
    """Tell members what to stop matching; each one's receipt."""
    receipts = {}
    for member in members:
        receipt = member.custody.withdraw(wire.send("exchange", member.name, withdrawal))
        receipts[member.number] = wire.send(member.name, "exchange", receipt)
    return receipts


def abandon(wire: Wire, members: Sequence[Member], abandoned: EntryWithdrawal) -> list[SignedReceipt]:
    """Tell members to forget an enrolment that failed; their receipts, in order."""
    receipts = []
    for member in members:
        receipt = member.custody.abandon(wire.send("exchange", member.name, abandoned))
        receipts.append(wire.send(member.name, "exchange", receipt))
    return receipts
