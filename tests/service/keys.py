"""Parties with keys under a manifest, and nonces in memory, for the tests of the service."""

from protocols.base import ReplayError
from protocols.scan.sealing import Identity, Verifier

MANIFEST = b"m" * 32
OTHER_MANIFEST = b"o" * 32


def party(name: str, manifest: bytes = MANIFEST) -> Identity:
    return Identity(name).under(manifest)


def verifiers(*parties: Identity, manifest: bytes = MANIFEST) -> dict[str, Verifier]:
    return {each.name: Verifier(each.public, manifest) for each in parties}


class MemoryNonces:
    def __init__(self) -> None:
        self.seen: dict[tuple[str, bytes], int] = {}

    def use(self, party: str, nonce: bytes, expires: int) -> None:
        if (party, nonce) in self.seen:
            raise ReplayError(f"nonce of {party}: seen before")
        self.seen[party, nonce] = expires
