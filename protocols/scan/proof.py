"""The proof of a scan: a result is the published scan of some query in {0,1}^bits, and nothing else.

With w in {+-1}^bits the signs of the query and u, e', e_1..e_R the randomness of the encryption of zero,

    c1   = sum_i w_i*C1_i   + a*u   + e'
    c0_r = sum_i w_i*C0_i,r + b_r*u + e_r + (bits - sum_i w_i)*g + k_r

is linear in z = (w, u, e', e_1..e_R), integers that only the platform knows. It splits z = z_A + z_B over the integers,
z_B uniform in [-2^61, 2^61) out of a seed; A's share travels added to a stream of a second seed, mod 2^64. After the
whole batch is fixed, A and B toss a seed, and out of it draw the challenge:

    linear   sum over a random functional rho of both sides, mod p0 and p1: <rho, c> = <l, z> + constant
    signs    sum_i tau_i*(w_i^2 - 1) = 0 mod p0 and p1, by squares (r, r^2) from the third member: w - r is opened
    short    projections Y = <x, part of z> with integer x in [-2^c, 2^c), opened mod 2^64 and bounded; gamma*(Y - what
             was opened) is folded into the linear check, so that Y is the opened integer mod p0*p1*2^64

Integer shares reduce consistently to every modulus: |z| < 2^63 + 2^61, so |Y| < 2^103. Members follow the protocol, so
everything they open is a function of z and the seed, and one toss is enough. `soundness` prints the numbers.

What is opened of an honest platform: eleven projections of (u, e', e_r); w - r, uniform; the rest cancels.

NOT protected: a member that deviates. What a proved query asks is not looked at: any query may be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from protocols.base import ConfigurationError, MessageError
from protocols.ledger import as_array
from protocols.scan.encryption import PublicKey, Randomness
from protocols.scan.functional import evaluate, fold, functional
from protocols.scan.packing import Words, pack
from protocols.scan.parameters import PRIMES, T_BITS, Parameters
from protocols.scan.product import scan_constants, signs
from protocols.scan.ring import Residues, mulmod, reduce
from protocols.scan.sampling import Stream, derive

Integers = NDArray[np.int64]
Values = NDArray[np.int64]  # (2, batch): numbers mod p0 and mod p1
SHARE_BITS = 62  # z_B is uniform in [-2^61, 2^61)


@dataclass(frozen=True)
class Short:
    """`count` projections of one part of z, weights uniform in [-2^c, 2^c), refused beyond +-bound."""

    part: str
    c: int
    count: int
    bound: int

    @property
    def longest(self) -> int:
        """A larger coordinate leaves at most one weight in 2^(c+1) within the bound: it passes with 2^-(c+1)*count."""
        return 2 * self.bound


SHORT = (Short("u", 9, 5, 1 << 18), Short("e'", 11, 4, 1 << 21), Short("e_r", 22, 2, 1 << 34))
PROJECTIONS = sum(short.count for short in SHORT)


def check_parameters(parameters: Parameters) -> None:
    """Whether an accepted result always decrypts to the scan, and a sign is 1 or -1 mod both primes at once.

    Raises ConfigurationError.
    """
    u, first, others = SHORT
    noise = parameters.noise_bound(u=u.longest, error=first.longest) + others.longest
    if noise >= parameters.q >> (T_BITS + 1):
        raise ConfigurationError("a proved result may have too much noise to decrypt; proofs cannot hold for this set")
    if mixed_sign() <= 1 << 65:
        raise ConfigurationError("an integer in the range of shares is 1 mod one prime and -1 mod the other")


def mixed_sign() -> int:
    """The smallest absolute value of an integer that is 1 mod one prime and -1 mod the other."""
    p0, p1 = PRIMES
    value = (1 - 2 * p0 * pow(p0, -1, p1)) % (p0 * p1)
    return min(value, p0 * p1 - value)


def parts(parameters: Parameters, lanes: int) -> dict[str, slice]:
    """Where the parts of z stand in a row of its numbers."""
    bits, n = parameters.bits, parameters.n
    return {
        "w": slice(0, bits),
        "u": slice(bits, bits + n),
        "e'": slice(bits + n, bits + 2 * n),
        "e_r": slice(bits + 2 * n, bits + (lanes + 2) * n),
    }


def length(parameters: Parameters, lanes: int) -> int:
    """How many integers z is."""
    return parameters.bits + (lanes + 2) * parameters.n


# Sharing (the platform) ----------------------------------------------------------------------------------------------


def statements(hashes: NDArray[np.uint8], randomness: list[Randomness]) -> Iterator[Integers]:
    """z of every result of a batch, one after another, (length,) int64; the array is used again for the next."""
    z = np.empty(8 * hashes.shape[1] + randomness[0].u.size + randomness[0].errors.size, dtype=np.int64)
    for w, random in zip(signs(hashes), randomness, strict=True):
        np.concatenate([w, random.u, random.errors.reshape(-1)], out=z, casting="unsafe")
        yield z


@njit("void(i8[::1], u8[::1], u8[::1], u8[::1])", cache=True, nogil=True)
def _split(z: Any, b_words: Any, pad: Any, out: Any) -> None:
    half = np.uint64(1 << (SHARE_BITS - 1))
    for k in range(len(z)):
        out[k] = np.uint64(z[k]) - ((b_words[k] >> np.uint64(64 - SHARE_BITS)) - half) + pad[k]


def split(rows: Iterator[Integers], seed_a: bytes, seed_b: bytes, out: Words) -> None:
    """Share every z: B's is the stream of seed_b; A's, plus the stream of seed_a, is written to out (batch, length)."""
    stream_a, stream_b = Stream(seed_a), Stream(seed_b)
    pad, b_words = np.empty((2, out.shape[1]), dtype=np.uint64)
    for z, row in zip(rows, out, strict=True):
        _split(z, stream_b.fill(b_words), stream_a.fill(pad), row)


@njit("void(u8[::1], i8[::1])", cache=True, nogil=True)
def _b_share(words: Any, out: Any) -> None:
    for k in range(len(out)):
        out[k] = np.int64(words[k] >> np.uint64(64 - SHARE_BITS)) - (1 << (SHARE_BITS - 1))


def shares(seed: bytes, masked: memoryview | None, batch: int, size: int) -> Iterator[Integers]:
    """A member's shares of every z of a batch, (size,) int64; the array is used again for the next.

    masked: what the platform sent to A; None for B. Raises MessageError for its length.
    """
    stream, words, z = Stream(seed), np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int64)
    rows = None if masked is None else as_array(masked, np.uint64, (batch, size), "shares")
    for row in range(batch):
        stream.fill(words)
        if rows is None:
            _b_share(words, z)
        else:
            np.subtract(rows[row], words, out=z.view(np.uint64))
        yield z


# The challenge -------------------------------------------------------------------------------------------------------


class Challenge:
    """What A and B draw from the seed that they tossed, for one batch of results against one block."""

    def __init__(self, seed: bytes, parameters: Parameters, public_key: PublicKey, planes: Words) -> None:
        """planes: the block, (bits, 2*(lanes+1), 45, n/64)."""
        bits, n = parameters.bits, parameters.n
        lanes = planes.shape[1] // 2 - 1
        self.rho = Stream(derive(seed, "rho")).uniform(lanes + 1, n)
        self.tau = Stream(derive(seed, "tau")).uniform(bits)
        self.gamma = Stream(derive(seed, "gamma")).uniform(PROJECTIONS)
        self.parts = parts(parameters, lanes)
        self.weights = {}
        for short in SHORT:
            where = self.parts[short.part]
            words = Stream(derive(seed, "projections of " + short.part)).words(short.count, where.stop - where.start)
            low = (words & np.uint64((1 << (short.c + 1)) - 1)).astype(np.int32)
            self.weights[short.part] = low - np.int32(1 << short.c)
        self.linear = np.empty((2, length(parameters, lanes)))
        self.constant = []
        on_planes = functional(planes, self.rho, "planes")
        unit, alignment = scan_constants(parameters)
        for index, p in enumerate(PRIMES):
            total = int(self.rho[index, 1:].astype(np.int64).sum())
            for i in range(bits):
                self.linear[index, i] = _centred(int(on_planes[index, i]) - total * unit[index], p)
            self.constant.append(total * (bits * unit[index] + alignment[index]) % p)
        self.linear[:, self.parts["u"]] = public_key.transposed(self.rho)
        self.linear[:, bits + n :] = self.rho.reshape(2, -1)
        for short, gammas in zip(SHORT, self._gammas(), strict=True):
            for index, p in enumerate(PRIMES):
                where, factors = self.parts[short.part], np.ascontiguousarray(gammas[index])
                fold(self.linear[index, where], self.weights[short.part], factors, float(p))
        self.ratio = self.linear / np.array(PRIMES, dtype=np.float64)[:, None]

    def _gammas(self) -> list[Residues]:
        return np.split(self.gamma, np.cumsum([short.count for short in SHORT])[:-1], axis=1)

    def evaluate(self, z: Integers, projections: Words, linear: Values) -> None:
        """Of one share of a z: its projections mod 2^64, (11,), and <l, z> mod each prime, (2,)."""
        u, first, others = (self.weights[short.part] for short in SHORT)
        primes = np.array(PRIMES, dtype=np.float64)
        evaluate(z, (u, first, others), self.linear, self.ratio, primes, projections, linear)

    def of_results(self, c1: Words, c0: Words) -> Values:
        """constant - <rho, c> of every result, (2, batch). c1: (batch, 2, 45, n/64). c0: (batch, 2*lanes, 45, n/64).

        Raises MessageError for a residue that is not below its prime.
        """
        value = functional(c1, self.rho[:, :1], "c1") + functional(c0, self.rho[:, 1:], "c0")
        primes = np.array(PRIMES, dtype=np.int64)[:, None]
        return (np.array(self.constant, dtype=np.int64)[:, None] - value.astype(np.int64)) % primes


def projections_short(opened: Integers) -> str | None:
    """The part of z of which a projection is out of bounds, if any. opened: (batch, 11), both shares added."""
    start = 0
    for short in SHORT:
        values = opened[:, start : start + short.count]
        start += short.count
        if ((values > short.bound) | (values < -short.bound)).any():
            return short.part
    return None


def linear_holds(challenge: Challenge, opened: Integers, value: Values) -> bool:
    """Whether <l, z> + constant - <rho, c> = sum_j gamma_j*Y_j mod both primes. value: both sides' (2, batch)."""
    for gammas, totals, p in zip(challenge.gamma, value, PRIMES, strict=True):
        factors = [int(gamma) for gamma in gammas]
        for total, row in zip(totals.tolist(), opened.tolist(), strict=True):
            if (total - sum(x * y for x, y in zip(factors, row, strict=True))) % p:
                return False
    return True


