"""The roles of a small scan, messages altered on the way, and the plaintext twin to compare with."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import permutations

import numpy as np

from protocols import create
from protocols.base import HushmatchError
from protocols.ledger import Message, decode, encode
from protocols.scan.parameters import RANDOM_MATCH_LOG2, Parameters
from protocols.scan.ring import ring_of

# Without proofs, so that what the scan itself checks is seen to be checked; tests of the proofs ask for them.
TINY = {"parameter_set": "INSECURE_TINY", "allow_insecure": True, "workers": 1, "batch": 8, "lanes": 1, "proofs": False}
PAIRS = tuple(permutations((1, 2, 3), 2))


def scan(**options):
    """A scan with n = 256: for tests only."""
    return create("scan", **(TINY | options))


def twins(**options):
    """A small scan, and the plaintext matcher with the same rule."""
    rule = {key: options[key] for key in ("bits", "threshold") if key in options}
    unsafe = Parameters(
        bits=options.get("bits", 256), threshold=options.get("threshold", 31), allow_unsafe_threshold=True
    )
    lifted = {"allow_unsafe_threshold": True} if unsafe.random_match_log2 > RANDOM_MATCH_LOG2 else {}
    return scan(**lifted, **options), create("plaintext", **rule)


def near(rng, row, distance):
    """A copy of a packed row with exactly `distance` bits flipped."""
    bits = np.unpackbits(row)
    bits[rng.choice(len(bits), distance, replace=False)] ^= 1
    return np.packbits(bits)


def planted(rng, bits, threshold, entries=24):
    """(cases, bank, queries): distances 0, T-1, T, T+1, bits; all-zero and all-one entries and queries; doubles."""
    bank = rng.integers(0, 256, (entries, bits // 8), dtype=np.uint8)
    bank[0], bank[1], bank[3] = 0, 255, bank[2]
    queries = [bank[0], bank[1], ~bank[4], rng.integers(0, 256, bits // 8, dtype=np.uint8)]
    for distance in (threshold - 1, threshold, threshold + 1):
        queries += [near(rng, bank[entry], min(max(distance, 0), bits)) for entry in (0, 1, 2, entries - 1)]
    return [f"case-{entry // 2}" for entry in range(entries)], bank, np.array(queries)


@contextmanager
def tampered(protocol, kind, change, sender=None, receiver=None):
    """Inside, every message of `kind` (from `sender`, to `receiver`, if given) arrives as `change(message)`."""
    send = protocol.ledger.send

    def altered(from_, to, message):
        if isinstance(message, kind) and sender in (None, from_) and receiver in (None, to):
            message = change(message)
        return send(from_, to, message)

    protocol.ledger.send = altered
    try:
        yield
    finally:
        protocol.ledger.send = send


def changed(message, **fields):
    """A copy of a message with other fields."""
    return type(message)(**{name: getattr(message, name) for name in message.__struct_fields__} | fields)


def flipped(data, byte=-1):
    """Bytes with one bit flipped."""
    out = bytearray(data)
    out[byte] ^= 1
    return bytes(out)


def unharmed(protocol, oracle, rng):
    """After an attack: an honest enrolment and a match give what plaintext gives, for all pairs of members."""
    case, row = f"after-{rng.integers(1 << 60)}", rng.integers(0, 256, (1, protocol.bits // 8), dtype=np.uint8)
    queries = np.concatenate([row, near(rng, row[0], protocol.threshold)[None], 255 - row])
    for p in (protocol, oracle):
        p.enroll([case], row)
    before, truth = protocol.pair, oracle.match(queries)
    assert any(match.case == case for match in truth)
    for protocol.pair in PAIRS:
        assert protocol.match(queries) == truth
    protocol.pair = before


def secret(protocol):
    """The key that nobody holds, s_1..s_R transformed, (2, R, n): two members' shares put together."""
    first, second = (protocol._members[member].sessions._key_share._keys for member in (1, 2))
    return ring_of(protocol.parameters.n).add(first[2].copy(), second[1])


def phase(protocol, c1, c0):
    """c0_r + c1*s_r in (-q/2, q/2), one Python integer a coefficient, (R, n) object; c1 (2, n), c0 (2, R, n)."""
    ring, (p0, p1) = ring_of(protocol.parameters.n), (field.p for field in ring_of(protocol.parameters.n).fields)
    x = ring.add(ring.multiply(secret(protocol)[:, : c0.shape[1]], c1), np.ascontiguousarray(c0))
    r0, r1 = (x[i].astype(np.int64).astype(object) for i in range(2))
    value = r0 + p0 * ((r1 - r0) * pow(p0, -1, p1) % p1)
    q = p0 * p1
    return (value + q // 2) % q - q // 2


def named(error):
    """Whether an exception is one of the project's own."""
    return isinstance(error, HushmatchError)


class Wired:
    """A role whose messages are encoded and decoded again, as between processes."""

    def __init__(self, role):
        self._role = role

    def __getattr__(self, name):
        value = getattr(self._role, name)
        return (lambda *arguments: crossed(value(*arguments))) if callable(value) else value

    def __repr__(self):
        return repr(self._role)


def crossed(value):
    """A message as its receiver gets it; anything else as it is."""
    if isinstance(value, list | tuple):
        return type(value)(crossed(one) for one in value)
    return decode(encode(value), type(value)) if isinstance(value, Message) else value


def custodies(protocol):
    """Each member's custody, by its number."""
    return {number: member.custody for number, member in protocol._members.items()}
