"""The oblivious pseudorandom function of RFC 9497, suite ristretto255-SHA512, modes OPRF and VOPRF.

    blind            P = HashToGroup(input),  C = r P          at whoever asks; r random, never reused
    blind_evaluate   D = k C                                    at whoever holds the key k
    finalize         N = r^-1 D = k P,  token = SHA-512(len(input) input len(N) N "Finalize")
    proof            (c, s) shows that log_G(K) = log_C(D): Chaum-Pedersen, made non-interactive, for many C at once

Names, order and context strings are the RFC's (3.3.1, 3.3.2, 2.2, 4.1), its serialised scalars and elements
are this package's rows. Evaluation is linear in k: what members give under shares adds up to what one holder
of the whole key would give (Jarecki, Kiayias, Krawczyk, Xu, "TOPPSS", ACNS 2017), so that finalize's output
does not depend on which members took part.

NOT protected: against a quantum computer anything. An evaluator without a proof may use any key it likes.
Whoever gets answers without limit can compute tokens of inputs of its choice: see member.py for budgets.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from protocols.base import IntegrityError
from protocols.blind import group
from protocols.blind.group import Rows

TOKEN_SIZE = 64
PROOF_SIZE = 2 * group.SIZE
MAX_BATCH = 65_535  # indices in the proof's transcript have two bytes


class Mode(IntEnum):
    """RFC 9497, table 1. POPRF is not offered: nothing public needs to enter the function."""

    OPRF = 0
    VOPRF = 1

    @property
    def context(self) -> bytes:
        """The RFC's contextString."""
        return b"OPRFV1-" + bytes([self]) + b"-ristretto255-SHA512"


def derive_key_pair(seed: bytes, info: bytes, mode: Mode) -> tuple[bytes, bytes]:
    """(skS, pkS) from 32 secret bytes and a public string: RFC 9497, 3.2.1."""
    material = seed + len(info).to_bytes(2) + info
    for counter in range(256):
        key = group.hash_to_scalar(material + bytes([counter]), b"DeriveKeyPair" + mode.context)
        if any(key):
            return key, public_key(key)
    raise IntegrityError("no key comes out of this seed")


def public_key(key: bytes) -> bytes:
    """k * G."""
    return group.multiply_base(_row(key)).tobytes()


def blind(inputs: Sequence[bytes], mode: Mode, blinds: Rows | None = None) -> tuple[Rows, Rows]:
    """(r, C), both (n, 32). `blinds`: r from a test vector; left out, fresh ones are drawn.

    Raises ElementError for an input that hashes to the identity.
    """
    hashed = group.hash_to_group(inputs, b"HashToGroup-" + mode.context)
    if blinds is None:
        blinds = group.random_scalars(len(inputs))
    return blinds, group.multiply(blinds, hashed)


def blind_evaluate(key: bytes, blinded: Rows) -> Rows:
    """D = k C of every row, (n, 32). Raises ElementError."""
    return group.multiply(key, blinded)


def finalize(inputs: Sequence[bytes], blinds: Rows, evaluated: Rows) -> Rows:
    """The tokens, (n, 64). Proofs must have been verified before. Raises ElementError."""
    unblinded = group.multiply(group.invert(blinds), evaluated).tobytes()
    outputs = [
        hashlib.sha512(
            len(text).to_bytes(2) + text + b"\x00\x20" + unblinded[row * 32 : row * 32 + 32] + b"Finalize"
        ).digest()
        for row, text in enumerate(inputs)
    ]
    return np.frombuffer(b"".join(outputs), dtype=np.uint8).reshape(len(inputs), TOKEN_SIZE)


def generate_proof(
    key: bytes, public: bytes, blinded: Rows, evaluated: Rows, mode: Mode, nonce: bytes | None = None
) -> bytes:
    """c then s, 64 bytes: that every row of `evaluated` is k times that of `blinded`, for k of public = k G.

    `nonce`: the random scalar from a test vector; left out, a fresh one is drawn. Raises ElementError.
    """
    weights = _composite_weights(public, blinded, evaluated, mode)
    m = group.weighted_sum(weights, blinded)
    z = group.multiply(key, _row(m)).tobytes()  # the holder of k need not sum the evaluated side
    r = nonce or group.random_scalars(1).tobytes()
    t2 = public_key(r)
    t3 = group.multiply(r, _row(m)).tobytes()
    c = _challenge(public, m, z, t2, t3, mode)
    return c + group.scalar_sub(r, group.scalar_mul(c, key))


def verify_proof(public: bytes, blinded: Rows, evaluated: Rows, proof: bytes, mode: Mode) -> None:
    """Raises IntegrityError if the proof does not show it, ElementError or ScalarError if bytes do not decode."""
    if len(proof) != PROOF_SIZE:
        raise group.ScalarError(f"proof is {len(proof)} bytes; expected {PROOF_SIZE}")
    c, s = group.scalar(proof[:32], "the proof's c"), group.scalar(proof[32:], "the proof's s")
    weights = _composite_weights(public, blinded, evaluated, mode)
    m, z = group.weighted_sum(weights, blinded), group.weighted_sum(weights, evaluated)
    t2 = group.add(_row(public_key(s)), group.multiply(c, _row(public))).tobytes()
    t3 = group.add(group.multiply(s, _row(m)), group.multiply(c, _row(z))).tobytes()
    if not hmac.compare_digest(c, _challenge(public, m, z, t2, t3, mode)):
        raise IntegrityError("the proof does not verify")


def _composite_weights(public: bytes, blinded: Rows, evaluated: Rows, mode: Mode) -> Rows:
    """d_i of ComputeComposites, (n, 32)."""
    if len(blinded) != len(evaluated) or not 0 < len(blinded) <= MAX_BATCH:
        raise group.ElementError(f"{len(blinded)} blinded and {len(evaluated)} evaluated elements in one proof", 0)
    seed = hashlib.sha512(_prefixed(public) + _prefixed(b"Seed-" + mode.context)).digest()
    weights = [
        group.hash_to_scalar(
            _prefixed(seed) + row.to_bytes(2) + _prefixed(c.tobytes()) + _prefixed(d.tobytes()) + b"Composite",
            b"HashToScalar-" + mode.context,
        )
        for row, (c, d) in enumerate(zip(blinded, evaluated, strict=True))
    ]
    return np.frombuffer(b"".join(weights), dtype=np.uint8).reshape(len(weights), group.SIZE)


def _challenge(public: bytes, m: bytes, z: bytes, t2: bytes, t3: bytes, mode: Mode) -> bytes:
    transcript = b"".join(_prefixed(part) for part in (public, m, z, t2, t3)) + b"Challenge"
    return group.hash_to_scalar(transcript, b"HashToScalar-" + mode.context)


def _prefixed(part: bytes) -> bytes:
    return len(part).to_bytes(2) + part


def _row(data: bytes) -> Rows:
    return np.frombuffer(data, dtype=np.uint8).reshape(1, -1)
