"""The group ristretto255 (RFC 9496) by libsodium: the only file with group arithmetic.

Batches of n elements or scalars are uint8 arrays (n, 32), a row each in its canonical encoding; single ones are
32 bytes. q = ORDER. Elements are written additively: multiply(s, P) = s*P, and G is the generator.

Every function that takes elements from outside decodes them on the way, in libsodium: what is not the canonical
encoding of a group element raises ElementError, and so does the identity, which no honest party ever sends.
The calls release the interpreter's lock, so that threads work on separate batches in parallel.

NOT protected: the memory of this process. Python cannot wipe a scalar after use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ctypes import CFUNCTYPE, c_int, c_void_p
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


def _function(name: str, arguments: int) -> Any:
    return CFUNCTYPE(c_int, *[c_void_p] * arguments)((name, _sodium))


_MULTIPLY = _function("crypto_scalarmult_ristretto255", 3)
_MULTIPLY_BASE = _function("crypto_scalarmult_ristretto255_base", 2)
_ADD = _function("crypto_core_ristretto255_add", 3)
_FROM_HASH = _function("crypto_core_ristretto255_from_hash", 2)
_VALID = _function("crypto_core_ristretto255_is_valid_point", 1)


def elements(data: bytes, count: int, field: str) -> Rows:
    """The encodings of `count` elements, none the identity; whether they are on the group shows on first use.

    Raises ElementError for a wrong length or the identity.
    """
    if len(data) != count * SIZE:
        raise ElementError(f"{field}: {len(data)} bytes; {count} elements have {count * SIZE}", 0)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(count, SIZE)
    identities = np.flatnonzero(~rows.any(axis=1))
    if len(identities):
        raise ElementError(f"{field}[{identities[0]}] is the identity", int(identities[0]))
    return rows


def check(rows: Rows, field: str) -> None:
    """Raises ElementError where a row is not a group element in its canonical encoding, or is the identity."""
    rows = np.ascontiguousarray(rows)
    start = rows.ctypes.data
    for row in range(len(rows)):
        if not rows[row].any() or _VALID(start + row * SIZE) != 1:
            raise ElementError(f"{field}[{row}] is not a group element other than the identity", row)


def scalar(data: bytes, field: str) -> bytes:
    """The scalar that `data` encodes. Raises ScalarError for a wrong length, zero, or a value from q on."""
    if len(data) != SIZE or not 0 < int.from_bytes(data, "little") < ORDER:
        raise ScalarError(f"{field} is not a scalar from 1 to q - 1 in {SIZE} bytes")
    return data


def small_scalar(value: int) -> bytes:
    """The scalar of a whole number, reduced mod q."""
    return (value % ORDER).to_bytes(SIZE, "little")


def random_scalars(count: int) -> Rows:
    """(count, 32): uniform from 1 to q - 1, from the operating system's generator."""
    drawn = b"".join(rbcl.crypto_core_ristretto255_scalar_random() for _ in range(count))
    return np.frombuffer(drawn, dtype=np.uint8).reshape(count, SIZE)


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
    values = [row.tobytes() for row in scalars]
    products = [values[0]]
    for value in values[1:]:
        products.append(scalar_mul(products[-1], value))
    inverse = rbcl.crypto_core_ristretto255_scalar_invert(products[-1])
    out = [b""] * len(values)
    for row in range(len(values) - 1, 0, -1):
        out[row] = scalar_mul(inverse, products[row - 1])
        inverse = scalar_mul(inverse, values[row])
    out[0] = inverse
    return np.frombuffer(b"".join(out), dtype=np.uint8).reshape(len(values), SIZE)


def multiply(scalars: Rows | bytes, rows: Rows) -> Rows:
    """(n, 32): s_i * P_i, or s * P_i for one scalar. Raises ElementError."""
    rows = np.ascontiguousarray(rows)
    step = 0 if isinstance(scalars, bytes) else SIZE
    factors = np.frombuffer(scalars, np.uint8) if isinstance(scalars, bytes) else np.ascontiguousarray(scalars)
    out = np.empty_like(rows)
    to, factor, element = out.ctypes.data, factors.ctypes.data, rows.ctypes.data
    for row in range(len(rows)):
        at = row * SIZE
        if _MULTIPLY(to + at, factor + row * step, element + at):
            raise ElementError(f"element {row} is not a group element other than the identity", row)
    return out


def multiply_base(scalars: Rows) -> Rows:
    """(n, 32): s_i * G. Raises ScalarError for s_i = 0."""
    factors = np.ascontiguousarray(scalars)
    out = np.empty_like(factors)
    to, factor = out.ctypes.data, factors.ctypes.data
    for at in range(0, len(factors) * SIZE, SIZE):
        if _MULTIPLY_BASE(to + at, factor + at):
            raise ScalarError(f"scalar {at // SIZE} is zero mod q")
    return out


def add(left: Rows, right: Rows) -> Rows:
    """(n, 32): P_i + Q_i. Raises ElementError where either is not on the group; here the identity may occur."""
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    out = np.empty_like(left)
    to, one, other = out.ctypes.data, left.ctypes.data, right.ctypes.data
    for at in range(0, len(left) * SIZE, SIZE):
        if _ADD(to + at, one + at, other + at):
            raise ElementError(f"element {at // SIZE} is not a group element", at // SIZE)
    return out


def weighted_sum(scalars: Rows, rows: Rows) -> bytes:
    """The sum of s_i * P_i over all n >= 1 rows. Raises ElementError."""
    terms = multiply(scalars, rows)
    total = terms[:1].copy()
    to, term = total.ctypes.data, terms.ctypes.data
    for at in range(SIZE, len(terms) * SIZE, SIZE):
        _ADD(to, to, term + at)  # both are this module's own results: always on the group
    return total.tobytes()


def hash_to_group(messages: Sequence[bytes], dst: bytes) -> Rows:
    """(n, 32): RFC 9497's HashToGroup of each message: expand_message_xmd with SHA-512, then the one-way map."""
    uniform = b"".join([_expand(message, dst) for message in messages])
    out = np.empty((len(messages), SIZE), dtype=np.uint8)
    to, source = out.ctypes.data, np.frombuffer(uniform, dtype=np.uint8).ctypes.data
    for row in range(len(messages)):
        _FROM_HASH(to + row * SIZE, source + row * 2 * SIZE)
    return out


def hash_to_scalar(message: bytes, dst: bytes) -> bytes:
    """RFC 9497's HashToScalar: 64 uniform bytes, little-endian, mod q."""
    return rbcl.crypto_core_ristretto255_scalar_reduce(_expand(message, dst))


def _expand(message: bytes, dst: bytes) -> bytes:
    """expand_message_xmd(message, dst, 64) with SHA-512 (RFC 9380, 5.3.1): one block of output."""
    suffix = dst + bytes([len(dst)])
    first = _PAD.copy()
    first.update(message + b"\x00\x40\x00" + suffix)
    return hashlib.sha512(first.digest() + b"\x01" + suffix).digest()