# Signs ---------------------------------------------------------------------------------------------------------------


def _centred(value: int, p: int) -> int:
    return (value + p // 2) % p - p // 2


@njit("void(f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], f8)", cache=True, nogil=True, error_model="numpy")
def _correct_squares(r_a: Any, s_a: Any, r_b: Any, out: Any, p: float) -> None:
    p_inverse = 1.0 / p
    for q in range(len(out)):
        for i in range(out.shape[1]):
            r = reduce(r_a[q, i] + r_b[q, i], p, p_inverse)
            out[q, i] = reduce(mulmod(r, r, r / p, p) - s_a[q, i], p, p_inverse)


def deal_squares(seed_a: bytes, seed_b: bytes, batch: int, bits: int) -> Words:
    """The dealer's corrections s_B = (r_A + r_B)^2 - s_A, packed (2, batch, 45, bits/64); each serves one result."""
    stream = Stream(seed_a)
    r_a, s_a = stream.uniform(batch, bits), stream.uniform(batch, bits)
    r_b = Stream(seed_b).uniform(batch, bits)
    out = np.empty_like(r_a)
    for index, p in enumerate(PRIMES):
        _correct_squares(r_a[index], s_a[index], r_b[index], out[index], float(p))
    return pack(out)


def squares(seed: bytes, corrections: Residues | None, batch: int, bits: int) -> tuple[Residues, Residues]:
    """A side's shares of r and r^2, each (2, batch, bits); `corrections` are B's, None for A."""
    stream = Stream(seed)
    r = stream.uniform(batch, bits)
    return r, stream.uniform(batch, bits) if corrections is None else corrections


def masked_signs(w: Integers, r: Residues) -> Residues:
    """A side's share of w - r, (2, batch, bits) centred. w: its shares of the signs, (batch, bits)."""
    out = np.empty_like(r)
    for index, p in enumerate(PRIMES):
        out[index] = (w % p - r[index].astype(np.int64) + p // 2) % p - p // 2
    return out


@njit("void(f8[:,::1], f8[:,::1], f8[:,::1], f8[::1], f8, i8[::1], f8)", cache=True, nogil=True, error_model="numpy")
def _sign_sums(d: Any, r: Any, s: Any, tau: Any, first: float, out: Any, p: float) -> None:
    p_inverse = 1.0 / p
    for q in range(len(d)):
        total = 0.0
        for i in range(d.shape[1]):
            factor = reduce(2.0 * r[q, i] + first * d[q, i], p, p_inverse)
            term = mulmod(d[q, i], factor, factor / p, p) + s[q, i] - first
            total += mulmod(reduce(term, p, p_inverse), tau[i], tau[i] / p, p)
        out[q] = np.int64(reduce(total, p, p_inverse))


def sign_sums(opened: Residues, r: Residues, s: Residues, tau: Residues, first: bool) -> Values:
    """A side's share of sum_i tau_i*(w_i^2 - 1), w^2 = d^2 + 2*d*r + r^2 for d = w - r opened (2, batch, bits)."""
    out = np.empty((2, len(opened[0])), dtype=np.int64)
    for index, p in enumerate(PRIMES):
        _sign_sums(opened[index], r[index], s[index], tau[index], float(first), out[index], float(p))
    return out


def signs_hold(sums: Values) -> bool:
    """Whether the sign sums of every result, both sides' (2, batch) added, vanish mod both primes."""
    return not any((row % p).any() for row, p in zip(sums, PRIMES, strict=True))


def read_values(data: memoryview, batch: int, field: str) -> Values:
    """Numbers mod p0 and p1 from another member, (2, batch). Raises MessageError."""
    values = as_array(data, np.int64, (2, batch), field)
    if any(((values[index] <= -p) | (values[index] >= p)).any() for index, p in enumerate(PRIMES)):
        raise MessageError(f"{field}: a number is not below its prime")
    return values
