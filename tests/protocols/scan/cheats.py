"""Platforms and exchanges that cheat: every way that a proof, or the audit of a block, has to catch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from protocols.scan import checker as checker_module
from protocols.scan import matching, proof, verification
from protocols.scan.matching_messages import ScanHeader, SignedHeader
from protocols.scan.packing import pack, unpack
from protocols.scan.parameters import PRIMES
from protocols.scan.product import scan_constants
from protocols.scan.ring import ring_of
from protocols.scan.sealing import Identity, Verifier


class Result:
    """One result of a batch as a cheating platform changes it.

    ciphertext: (2, lanes+1, n) centred residues. z: the integers that are shared as its statement.
    """

    def __init__(self, protocol, ciphertext, z):
        self.protocol, self.parameters = protocol, protocol.parameters
        self.ring = ring_of(self.parameters.n)
        self.ciphertext, self.z = ciphertext, z
        self.parts = proof.parts(self.parameters, ciphertext.shape[1] - 1)

    def add(self, delta):
        """Add integers or residues to the ciphertext."""
        for index, p in enumerate(PRIMES):
            total = self.ciphertext[index].astype(np.int64).astype(object) + delta[index]
            self.ciphertext[index] = ((total + p // 2) % p - p // 2).astype(np.float64)

    def add_weight(self, plane, weight, primes=(0, 1), told=True):
        """Weigh a plane of the block by so much more, constant and all; told: in the statement too."""
        planes = self.protocol._checker.blocks[0].planes
        words = np.asarray(planes[plane])
        residues = unpack(words.reshape(2, -1, *words.shape[1:]), "plane")
        unit, _ = scan_constants(self.parameters)
        delta = np.zeros(residues.shape, dtype=object)
        for index in primes:
            delta[index] = weight * residues[index].astype(np.int64).astype(object)
            delta[index][1:] -= weight * unit[index]
        self.add(delta)
        if told:
            self.z[plane] += weight

    def add_randomness(self, part, coefficient, value):
        """Use so much more of u, e' or e_r in one coefficient, and tell it in the statement."""
        n = self.parameters.n
        self.z[self.parts[part].start + coefficient] += value
        delta = np.zeros(self.ciphertext.shape, dtype=object)
        if part == "u":
            key = self.protocol._checker.zeros._public_key
            rows = self.ring.inverse(key._key[:, : delta.shape[1]].copy())
            turned = np.roll(rows, coefficient, axis=-1)
            turned[..., :coefficient] *= -1
            delta = turned.astype(np.int64).astype(object) * value
        elif part == "e'":
            delta[:, 0, coefficient] = value
        else:
            delta[:, 1 + coefficient // n, coefficient % n] = value
        self.add(delta)


def own_c1(result, rng):
    """c1 = a multiple of X^j: puts a coefficient of the key into a slot."""
    delta = np.zeros(result.ciphertext.shape, dtype=object)
    message = np.zeros((1, result.parameters.n), dtype=np.uint64)
    message[0, rng.integers(result.parameters.n)] = 64
    delta[:, 0] = result.ring.scale_up(message)[:, 0].astype(np.int64).astype(object)
    result.add(delta)


def scaled_weight(result, rng):
    """2^kappa times a plane: its bit decides the match."""
    plane = rng.integers(result.parameters.bits)
    result.add_weight(plane, 31 * int(result.z[plane]))


def zero_weight(result, rng):
    """A bit is left out."""
    plane = rng.integers(result.parameters.bits)
    result.add_weight(plane, -int(result.z[plane]))


def weights_by_prime(result, rng):
    """A weight is 1 mod one prime and -1 mod the other."""
    plane = rng.integers(result.parameters.bits)
    result.add_weight(plane, -2 * int(result.z[plane]), primes=(int(rng.integers(2)),), told=False)


def large_u(result, rng):
    """Noise by a large u: decryption of nearly full slots tells of key and errors."""
    result.add_randomness("u", int(rng.integers(result.parameters.n)), int(rng.choice([-1, 1])) << 30)


def large_first_error(result, rng):
    """The same by e', which multiplies the key."""
    result.add_randomness("e'", int(rng.integers(result.parameters.n)), int(rng.choice([-1, 1])) << 34)


def large_error(result, rng):
    """A threshold moved in one slot, called an error."""
    lanes = result.ciphertext.shape[1] - 1
    result.add_randomness("e_r", int(rng.integers(lanes * result.parameters.n)), int(rng.choice([-1, 1])) << 40)


def shifted_slot(result, rng):
    """The threshold moved in one slot."""
    delta = np.zeros(result.ciphertext.shape, dtype=object)
    message = np.zeros((1, result.parameters.n), dtype=np.uint64)
    message[0, rng.integers(result.parameters.n)] = 2 << 10 * rng.integers(5)
    delta[:, 1] = result.ring.scale_up(message)[:, 0].astype(np.int64).astype(object)
    result.add(delta)


def least_change(result, rng):
    """One coefficient, one prime, off by one."""
    delta = np.zeros(result.ciphertext.shape, dtype=object)
    part, coefficient = rng.integers(delta.shape[1]), rng.integers(result.parameters.n)
    delta[rng.integers(2), part, coefficient] = 1
    result.add(delta)


def monomial(result, rng):
    """Every slot moved by a power of X."""
    shift = int(rng.integers(1, result.parameters.n))
    result.ciphertext[:] = np.roll(result.ciphertext, shift, axis=-1)
    result.ciphertext[..., :shift] *= -1


def other_share(result, rng):
    """Shares that are not the result's."""
    result.z[rng.integers(len(result.z))] += int(rng.choice([-1, 1]))


def other_query(result, rng):
    """The proof of another query."""
    plane = rng.integers(result.parameters.bits)
    result.z[plane] *= -1


def huge_coordinate(result, rng):
    """A coordinate so large that its projections may vanish mod 2^64."""
    k = int(rng.integers(result.parts["u"].start, len(result.z)))
    result.z[k] += 1 << 62


RESULT_CHEATS = {
    own_c1: ("linear",),
    scaled_weight: ("signs",),
    zero_weight: ("signs",),
    weights_by_prime: ("linear",),
    large_u: ("short u",),
    large_first_error: ("short e'",),
    large_error: ("short e_r",),
    shifted_slot: ("linear",),
    least_change: ("linear",),
    monomial: ("linear",),
    other_share: ("linear",),
    other_query: ("linear",),
    huge_coordinate: ("linear", "short u", "short e'", "short e_r"),
}


@contextmanager
def cheating(protocol, cheat: Callable[[Result, Any], None], rng) -> Iterator[None]:
    """Inside, one result of every batch is changed by `cheat` before it is shared, digested and signed."""
    honest_scan, honest_statements = checker_module.scan_block, checker_module.statements
    kept = {}

    def scan(planes, hashes, zeros, parameters):
        c1, c0 = honest_scan(planes, hashes, zeros, parameters)
        victim = int(rng.integers(len(c1)))
        lanes = c0.shape[1] // 2
        both = np.concatenate([c1[victim][:, None], c0[victim].reshape(2, lanes, *c0.shape[2:])], axis=1)
        kept["result"] = victim, both, (c1, c0)
        return c1, c0

    def statements(hashes, randomness):
        victim, words, (c1, c0) = kept["result"]
        for row, z in enumerate(honest_statements(hashes, randomness)):
            if row == victim:
                result = Result(protocol, unpack(words, "result"), z)
                cheat(result, rng)
                packed = pack(result.ciphertext)
                c1[row], c0[row] = packed[:, 0], packed[:, 1:].reshape(c0[row].shape)
            yield z

    honest_results = type(protocol._checker).results

    def results(self, scanned):
        # statements are drawn before digests are made, so that a cheat sees both
        drawn = [z.copy() for z in statements(*_asked(self, scanned))]
        checker_module.statements = lambda hashes, randomness: iter(drawn)
        return honest_results(self, scanned)

    checker_module.scan_block = scan
    protocol._checker.results = results.__get__(protocol._checker)
    try:
        yield
    finally:
        checker_module.scan_block, checker_module.statements = honest_scan, honest_statements
        del protocol._checker.results


def _asked(checker, scanned):
    scan = checker._open[scanned.session]
    return scan.hashes, scan.randomness


# Headers, replays, relays --------------------------------------------------------------------------------------------


def resigned(protocol, message, identity=None, **fields):
    """The same results under another header of the platform, or of `identity`."""
    header = msgspec.structs.replace(header_of(message), **fields)
    signed = (identity or protocol._checker._identity).sign(header, SignedHeader)
    return msgspec.structs.replace(message, header=signed)


def second_platform(protocol) -> Identity:
    """Another platform, known to all members and the exchange."""
    identity = Identity("platform-2")
    for role in (*protocol._members.values(), protocol._exchange):
        role._pinned.parties["platform-2"] = Verifier(identity.public)
    return identity


# Switching checks off ------------------------------------------------------------------------------------------------

OFF: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "linear": (verification, "linear_holds", lambda *_: True),
    "signs": (verification, "signs_hold", lambda *_: True),
    "short": (verification, "projections_short", lambda *_: None),
}


