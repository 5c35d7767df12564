"""An entry as the bank holds it: opened by whoever can make one of its tokens, and by nobody else.

For an entry with random id e (16 bytes) and random key K (16 bytes), fingerprint F, token t in band j:

    row id       HKDF(t, "id")                     12 bytes: where the row is found
    label        K xor HKDF(t, "pad", epoch, e, j)  16 bytes: what opens the entry, for who has t
    sealed       F xor HKDF(K, "fp", e)
    commitment   HKDF(K, "commit", e, sealed)       32 bytes

HKDF is HKDF-Expand with SHA-256 (RFC 5869, 2.3): tokens and keys are uniform, nothing needs extracting; nothing is
longer than its first block, which is one HMAC. Ids are never reused, so neither are the streams. The commitment makes
a label open to one key and one fingerprint: an entry cannot show one platform this and another that, and nobody
without K can change what it opens to.

NOT protected: two entries with a token in common have a row id in common, which exchange and platforms see.
"""

from __future__ import annotations

import hmac
import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.base import ConfigurationError, Hashes, IntegrityError

ENTRY_ID, KEY, COMMITMENT, ROW_ID = 16, 16, 32, 12

Rows = NDArray[np.uint8]


class Sealed(NamedTuple):
    """N entries: entries (N, 16 + bits/8 + 32), ids (N*T, 12), labels (N*T, 16), all uint8."""

    entries: Rows
    ids: Rows
    labels: Rows


def entry_size(bits: int) -> int:
    """Bytes of an entry without its rows."""
    return ENTRY_ID + bits // 8 + COMMITMENT


def row_ids(tokens: Rows) -> Rows:
    """(m, 12): where the rows of these tokens are found."""
    every, size = tokens.tobytes(), tokens.shape[1]
    return _matrix([_expand(every[at : at + size], b"id", ROW_ID) for at in range(0, len(every), size)], ROW_ID)


def seal(fingerprints: Hashes, tokens: Rows, bands: NDArray, epoch: int) -> Sealed:
    """fingerprints (N, bits/8), tokens (N*T, 64), bands (N, T); ids and keys are fresh."""
    entries, labels = [], []
    for number, fingerprint in enumerate(fingerprints):
        entry_id, key = os.urandom(ENTRY_ID), os.urandom(KEY)
        sealed = _xor(fingerprint.tobytes(), _stream(key, entry_id, len(fingerprint)))
        entries.append(entry_id + sealed + _commitment(key, entry_id, sealed))
        start = number * bands.shape[1]
        for at, band in enumerate(bands[number].tolist(), start):
            labels.append(_xor(key, _pad(tokens[at].tobytes(), epoch, entry_id, band)))
    return Sealed(_matrix(entries, -1), row_ids(tokens), _matrix(labels, KEY))


def unseal(entry: Rows, label: Rows, token: Rows, band: int, epoch: int) -> Hashes:
    """The fingerprint, (bits/8,) uint8. Raises IntegrityError if the label or the entry is not what was sealed."""
    data = entry.tobytes()
    entry_id, sealed, commitment = data[:ENTRY_ID], data[ENTRY_ID:-COMMITMENT], data[-COMMITMENT:]
    key = _xor(label.tobytes(), _pad(token.tobytes(), epoch, entry_id, band))
    if not hmac.compare_digest(commitment, _commitment(key, entry_id, sealed)):
        raise IntegrityError("an entry does not open to what it is committed to")
    return np.frombuffer(_xor(sealed, _stream(key, entry_id, len(sealed))), dtype=np.uint8)


def _pad(token: bytes, epoch: int, entry_id: bytes, band: int) -> bytes:
    return _expand(token, b"pad" + epoch.to_bytes(8) + entry_id + band.to_bytes(2), KEY)


def _stream(key: bytes, entry_id: bytes, size: int) -> bytes:
    return _expand(key, b"fp" + entry_id, size)


def _commitment(key: bytes, entry_id: bytes, sealed: bytes) -> bytes:
    return _expand(key, b"commit" + entry_id + sealed, COMMITMENT)


def _expand(secret: bytes, info: bytes, size: int) -> bytes:
    if size > COMMITMENT:
        raise ConfigurationError(f"{size} bytes of key stream are asked for; a block of HKDF has {COMMITMENT}")
    return hmac.digest(secret, info + b"\x01", "sha256")[:size]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))


def _matrix(rows: list[bytes], width: int) -> Rows:
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), width)
