"""Streams: what a seed gives, and that distributions are what the proofs assume."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import ProtocolError
from protocols.scan import sampling
from protocols.scan.parameters import ETA, PRIMES
from protocols.scan.sampling import Stream, derive, fresh_seed

SEED = bytes(range(32))


def test_words_are_the_aes_256_ctr_keystream():
    keystream = Cipher(algorithms.AES(SEED), modes.CTR(bytes(16))).encryptor().update(bytes(8 * 40_000))
    stream = Stream(SEED)
    drawn = b"".join(stream.words(*shape).tobytes() for shape in [(7,), (3, 11), (39_960,)])
    assert drawn == keystream


def test_a_seed_gives_one_stream_and_no_seed_a_fresh_one():
    assert np.array_equal(Stream(SEED).words(8), Stream(SEED).words(8))
    assert not np.array_equal(Stream().words(8), Stream().words(8))
    assert len({fresh_seed() for _ in range(50)}) == 50


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_derivation_separates_label_seed_and_context(seed, one, two):
    out = {
        derive(seed, "a", one, two),
        derive(seed, "b", one, two),
        derive(seed, "a", one),
        derive(seed, "a", one, two, b""),
    }
    assert len(out) == 4
    if one + two:
        assert derive(seed, "a", one + two) != derive(seed, "a", one, two)


def test_uniform_is_canonical_centred_and_takes_words_in_order():
    stream, words = Stream(SEED), Stream(SEED)
    drawn = stream.uniform(3, 100)
    for index, p in enumerate(PRIMES):
        raw = words.words(332)[:300] & np.uint64((1 << 45) - 1)
        values = raw.astype(np.int64)
        assert (values < p).all()
        assert np.array_equal(drawn[index].reshape(-1), np.where(values > p // 2, values - p, values))


def test_rejected_words_are_left_out_and_too_many_are_an_error(monkeypatch):
    top = np.uint64((1 << 45) - 1)
    given_words = np.arange(42, dtype=np.uint64)
    given_words[[0, 5]] = top
    monkeypatch.setattr(Stream, "words", lambda self, *shape: np.stack([given_words, given_words]))
    assert Stream(SEED).uniform(10)[0].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    monkeypatch.setattr(Stream, "words", lambda self, *shape: np.full((2, 42), top))
    with pytest.raises(ProtocolError, match="random generator failed"):
        Stream(SEED).uniform(10)


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


def test_ternary_is_even():
    counts = np.bincount(Stream().ternary(90_000).astype(np.int64) + 1, minlength=3)
    assert counts.sum() == 90_000
    assert chi_square(counts, 30_000) < 60  # 2 degrees of freedom: exceeded with probability 2^-43


def test_binomial_has_its_bound_mean_and_variance():
    drawn = Stream().binomial(4, 50_000)
    assert np.abs(drawn).max() <= ETA
    assert abs(drawn.mean()) < 8 * np.sqrt(ETA / 2 / drawn.size)
    assert abs(drawn.var() - ETA / 2) < 0.4  # 9 standard deviations of a sample variance
    words, expected = Stream(SEED).words(64), Stream(SEED).binomial(64)
    for word, value in zip(words.tolist(), expected, strict=True):
        assert (word & (1 << ETA) - 1).bit_count() - (word >> ETA & (1 << ETA) - 1).bit_count() == value


def test_uniform_fills_its_range():
    drawn = sampling.Stream().uniform(64_000)
    for index, p in enumerate(PRIMES):
        counts, _ = np.histogram(drawn[index], bins=64, range=(-p / 2, p / 2))
        assert chi_square(counts, 1000) < 220  # 63 degrees of freedom: exceeded with probability below 2^-60


def test_nothing_is_shown():
    assert repr(Stream(SEED)) == "<Stream>"
