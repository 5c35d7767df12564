"""The group ristretto255 (RFC 9496) by libsodium: the only file with group arithmetic.

Batches of n elements or scalars are uint8 arrays (n, 32), a row each in its canonical encoding; single ones are
32 bytes. q = ORDER. Elements are written additively: multiply(s, P) = s*P, and G is the generator.

Every function that takes elements from outside decodes them on the way, in libsodium: what is not the canonical
encoding of a group element raises ElementError, and so does the identity, which no honest party ever sends. The
highest bit is checked here: libsodium 1.0.18, which rbcl bundles, ignores it, and RFC 9496 (4.3.1) has it zero.
The calls release the interpreter's lock, so that threads work on separate batches in parallel.

NOT protected: the memory of this process. Python cannot wipe a scalar after use.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from ctypes import CFUNCTYPE, c_int, c_void_p
from itertools import repeat
from typing import Any

import numpy as np
import rbcl
from numpy.typing import NDArray
from rbcl._sodium import _sodium  # the wrappers take one element at a time; batches call the library itself

from protocols.ledger import MessageError

Rows = NDArray[np.uint8]

SIZE = 32  # bytes of an element and of a scalar
ORDER = 2**252 + 27742317777372353535851937790883648493

_PAD = hashlib.sha512(bytes(128))  # Z_pad of expand_message_xmd: one block of zeros


class ElementError(MessageError):
    """Bytes that are not a group element other than the identity, canonically encoded. `row`: which of the batch."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class ScalarError(MessageError):
    """Bytes that are not a scalar from 1 to q - 1, canonically encoded."""


def _function(name: str, arguments: int, result: Any = c_int) -> Any:
    return CFUNCTYPE(result, *[c_void_p] * arguments)((name, _sodium))


def _addresses(rows: Rows) -> range:
    """Where each row of a contiguous array lies; good as long as the array lives."""
    start, (count, size) = rows.ctypes.data, rows.shape
    return range(start, start + count * size, size)


_MULTIPLY = _function("crypto_scalarmult_ristretto255", 3)
_MULTIPLY_BASE = _function("crypto_scalarmult_ristretto255_base", 2)
_ADD = _function("crypto_core_ristretto255_add", 3)
_FROM_HASH = _function("crypto_core_ristretto255_from_hash", 2)
_VALID = _function("crypto_core_ristretto255_is_valid_point", 1)
_SCALAR_REDUCE = _function("crypto_core_ristretto255_scalar_reduce", 2, None)
_SCALAR_MUL = _function("crypto_core_ristretto255_scalar_mul", 3, None)


def elements(data: bytes, count: int, field: str) -> Rows:
    """The encodings of `count` elements, none the identity; whether they are on the group shows on first use.

    Raises ElementError for a wrong length, a highest bit that is set, or the identity.
    """
    if len(data) != count * SIZE:
        raise ElementError(f"{field}: {len(data)} bytes; {count} elements have {count * SIZE}", 0)
    rows = _canonical(np.frombuffer(data, dtype=np.uint8).reshape(count, SIZE), field)
    identities = np.flatnonzero(~rows.any(axis=1))
    if len(identities):
        raise ElementError(f"{field}[{identities[0]}] is the identity", int(identities[0]))
    return rows


def check(rows: Rows, field: str) -> None:
    """Raises ElementError where a row is not a group element in its canonical encoding, or is the identity."""
    rows = _canonical(rows, field)
    for row, valid in enumerate(map(_VALID, _addresses(rows))):
        if not valid or not rows[row].any():
            raise ElementError(f"{field}[{row}] is not a group element other than the identity", row)


def _canonical(rows: Rows, field: str) -> Rows:
    """The rows, contiguous. Raises ElementError where the highest bit is set."""
    high = np.flatnonzero(rows[:, -1] & 0x80)
    if len(high):
        raise ElementError(f"{field}[{high[0]}] is not a canonical encoding: its highest bit is set", int(high[0]))
    return np.ascontiguousarray(rows)


def scalar(data: bytes, field: str) -> bytes:
    """The scalar that `data` encodes. Raises ScalarError for a wrong length, zero, or a value from q on."""
    if len(data) != SIZE or not 0 < int.from_bytes(data, "little") < ORDER:
        raise ScalarError(f"{field} is not a scalar from 1 to q - 1 in {SIZE} bytes")
    return data


def small_scalar(value: int) -> bytes:
    """The scalar of a whole number, reduced mod q."""
    return (value % ORDER).to_bytes(SIZE, "little")


def random_scalars(count: int) -> Rows:
    """(count, 32): uniform from 1 to q - 1, from the operating system's generator.

    64 random bytes each, mod q: within 2^-258 of uniform (RFC 9497, 4.7.2). Raises ScalarError for a zero, which
    comes once in 2^252.
    """
    drawn = np.frombuffer(os.urandom(count * 2 * SIZE), dtype=np.uint8).reshape(count, 2 * SIZE)
    out = np.empty((count, SIZE), dtype=np.uint8)
    for to, source in zip(_addresses(out), _addresses(drawn), strict=True):
        _SCALAR_REDUCE(to, source)
    if not out.any(axis=1).all():
        raise ScalarError("a random scalar is zero")
    return out