def switch_off(monkeypatch, check: str) -> None:
    """Make a check accept everything."""
    if check == "shares":  # sealed seeds are bound to nothing
        for module in (checker_module, verification):
            monkeypatch.setattr(module, "share_info", lambda *_: b"anything")
        return
    module, name, always = OFF[check.split()[0]]
    monkeypatch.setattr(module, name, always)


# The exchange --------------------------------------------------------------------------------------------------------


def swap_planes(planes, rng):
    """Two planes change places: entry bits are permuted."""
    i, j = rng.choice(len(planes), 2, replace=False)
    planes[[i, j]] = planes[[j, i]]


def scale_plane(planes, rng):
    """A plane counts three times."""
    i = rng.integers(len(planes))
    for index, p in enumerate(PRIMES):
        planes[i, index] = (3 * planes[i, index].astype(np.int64) + p // 2) % p - p // 2


def mix_planes(planes, rng):
    """A plane is added to another."""
    i, j = rng.choice(len(planes), 2, replace=False)
    for index, p in enumerate(PRIMES):
        planes[i, index] = (planes[i, index] + planes[j, index] + p // 2) % p - p // 2


def change_entry(planes, rng):
    """One bit of one entry is changed."""
    n = planes.shape[-1]
    message = np.zeros((1, n), dtype=np.uint64)
    message[0, rng.integers(n)] = 2 << 10 * rng.integers(5)
    i = rng.integers(len(planes))
    for index, p in enumerate(PRIMES):
        total = planes[i, index, 1] + ring_of(n).scale_up(message)[index, 0]
        planes[i, index, 1] = (total + p // 2) % p - p // 2


BLOCK_CHEATS = (swap_planes, scale_plane, mix_planes, change_entry)


@contextmanager
def cheating_exchange(protocol, change, rng) -> Iterator[None]:
    """Inside, the exchange changes the planes that it adds up, in one message of a block."""
    exchange = protocol._exchange.published
    honest = type(exchange)._sum
    calls = {"number": 0, "victim": int(rng.integers(protocol.bits // 16))}

    def _sum(planes, count, lanes):
        packed = honest(exchange, planes, count, lanes)
        if calls["number"] == calls["victim"]:
            residues = np.stack([unpack(one, "plane") for one in packed])
            change(residues, rng)
            packed = np.stack([pack(one) for one in residues])
        calls["number"] += 1
        return packed

    exchange._sum = _sum
    try:
        yield
    finally:
        del exchange._sum


def header_of(message) -> ScanHeader:
    """What a platform signed."""
    return msgspec.msgpack.decode(message.header.body, type=ScanHeader)


def verify(protocol, a, b, session):
    """The members' check of a batch that they have compared headers of."""
    lanes = protocol._checker.blocks[0].lanes
    matching.verify(protocol.ledger, protocol._exchange.resolver, a, b, session, protocol._next_deal(lanes))


def sent(protocol, scanned):
    """What A and B receive of a batch of results."""
    results = protocol._checker.results(scanned)
    return [protocol.ledger.send("platform-1", f"member-{m}", r) for m, r in zip((1, 2), results, strict=True)]
