"""The hot loop: exact at the extremes, equal to integers, and refused where a product is not exact."""

from types import SimpleNamespace

import numpy as np
import pytest

from protocols.base import ConfigurationError
from protocols.scan.packing import pack, unpack
from protocols.scan.parameters import FIELDS, PRIMES, T_BITS, WIDTH, Parameters
from protocols.scan.product import check_exactness, product, query_constants, scan_block, signs
from protocols.scan.sums import BREAK_EVEN

P = Parameters("INSECURE_TINY", lanes=2)
Q, T = P.q, 1 << T_BITS
G = sum(1 << (WIDTH * f) for f in range(FIELDS))


def test_signs_are_1_minus_2q():
    hashes = np.array([[0b10000001, 0xFF]], dtype=np.uint8)
    assert signs(hashes)[0].tolist() == [-1, 1, 1, 1, 1, 1, 1, -1] + [-1] * 8


@pytest.mark.parametrize("top", [p // 2 for p in PRIMES])
@pytest.mark.parametrize("order", ["largest first", "alternating", "random"])
def test_the_product_of_extreme_residues_is_exact(top, order):
    """256 residues of up to (p-1)/2, every sign: the sum stays below 2^52, in any order of adding."""
    rng = np.random.default_rng(0)
    residues = rng.integers(-top, top + 1, (256, 40))
    residues[:, :8], residues[:, 8:16] = top, -top
    residues[:, 16] = np.resize([top, -top], 256)
    left = rng.choice([-1, 1], (9, 256))
    left[0], left[1], left[2] = 1, -1, np.resize([1, -1], 256)
    if order == "alternating":
        residues = residues[np.argsort(np.arange(256) % 2)]
    if order == "random":
        residues = residues[rng.permutation(256)]
    result = product(left.astype(np.float64), residues.astype(np.float64))
    exact = left.astype(object) @ residues.astype(object)
    assert np.array_equal(result.astype(object), exact)
    assert max(map(abs, exact.reshape(-1))) == 256 * top < 1 << 53


def test_every_partial_sum_fits_whatever_the_order():
    assert 256 * max(PRIMES) // 2 < 1 << 52


def test_a_product_that_is_not_exact_is_refused():
    check_exactness()
    check_exactness(bits=64)
    single = SimpleNamespace(
        __name__="single",
        matmul=lambda a, b: a.astype(np.float32) @ b.astype(np.float32),
        asarray=np.asarray,
        float64=np.float64,
    )
    with pytest.raises(ConfigurationError, match="product of single is not exact"):
        check_exactness(single)
    nearly = SimpleNamespace(
        __name__="nearly", matmul=lambda a, b: (a @ b) * (1 + 2**-50), asarray=np.asarray, float64=np.float64
    )
    with pytest.raises(ConfigurationError, match="nearly"):
        check_exactness(nearly)


@pytest.mark.parametrize(("bits", "threshold"), [(256, 0), (256, 31), (256, 71), (64, 5)])
def test_constants_are_linear_in_the_popcount_and_rounded_once(bits, threshold):
    p = Parameters("INSECURE_TINY", 2, bits, threshold)
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 256, (6, bits // 8), dtype=np.uint8)
    hashes[0], hashes[1] = 0, 255
    g = (Q * G + T // 2) // T
    k = (Q * 2 * p.alignment * G + T // 2) // T
    out = query_constants(hashes, p)
    for row, one in enumerate(hashes):
        ones = int(np.bitwise_count(one).sum())
        for index, prime in enumerate(PRIMES):
            assert int(out[index, row]) % prime == (2 * ones * g + k) % prime
            assert abs(out[index, row]) <= prime // 2 + 1


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("batch", [3, BREAK_EVEN - 1, BREAK_EVEN, 13])
def test_a_block_is_scanned_as_over_the_integers(batch, lanes):
    rng = np.random.default_rng(batch)
    n, bits = P.n, P.bits
    planes = np.stack([rng.integers(-(p // 2), p // 2 + 1, (bits, lanes + 1, n)) for p in PRIMES])
    packed = np.stack([pack(planes[:, b].astype(np.float64)).reshape(-1, 45, n // 64) for b in range(bits)])
    zeros = np.stack([rng.integers(-(p // 2), p // 2 + 1, (batch, lanes + 1, n)) for p in PRIMES], axis=1)
    hashes = rng.integers(0, 256, (batch, bits // 8), dtype=np.uint8)
    c1, c0 = scan_block(packed, hashes, zeros.astype(np.float64), P)
    left = signs(hashes).astype(np.int64)
    constants = query_constants(hashes, P).astype(np.int64)
    for row in range(batch):
        got1, got0 = unpack(c1[row], "c1"), unpack(c0[row].reshape(2, lanes, 45, n // 64), "c0")
        for index, p in enumerate(PRIMES):
            sums = np.tensordot(left[row], planes[index], axes=1) + zeros[row, index]
            assert np.array_equal(got1[index].astype(np.int64) % p, sums[0] % p)
            assert np.array_equal(got0[index].astype(np.int64) % p, (sums[1:] + constants[index, row]) % p)
