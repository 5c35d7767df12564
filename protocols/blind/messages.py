"""What crosses between roles. Arrays travel as bytes, row by row."""

from __future__ import annotations

from protocols.ledger import Message, MessageKind, Number


class CeremonyDigest(Message, frozen=True):
    """A member's promise: SHA-256 of the commitments that it will publish."""

    digest: bytes


class CeremonyCommitments(Message, frozen=True):
    """Feldman's commitments to the coefficients of a member's polynomial: 2 elements."""

    elements: bytes


class CeremonyShare(Message, frozen=True):
    """The polynomial of one member at the number of another: a scalar, over a private channel."""

    share: bytes


class Manifest(Message, frozen=True):
    """What everybody pins, if all members say the same. epoch: of this key. public_key: K, an element.
    public_shares: K_1, K_2, K_3.
    """

    epoch: Number
    public_key: bytes
    public_shares: bytes


class BlindedElements(Message, frozen=True):
    """A request. members: which two are asked. elements: 32 bytes each; with proofs, the last is the check."""

    epoch: Number
    members: tuple[int, int]
    elements: bytes


class EvaluatedElements(Message, frozen=True):
    """A member's answer, the Lagrange coefficient folded in. proof: 64 bytes, or none in OPRF mode."""

    elements: bytes
    proof: bytes


class SealedEntries(Message, frozen=True):
    """N entries, T tokens each. cases: N. entries: N rows of id 16, sealed fingerprint, commitment 32.
    ids: N*T rows of 12. labels: N*T rows of 16.
    """

    cases: list[str]
    entries: bytes
    ids: bytes
    labels: bytes


class BankUpdate(Message, frozen=True):
    """Entries that join the bank at slots first_slot onwards; the rest as in `SealedEntries`, without cases."""

    epoch: Number
    first_slot: Number
    entries: bytes
    ids: bytes
    labels: bytes


class MatchReport(Message, frozen=True):
    """Slots that a platform's queries matched, and slots whose entry did not open as it must."""

    matched: list[Number]
    broken: list[Number]


class Withdrawal(Message, frozen=True):
    """A case that its person withdraws."""

    case: str


class Removal(Message, frozen=True):
    """Slots whose rows platforms delete."""

    slots: list[Number]


_EVALUATED = "the request and the member's key share; elements random to whoever lacks the blinds"
_BLINDED = "nothing: uniformly random elements, as many as the parameters say"

TABLE = (
    MessageKind(CeremonyDigest, "member", "member", "a random polynomial"),
    MessageKind(CeremonyCommitments, "member", "member", "a random polynomial"),
    MessageKind(CeremonyShare, "member", "member", "a random polynomial"),
    MessageKind(Manifest, "member", "exchange", "the members' public shares"),
    MessageKind(Manifest, "member", "client", "the members' public shares"),
    MessageKind(Manifest, "member", "platform", "the members' public shares"),
    MessageKind(BlindedElements, "client", "member", _BLINDED),
    MessageKind(EvaluatedElements, "member", "client", _EVALUATED),
    MessageKind(SealedEntries, "client", "exchange", "the case number; which entries share a token, nothing else"),
    MessageKind(BankUpdate, "exchange", "platform", "which entries share a token; an entry whose token it can make"),
    MessageKind(BlindedElements, "platform", "member", _BLINDED),
    MessageKind(EvaluatedElements, "member", "platform", _EVALUATED),
    MessageKind(MatchReport, "platform", "exchange", "which entries uploads matched"),
    MessageKind(Withdrawal, "client", "exchange", "the case number"),
    MessageKind(Removal, "exchange", "platform", "how many entries a withdrawn case had, and where"),
)
