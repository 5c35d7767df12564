"""Key shares: any two decrypt, one sees a one-time pad; shares differ by M or M + 1, and the guard bit swallows it."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import MessageError
from protocols.scan import keys
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.keys import KeyDealing, KeyShare, blame, check_test_shares, half_unit, lagrange, read_residues
from protocols.scan.packing import pack
from protocols.scan.parameters import FIELDS, PRIMES, RESIDUE_BITS, T_BITS, WIDTH, Parameters
from protocols.scan.ring import ring_of
from protocols.scan.sampling import Stream

P = Parameters("INSECURE_TINY", lanes=2)
RING = ring_of(P.n)
T = 1 << T_BITS
PAIRS = list(permutations((1, 2, 3), 2))


@pytest.fixture(scope="module")
def committee():
    """A key made of three dealings: the public key, key shares by member."""
    a = common_polynomial(P, 1, b"manifest")
    dealings = [KeyDealing(P, a, Stream()) for _ in range(3)]
    b = dealings[0].b
    for dealing in dealings[1:]:
        b = RING.add(b.copy(), dealing.b)
    shares = {}
    for member in (1, 2, 3):
        total = dealings[0].share(member).copy()
        for dealing in dealings[1:]:
            RING.add(total, dealing.share(member))
        shares[member] = KeyShare(member, total)
    return PublicKey(a, b), shares


def decrypt(shares, pair, ciphertext, lanes=P.lanes):
    """A's and B's shares of a ciphertext (2, R+1, n)."""
    c1, c0 = np.ascontiguousarray(ciphertext[:, 0]), np.ascontiguousarray(ciphertext[:, 1:])
    masked, b = shares[pair[1]].mask(pair[0], c1, lanes, Stream())
    a = shares[pair[0]].unmask(pair[1], c1, RING.add(c0, half_unit(P.n, lanes)), masked)
    return a, b


@pytest.mark.parametrize("pair", PAIRS)
def test_any_two_members_decrypt_into_shares_that_differ_by_m_or_m_plus_1(committee, pair):
    public_key, shares = committee
    message = np.random.default_rng(0).integers(0, T, (P.lanes, P.n), dtype=np.uint64)
    message[0, :4] = 0, 1, T - 1, T // 2
    carries = np.zeros(2, dtype=int)
    for _ in range(8):
        a, b = decrypt(shares, pair, public_key.encrypt(message, Stream()))
        excess = (a - b - message) & np.uint64(T - 1)
        assert np.isin(excess, (0, 1)).all()
        carries += np.bincount(excess.reshape(-1).astype(int), minlength=2)
    assert carries.min() > 1000  # both happen, about evenly: the 1 is there and must be swallowed


def test_without_half_a_unit_shares_also_fall_below_m(committee, monkeypatch):
    """Why A adds floor(q/2t): without it a negative noise gives M - 1, which borrows through every field."""
    public_key, shares = committee
    monkeypatch.setattr(keys, "half_unit", lambda n, lanes: np.zeros((2, lanes, n)))
    message = np.zeros((P.lanes, P.n), dtype=np.uint64)
    seen = set()
    for _ in range(3):
        ciphertext = public_key.encrypt(message, Stream())
        c1, c0 = np.ascontiguousarray(ciphertext[:, 0]), np.ascontiguousarray(ciphertext[:, 1:])
        # a mu whose floor is exact to the unit: the sum of its fraction and the noise decides
        mu = RING.scale_up(np.full((P.lanes, P.n), 7, dtype=np.uint64))
        masked = RING.add(shares[2].partial(1, c1, P.lanes), mu)
        a = shares[1].unmask(2, c1, RING.add(c0, keys.half_unit(P.n, P.lanes)), masked)
        seen |= set(((a - np.uint64(7)) & np.uint64(T - 1)).reshape(-1).tolist())
    assert T - 1 in seen


@given(
    values=st.lists(st.integers(0, (1 << (WIDTH - 1)) - 1), min_size=FIELDS, max_size=FIELDS),
    mask=st.integers(0, T - 1),
    carry=st.integers(0, 1),
)
def test_the_guard_bit_swallows_the_carry_field_by_field(values, mask, carry):
    message = sum(2 * value << (WIDTH * f) for f, value in enumerate(values))
    left = (message + mask + carry) % T
    for f, value in enumerate(values):
        y_a, y_b = (left >> (WIDTH * f)) & (1 << WIDTH) - 1, (mask >> (WIDTH * f)) & (1 << WIDTH) - 1
        assert ((y_a - y_b) % (1 << WIDTH)) >> 1 == value


def test_what_one_member_sees_of_a_decryption_is_a_one_time_pad(committee):
    """Whatever c1: here one that would spell out the key, c1 = 1, were mu not there."""
    _, shares = committee
    c1 = np.zeros((2, P.n))
    c1[:, 0] = 1.0
    counts = [np.zeros(64), np.zeros(64)]
    for _ in range(40):
        masked, _ = shares[2].mask(1, c1, P.lanes, Stream())
        for index, p in enumerate(PRIMES):
            counts[index] += np.histogram(masked[index], bins=64, range=(-p / 2, p / 2))[0]
    for index in range(2):
        expected = 40 * P.lanes * P.n / 64
        assert ((counts[index] - expected) ** 2 / expected).sum() < 220  # 63 degrees of freedom, below 2^-60
    twice = [shares[2].mask(1, c1, P.lanes, Stream())[0] for _ in range(2)]
    assert (twice[0] != twice[1]).mean() > 0.99


def test_a_mask_used_twice_gives_the_difference_of_two_plaintexts(committee, monkeypatch):
    """Why mu serves once: with the same mu, A subtracts what it got and is left with plaintexts."""
    public_key, shares = committee
    rng = np.random.default_rng(1)
    messages = rng.integers(0, T, (2, P.lanes, P.n), dtype=np.uint64)

    def unmasked():
        out = []
        for message in messages:
            ciphertext = public_key.encrypt(message, Stream())
            c1, c0 = np.ascontiguousarray(ciphertext[:, 0]), np.ascontiguousarray(ciphertext[:, 1:])
            masked, _ = shares[2].mask(1, c1, P.lanes, mu())
            out.append(shares[1].unmask(2, c1, RING.add(c0, half_unit(P.n, P.lanes)), masked))
        return (out[0] - out[1] - (messages[0] - messages[1])) & np.uint64(T - 1)

    mu = Stream
    assert not np.isin(unmasked(), (0, 1, T - 1)).any()
    mu = lambda: Stream(bytes(32))  # noqa: E731
    assert np.isin(unmasked(), (0, 1, T - 1)).all()


@pytest.mark.parametrize("prime", [0, 1])
@pytest.mark.parametrize("which", ["c1", "c0", "masked"])
def test_a_batch_with_a_residue_not_below_its_prime_is_not_decrypted(committee, which, prime):
    share, columns = committee[1][1], P.n // 64
    batch = {
        name: np.zeros((2, 2 * parts, RESIDUE_BITS, columns), dtype=np.uint64)
        for name, parts in (("c1", 1), ("c0", P.lanes), ("masked", P.lanes))
    }
    added, planes = np.zeros((2, P.lanes, P.n)), np.empty((WIDTH, 2, FIELDS, P.lanes * columns), dtype=np.uint64)
    share.unmask_batch(2, *batch.values(), added, planes)
    words = batch[which]
    for bit in range(RESIDUE_BITS):  # column 0, row 0 of the last result's first polynomial mod this prime
        words[1, prime * (words.shape[1] // 2), 0, 0] |= np.uint64((PRIMES[prime] >> bit & 1) << bit)
    with pytest.raises(MessageError, match="a residue is not below its prime"):
        share.unmask_batch(2, *batch.values(), added, planes)


def test_shares_are_shamir_shares_of_degree_1():
    a = common_polynomial(P, 1, b"")
    dealing = KeyDealing(P, a, Stream(b"s" * 32))
    ternary = Stream(b"s" * 32).ternary(P.lanes, P.n)
    for one, two in PAIRS:
        for index, p in enumerate(PRIMES):
            x, y = (dealing.share(m)[index].astype(np.int64).astype(object) for m in (one, two))
            at_zero = (lagrange(one, two)[index] * x + lagrange(two, one)[index] * y) % p
            assert np.array_equal(at_zero, ternary.astype(np.int64).astype(object) % p)


@pytest.mark.parametrize("member", [1, 2, 3])
def test_one_share_is_uniform(member):
    shares = [KeyDealing(P, common_polynomial(P, 1, b""), Stream()).share(member) for _ in range(40)]
    for index, p in enumerate(PRIMES):
        counts, _ = np.histogram([share[index] for share in shares], bins=64, range=(-p / 2, p / 2))
        expected = 40 * P.lanes * P.n / 64
        assert ((counts - expected) ** 2 / expected).sum() < 220


def test_public_part_is_minus_a_s_plus_e():
    a = common_polynomial(P, 1, b"")
    dealing = KeyDealing(P, a, Stream(b"s" * 32))
    stream = Stream(b"s" * 32)
    secret, error = stream.ternary(P.lanes, P.n), stream.binomial(P.lanes, P.n)
    total = RING.add(RING.multiply(RING.forward(np.stack([secret, secret])), a), dealing.b.copy())
    assert np.array_equal(total, -np.stack([error, error]))


def test_common_polynomial_depends_on_everything_and_is_below_the_primes():
    base = common_polynomial(P, 1, b"m")
    assert np.array_equal(base, common_polynomial(P, 1, b"m"))
    others = [common_polynomial(P, 2, b"m"), common_polynomial(P, 1, b"n"), common_polynomial(Parameters(), 1, b"m")]
    for other in others:
        assert (base != other[:, : P.n]).mean() > 0.99
    assert (np.abs(base) <= np.array(PRIMES)[:, None] // 2).all()


@pytest.mark.parametrize("off", [2, T // 2, T - 1])
def test_test_shares_that_are_off_are_seen(off):
    zero = np.zeros(4, dtype=np.uint64)
    assert check_test_shares(zero + np.uint64(1), zero, zero)
    assert not check_test_shares(np.array([0, 0, off, 0], dtype=np.uint64), zero, zero)


@pytest.mark.parametrize("who", [1, 2, 3])
def test_blame(who):
    assert f"member-{who} dealt" in blame({(who, (1, 2)), (who, (2, 3))})
    wrong = {(dealer, pair) for dealer in (1, 2, 3) for pair in PAIRS if who in pair}
    assert blame(wrong) == f"member-{who} decrypts wrongly"
    with pytest.raises(MessageError):
        blame({(dealer, pair) for dealer in (1, 2) for pair in PAIRS})


@given(st.binary(max_size=200))
@settings(max_examples=30)
def test_bytes_that_are_no_residues_are_refused(data):
    with pytest.raises(MessageError, match="partial"):
        read_residues(data, (1,), 256, "partial")


def test_packed_residues_are_read():
    x = Stream().uniform(3, 256)
    assert np.array_equal(read_residues(memoryview(pack(x).tobytes()), (3,), 256, "b"), x)


def test_nothing_is_shown(committee):
    _, shares = committee
    assert repr(shares[1]) == "<KeyShare>"
    assert repr(KeyDealing(P, common_polynomial(P, 1, b""), Stream())) == "<KeyDealing>"