def scalar_add(a: bytes, b: bytes) -> bytes:
    """a + b mod q."""
    return rbcl.crypto_core_ristretto255_scalar_add(a, b)


def scalar_sub(a: bytes, b: bytes) -> bytes:
    """a - b mod q."""
    return rbcl.crypto_core_ristretto255_scalar_sub(a, b)


def scalar_mul(a: bytes, b: bytes) -> bytes:
    """a * b mod q."""
    return rbcl.crypto_core_ristretto255_scalar_mul(a, b)


def invert(scalars: Rows) -> Rows:
    """(n, 32): 1 / s mod q of every row, by Montgomery's trick: one inversion and 3(n - 1) products."""
    factors = np.ascontiguousarray(scalars)
    products, out = factors.copy(), np.empty_like(factors)
    to, factor, product = _addresses(out), _addresses(factors), _addresses(products)
    for before, row, at in zip(product, factor[1:], product[1:], strict=False):
        _SCALAR_MUL(at, before, row)
    inverses = np.frombuffer(rbcl.crypto_core_ristretto255_scalar_invert(products[-1].tobytes()), np.uint8).copy()
    inverse = inverses.ctypes.data
    for at, before, row in zip(to[:0:-1], product[-2::-1], factor[:0:-1], strict=True):
        _SCALAR_MUL(at, inverse, before)
        _SCALAR_MUL(inverse, inverse, row)
    out[0] = inverses
    return out


def multiply(scalars: Rows | bytes, rows: Rows) -> Rows:
    """(n, 32): s_i * P_i, or s * P_i for one scalar. Raises ElementError, and ScalarError for other lengths."""
    rows = _canonical(rows, "elements")
    one = isinstance(scalars, bytes)
    factors = np.frombuffer(scalars, np.uint8) if isinstance(scalars, bytes) else np.ascontiguousarray(scalars)
    if factors.shape != ((SIZE,) if one else rows.shape):
        raise ScalarError(f"scalars of shape {factors.shape} for {len(rows)} elements")
    out = np.empty_like(rows)
    used = repeat(factors.ctypes.data) if one else _addresses(factors)
    for row, failed in enumerate(map(_MULTIPLY, _addresses(out), used, _addresses(rows))):
        if failed:
            raise ElementError(f"element {row} is not a group element other than the identity", row)
    return out


def multiply_base(scalars: Rows) -> Rows:
    """(n, 32): s_i * G. Raises ScalarError for s_i = 0."""
    factors = np.ascontiguousarray(scalars)
    out = np.empty_like(factors)
    for row, failed in enumerate(map(_MULTIPLY_BASE, _addresses(out), _addresses(factors))):
        if failed:
            raise ScalarError(f"scalar {row} is zero mod q")
    return out


def add(left: Rows, right: Rows) -> Rows:
    """(n, 32): P_i + Q_i. Raises ElementError where either is not on the group; here the identity may occur."""
    left, right = _canonical(left, "elements"), _canonical(right, "elements")
    if left.shape != right.shape:
        raise ElementError(f"{len(left)} elements to be added to {len(right)}", 0)
    out = np.empty_like(left)
    for row, failed in enumerate(map(_ADD, _addresses(out), _addresses(left), _addresses(right))):
        if failed:
            raise ElementError(f"element {row} is not a group element", row)
    return out


def weighted_sum(scalars: Rows, rows: Rows) -> bytes:
    """The sum of s_i * P_i over all n >= 1 rows. Raises ElementError."""
    terms = multiply(scalars, rows)
    total = terms[0].copy()
    to = total.ctypes.data
    for term in _addresses(terms)[1:]:
        _ADD(to, to, term)  # both are this module's own results: always on the group
    return total.tobytes()


def hash_to_group(messages: Sequence[bytes], dst: bytes) -> Rows:
    """(n, 32): RFC 9497's HashToGroup of each message: expand_message_xmd with SHA-512, then the one-way map."""
    uniform = np.frombuffer(_expand(messages, dst), dtype=np.uint8).reshape(len(messages), 2 * SIZE)
    out = np.empty((len(messages), SIZE), dtype=np.uint8)
    for to, source in zip(_addresses(out), _addresses(uniform), strict=True):
        _FROM_HASH(to, source)
    return out


def hash_to_scalar(message: bytes, dst: bytes) -> bytes:
    """RFC 9497's HashToScalar: 64 uniform bytes, little-endian, mod q."""
    return rbcl.crypto_core_ristretto255_scalar_reduce(_expand([message], dst))


def _expand(messages: Sequence[bytes], dst: bytes) -> bytes:
    """expand_message_xmd(message, dst, 64) with SHA-512 (RFC 9380, 5.3.1) of each: one block of output, 64 bytes."""
    suffix = dst + bytes([len(dst)])
    ends, second = b"\x00\x40\x00" + suffix, b"\x01" + suffix
    blocks = []
    for message in messages:
        first = _PAD.copy()
        first.update(message + ends)
        blocks.append(hashlib.sha512(first.digest() + second).digest())
    return b"".join(blocks)
