"""What a role keeps on disk, sealed: a passphrase locks a random key, and the key seals values.

A key is locked under scrypt(passphrase, salt) (RFC 7914), its costs stored beside the salt; values are sealed by
AES-256-GCM with random nonces (2^32 values a key, NIST SP 800-38D), bound to the table and key they stand under, so
that none can be moved elsewhere.

NOT protected: which rows there are, their keys and their lengths; a value put back to what it once was (an old backup);
a passphrase that can be guessed; what a running process has in memory.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from protocols.base import InputError, IntegrityError, MessageError
from protocols.ledger import Message, decode, encode
from protocols.scan.sealing import Identity
from service.errors import WrongPassphrase

KEY_BYTES = 32
SALT_BYTES = 16
PASSPHRASE_LOG_N = 15  # 32 MiB and some 0.1 s
_LARGEST_LOG_N = 20
_R, _P = 8, 1
_NONCE_BYTES, _TAG_BYTES = 12, 16
_STRETCHERS = ThreadPoolExecutor(os.cpu_count(), "scrypt")  # more at once would take memory and gain no time
_IDENTITY = "identity of "


class Locked(Message, frozen=True):
    """A secret under a passphrase: scrypt's salt and log2 of its cost N (r = 8, p = 1), and the sealed secret."""

    salt: bytes
    log_n: int
    sealed: bytes


def stretch(secret: bytes, salt: bytes, log_n: int) -> bytes:
    """scrypt: 32 bytes of `secret` that each guess costs N = 2^log_n steps, and N KiB, to find."""
    return _STRETCHERS.submit(Scrypt(salt=salt, length=KEY_BYTES, n=1 << log_n, r=_R, p=_P).derive, secret).result()


class Sealer:
    """Seals values under one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "<Sealer>"

    def seal(self, plain: bytes, table: str, key: bytes) -> bytes:
        """`plain` for the row `key` of a table: 28 bytes longer."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, _place(table, key))

    def open(self, sealed: bytes, table: str, key: bytes) -> bytes:
        """What `seal` was given for this place. Raises IntegrityError."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(table, key))
        except (InvalidTag, ValueError):
            raise IntegrityError(f"a value of {table!r} does not open: altered, moved, or under another key") from None


def _place(table: str, key: bytes) -> bytes:
    name = table.encode()
    return len(name).to_bytes(4, "big") + name + key


def lock(secret: bytes, passphrase: str, purpose: str) -> bytes:
    """`secret` under a passphrase, for one purpose. Raises InputError for an empty passphrase."""
    salt = secrets.token_bytes(SALT_BYTES)
    key = stretch(_passphrase(passphrase), salt, PASSPHRASE_LOG_N)
    return encode(Locked(salt, PASSPHRASE_LOG_N, Sealer(key).seal(secret, purpose, salt)))


def unlock(locked: bytes, passphrase: str, purpose: str) -> bytes:
    """What was locked for this purpose. Raises WrongPassphrase, InputError, MessageError."""
    box = decode(locked, Locked)
    if len(box.salt) != SALT_BYTES or not 1 <= box.log_n <= _LARGEST_LOG_N:
        raise MessageError(f"{purpose}: scrypt's salt or cost is out of range; restore it from a backup")
    key = stretch(_passphrase(passphrase), box.salt, box.log_n)
    try:
        return Sealer(key).open(box.sealed, purpose, box.salt)
    except IntegrityError:
        raise WrongPassphrase(f"{purpose}: the passphrase is wrong, or what it locks was altered") from None


def _passphrase(text: str) -> bytes:
    if not text:
        raise InputError("passphrase is empty; set one")
    return unicodedata.normalize("NFKC", text).encode()


def save_identity(path: Path, identity: Identity, passphrase: str) -> None:
    """Write a party's private keys, locked, for the owner to read only. Raises FileExistsError: none are replaced."""
    locked = lock(identity.private_bytes(), passphrase, _IDENTITY + identity.name)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(locked)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)  # whole or not at all, and never over another
    finally:
        new.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_identity(path: Path, name: str, passphrase: str) -> Identity:
    """The private keys of `name`. Raises WrongPassphrase (also for keys of another name), MessageError, OSError."""
    return Identity.load(name, unlock(path.read_bytes(), passphrase, _IDENTITY + name))
