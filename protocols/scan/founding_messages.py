"""What crosses when a committee is founded: the manifest, the ceremony of its key; and the table that declares it.

Arrays travel as bytes, decoded as views: residues packed 45 bits each (`packing`), bit-sliced words as uint64.
A `Signed` subclass carries the exact bytes that were signed.
"""

from __future__ import annotations

from protocols.ledger import Message, MessageKind, Number
from protocols.scan.sealing import PublicKeys, Signed


class Manifest(Message, frozen=True):
    """What everybody pins: keys, parameters, limits, whether proofs are asked for. All three members sign it."""

    protocol: str
    parameter_set: str
    lanes: Number
    bits: Number
    threshold: Number
    epoch: Number
    parties: list[PublicKeys]
    batch: Number
    match_cap: Number | None
    daily_results: Number | None
    daily_match_share: float | None
    proofs: bool = False


class SignedManifest(Message, frozen=True):
    """The encoded manifest with the members' signatures, in member order."""

    manifest: bytes
    signatures: list[bytes]


class SignedManifestPart(Signed, frozen=True):
    """The manifest, signed by one member."""


class KeyCommitment(Message, frozen=True):
    """Hash over ceremony, member, parameter set and all lanes of a member's part of the public key."""

    commitment: bytes


class KeyContribution(Message, frozen=True):
    """A member's part b_r of the public key, and what it seals to one other member: Shamir shares and a PRF key."""

    b: memoryview
    sealed: bytes


class TestVector(Message, frozen=True):
    """A member's encryptions of secret test plaintexts, one under each member's part of the key, every lane."""

    ciphertexts: memoryview


class TestShare(Message, frozen=True):
    """A share of a decrypted test vector, opened."""

    dealer: Number
    pair: list[Number]
    share: memoryview


class TestPlaintext(Message, frozen=True):
    """The secret test plaintexts, told after all shares are open."""

    plaintexts: memoryview


class CommitteeKey(Message, frozen=True):
    """The public key's sum b_r over the members, every lane."""

    b: memoryview


FOUNDING_MESSAGES = (
    MessageKind(PublicKeys, "member", "exchange", "the member's public keys"),
    MessageKind(PublicKeys, "platform", "exchange", "the platform's public keys"),
    MessageKind(Manifest, "exchange", "member", "everybody's public keys, parameters, limits"),
    MessageKind(SignedManifestPart, "member", "exchange", "the manifest"),
    MessageKind(SignedManifest, "exchange", "client", "the manifest"),
    MessageKind(SignedManifest, "exchange", "member", "the manifest"),
    MessageKind(SignedManifest, "exchange", "platform", "the manifest"),
    MessageKind(KeyCommitment, "member", "member", "hash of the sender's part of the public key"),
    MessageKind(KeyContribution, "member", "member", "the sender's part of the public key; sealed key shares"),
    MessageKind(TestVector, "member", "member", "encryptions of random plaintexts"),
    MessageKind(TestShare, "member", "member", "share of a decrypted random plaintext"),
    MessageKind(TestPlaintext, "member", "member", "random plaintexts"),
    MessageKind(CommitteeKey, "member", "exchange", "the public key"),
    MessageKind(CommitteeKey, "exchange", "platform", "the public key"),
)
