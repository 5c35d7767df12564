"""The manifest: made by the exchange, signed by all three members, pinned by everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from protocols.base import ConfigurationError, IntegrityError, MessageError
from protocols.ledger import Message, decode
from protocols.scan.founding_messages import Manifest, SignedManifest, SignedManifestPart
from protocols.scan.keys import MEMBERS
from protocols.scan.parameters import PROTOCOL_VERSION, Parameters
from protocols.scan.sealing import PublicKeys, Signed, Verifier, digest

M = TypeVar("M", bound=Message)


class Pinned:
    """A manifest that was accepted: parameters, limits, and everybody's verified keys by name.

    The first is trusted because the caller pins its digest, got from the committee and not from the exchange; the next
    needs the signatures of two of the members of the one before.
    """

    def __init__(
        self,
        signed: SignedManifest,
        expected_digest: bytes,
        before: Pinned | None = None,
        *,
        allow_insecure: bool = False,
        allow_unsafe_threshold: bool = False,
    ) -> None:
        """Raises IntegrityError, MessageError; ConfigurationError for insecure parameters, unless allowed."""
        manifest = decode(signed.manifest, Manifest)
        if manifest.protocol != PROTOCOL_VERSION:
            raise MessageError(f"manifest: protocol is {manifest.protocol!r}; expected {PROTOCOL_VERSION!r}")
        if before is None and digest("manifest", signed.manifest) != expected_digest:
            raise IntegrityError("manifest: not the one that is pinned")
        self.manifest = manifest
        self.raw = signed.manifest
        self.digest = digest("manifest", signed.manifest)
        self.parties = {keys.name: Verifier(keys, self.digest) for keys in distinct(manifest.parties)}
        for member in MEMBERS:
            if f"member-{member}" not in self.parties:
                raise MessageError(f"manifest: member-{member} is missing")
        _check_signatures(signed, manifest, needed=3)
        if before is not None:
            if manifest.epoch <= before.manifest.epoch:
                raise IntegrityError(f"manifest: epoch {manifest.epoch} does not follow {before.manifest.epoch}")
            _check_signatures(signed, before.manifest, needed=2)
        m = manifest
        self.parameters = Parameters(m.parameter_set, m.lanes, m.bits, m.threshold, allow_unsafe_threshold)
        if self.parameters.insecure and not allow_insecure:
            raise ConfigurationError(f"manifest: {m.parameter_set} is for tests: it needs allow_insecure=True")

    @property
    def members(self) -> list[Verifier]:
        """The members' keys, in order."""
        return [self.parties[f"member-{member}"] for member in MEMBERS]

    def verify_member(self, signed: Signed, kind: type[M]) -> tuple[int, M]:
        """The member that signed, and the message of type `kind`. Raises IntegrityError if none did."""
        for member, keys in zip(MEMBERS, self.members, strict=True):
            try:
                return member, keys.verify(signed, kind)
            except IntegrityError:
                continue
        raise IntegrityError(f"{kind.__name__}: no member's signature verifies")


def follow(
    chain: Sequence[SignedManifest],
    expected_digest: bytes,
    *,
    allow_insecure: bool = False,
    allow_unsafe_threshold: bool = False,
) -> list[Pinned]:
    """The pinned manifest of a chain and all that follow it, each signed by two members of the one before.

    Raises IntegrityError if the pinned one is not in it, and what `Pinned` raises.
    """
    digests = [digest("manifest", signed.manifest) for signed in chain]
    if expected_digest not in digests:
        raise IntegrityError("manifest: the one that is pinned is neither in use nor any before it")
    followed: list[Pinned] = []
    for signed in chain[digests.index(expected_digest) :]:
        followed.append(
            Pinned(
                signed,
                expected_digest,
                followed[-1] if followed else None,
                allow_insecure=allow_insecure,
                allow_unsafe_threshold=allow_unsafe_threshold,
            )
        )
    return followed


def check_agreed(manifest: Manifest, agreed: Manifest) -> None:
    """Raises IntegrityError if a manifest is not what was agreed on; it may name more parties.

    agreed: what people told each other, not through the exchange; its parties are the members, at least.
    """
    fields = [field for field in Manifest.__struct_fields__ if field != "parties"]
    differ = [field for field in fields if getattr(manifest, field) != getattr(agreed, field)]
    if differ:
        raise IntegrityError(f"manifest: {', '.join(differ)}: not the ones agreed on")
    if not {f"member-{member}" for member in MEMBERS} <= {keys.name for keys in agreed.parties}:
        raise MessageError("manifest: compare the keys of all three members before one of them signs")
    for keys in agreed.parties:
        if keys not in manifest.parties:
            raise IntegrityError(f"manifest: the keys of {keys.name} are not the ones agreed on")


def distinct(parties: list[PublicKeys]) -> list[PublicKeys]:
    """The parties, if no name and no key stands twice: else keys that a member did not look for could count as its own.

    Raises MessageError.
    """
    for field in ("name", "seal", "verify"):
        if len({getattr(keys, field) for keys in parties}) != len(parties):
            raise MessageError(f"manifest: two parties have the same {field}")
    return parties


def _check_signatures(signed: SignedManifest, named: Manifest, needed: int) -> None:
    """Signatures of a manifest itself are under none."""
    parties = {keys.name: Verifier(keys) for keys in named.parties}
    signers = set()
    for signature in signed.signatures:
        for member in MEMBERS:
            try:
                parties[f"member-{member}"].verify(SignedManifestPart(signed.manifest, signature), Manifest)
            except IntegrityError:
                continue
            signers.add(member)
    if len(signers) < needed:
        raise IntegrityError(f"manifest: {len(signers)} of the members' signatures verify; {needed} are needed")
