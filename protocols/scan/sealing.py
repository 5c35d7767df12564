"""Every raw use of public-key cryptography: HPKE, Ed25519, commitments.

Sealing is HPKE base mode (RFC 9180) with the hybrid KEM ML-KEM-768 + X25519, HKDF-SHA256 and AES-256-GCM: fingerprints
stay sensitive for decades. `info` binds a sealed message to its context. Signatures are Ed25519 over a label and the
exact bytes sent; they need to hold only while a session lasts, so they are not post-quantum.

NOT protected: HPKE base mode does not say who sealed; what must come from somebody is signed.
"""

from __future__ import annotations

import hmac
import secrets
from copy import copy
from typing import TypeVar

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from protocols.base import IntegrityError, MessageError
from protocols.ledger import Message, decode, encode

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_BYTES, _X25519_BYTES, _ED25519_BYTES = 1184, 32, 32
_MLKEM_SEED = 64
PRIVATE_BYTES = _MLKEM_SEED + _X25519_BYTES + _ED25519_BYTES
DIGEST_BYTES = 32


class PublicKeys(Message, frozen=True):
    """A party's keys: `seal` is ML-KEM-768 (1,184 bytes) then X25519 (32); `verify` is Ed25519 (32)."""

    name: str
    seal: bytes
    verify: bytes


class Signed(Message, frozen=True):
    """A message's exact bytes with the sender's signature over them; one subclass a kind of message."""

    body: bytes
    signature: bytes


M = TypeVar("M", bound=Message)
S = TypeVar("S", bound=Signed)


class Identity:
    """A party's private keys: all three kinds are made of nothing but random bytes."""

    def __init__(self, name: str) -> None:
        self._use(name, secrets.token_bytes(PRIVATE_BYTES))

    @classmethod
    def load(cls, name: str, private: bytes) -> Identity:
        """The identity that `private_bytes` gave. Raises MessageError for another length."""
        if len(private) != PRIVATE_BYTES:
            raise MessageError(f"private keys of {name}: {len(private)} bytes; expected {PRIVATE_BYTES}")
        identity = cls.__new__(cls)
        identity._use(name, private)
        return identity

    def _use(self, name: str, private: bytes) -> None:
        mlkem, x25519 = private[:_MLKEM_SEED], private[_MLKEM_SEED:-_ED25519_BYTES]
        self.name = name
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(mlkem)
        self._x25519 = X25519PrivateKey.from_private_bytes(x25519)
        self._opener = MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
        self._signer = Ed25519PrivateKey.from_private_bytes(private[-_ED25519_BYTES:])
        self._manifest = b""

    def private_bytes(self) -> bytes:
        """The secret keys, PRIVATE_BYTES of them: ML-KEM seed, X25519, Ed25519. Seal them before they are stored."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw() + self._signer.private_bytes_raw()

    def __repr__(self) -> str:
        return f"<Identity of {self.name}>"

    @property
    def public(self) -> PublicKeys:
        """What others need to know."""
        return PublicKeys(
            self.name,
            self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw(),
            self._signer.public_key().public_bytes_raw(),
        )

    def under(self, manifest: bytes) -> Identity:
        """The same keys, signing under the manifest of this digest: nothing it signs counts under another one."""
        bound = copy(self)
        bound._manifest = manifest
        return bound

    def sign(self, message: Message, kind: type[S]) -> S:
        """The message with this party's signature, as a message of type `kind`."""
        body = encode(message)
        return kind(body, self._signer.sign(_to_sign(self._manifest, type(message), body)))

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to this party under `info`. Raises IntegrityError."""
        return open_sealed(self._opener, sealed, info)


def open_sealed(key: MLKEM768X25519PrivateKey, sealed: bytes, info: bytes) -> bytes:
    """What was sealed to `key` under `info`. Raises IntegrityError."""
    try:
        return _SUITE.decrypt(sealed, key, info=info)
    except (InvalidTag, ValueError):
        raise IntegrityError("sealed bytes do not open: altered, or sealed for another party or context") from None


class Verifier:
    """Another party's public keys, checked."""

    def __init__(self, keys: PublicKeys, manifest: bytes = b"") -> None:
        """manifest: digest of the one under which signatures count. Raises MessageError for keys that are not keys."""
        self.name = keys.name
        self._manifest = manifest
        if len(keys.seal) != _MLKEM_BYTES + _X25519_BYTES or len(keys.verify) != _ED25519_BYTES:
            raise MessageError(f"the keys of {keys.name} have the wrong length")
        try:
            self._sealer = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(keys.seal[:_MLKEM_BYTES]),
                X25519PublicKey.from_public_bytes(keys.seal[_MLKEM_BYTES:]),
            )
            self._verifier = Ed25519PublicKey.from_public_bytes(keys.verify)
        except ValueError:
            raise MessageError(f"the keys of {keys.name} are not valid keys") from None

    def seal(self, plain: bytes, info: bytes) -> bytes:
        """Sealed to this party under `info`: 1,136 bytes longer than `plain`."""
        return _SUITE.encrypt(plain, self._sealer, info=info)

    def verify(self, signed: Signed, kind: type[M]) -> M:
        """The message of type `kind` that this party signed. Raises IntegrityError, MessageError."""
        try:
            self._verifier.verify(signed.signature, _to_sign(self._manifest, kind, signed.body))
        except InvalidSignature:
            raise IntegrityError(f"{kind.__name__}: the signature of {self.name} does not verify") from None
        return decode(signed.body, kind)


def _to_sign(manifest: bytes, kind: type[Message], body: bytes) -> bytes:
    return b"hushmatch-scan " + kind.__name__.encode() + b"\0" + manifest + b"\0" + body


def digest(label: str, *parts: bytes | memoryview) -> bytes:
    """BLAKE3 over a label and length-prefixed parts: collisions cost 2^128, as with SHA-256, in 0.4 of its time."""
    hasher = blake3(b"hushmatch-scan " + label.encode() + b"\0")
    for part in parts:
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        hasher.update(size.to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def same(left: bytes, right: bytes) -> bool:
    """Whether two digests are equal, in constant time."""
    return hmac.compare_digest(left, right)
