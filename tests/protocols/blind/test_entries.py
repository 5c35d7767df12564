"""Sealed entries: a token opens them, nothing else does, and nobody can change what they open to."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import ConfigurationError, IntegrityError
from protocols.blind import entries


@pytest.fixture
def sealed(rng):
    fingerprints = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    tokens = rng.integers(0, 256, (6, 64), dtype=np.uint8)
    bands = np.array([[4, 9], [4, 2], [7, 8]])
    return fingerprints, tokens, bands, entries.seal(fingerprints, tokens, bands, epoch=3)


def derive(secret, info, size):
    return HKDFExpand(SHA256(), size, info).derive(secret)


def test_keys_are_drawn_by_hkdf(rng):
    for size in (1, 12, 32):
        secret, info = rng.bytes(64), rng.bytes(40)
        assert entries._expand(secret, info, size) == derive(secret, info, size)


def test_a_fingerprint_longer_than_the_key_stream_is_not_sealed(rng):
    fingerprints, tokens = rng.integers(0, 256, (1, 64), dtype=np.uint8), rng.integers(0, 256, (1, 64), dtype=np.uint8)
    with pytest.raises(ConfigurationError, match="64 bytes of key stream"):
        entries.seal(fingerprints, tokens, np.array([[1]]), epoch=1)


def test_each_token_opens_its_entry(sealed):
    fingerprints, tokens, bands, (rows, ids, labels) = sealed
    assert rows.shape == (3, entries.entry_size(256))
    assert (ids == entries.row_ids(tokens)).all()
    for at in range(6):
        opened = entries.unseal(rows[at // 2], labels[at], tokens[at], int(bands.ravel()[at]), 3)
        assert (opened == fingerprints[at // 2]).all()


def test_entries_are_sealed_as_the_format_says(sealed):
    """Made again with another HKDF: what every part is keyed with and bound to, and that keys are fresh."""
    fingerprints, tokens, bands, (rows, ids, labels) = sealed
    keys = []
    for at, band in enumerate(bands.ravel().tolist()):
        row, token = rows[at // 2].tobytes(), tokens[at].tobytes()
        entry_id, body, commitment = row[:16], row[16:48], row[48:]
        assert ids[at].tobytes() == derive(token, b"id", 12)
        pad = derive(token, b"pad" + (3).to_bytes(8) + entry_id + band.to_bytes(2), 16)
        key = (labels[at] ^ np.frombuffer(pad, np.uint8)).tobytes()
        stream = np.frombuffer(derive(key, b"fp" + entry_id, 32), np.uint8)
        assert (np.frombuffer(body, np.uint8) ^ stream == fingerprints[at // 2]).all()
        assert commitment == derive(key, b"commit" + entry_id + body, 32)
        keys.append(key)
    assert keys[0::2] == keys[1::2]
    assert len(set(keys)) == 3
    assert bytes(16) not in keys


def test_another_token_band_epoch_entry_or_label_opens_nothing(sealed):
    _, tokens, _, (rows, _, labels) = sealed
    for wrong in (
        (rows[0], labels[0], tokens[1], 4, 3),
        (rows[0], labels[0], tokens[0] ^ (np.arange(64) == 63).astype(np.uint8), 4, 3),
        (rows[0], labels[0], tokens[0], 9, 3),
        (rows[0], labels[0], tokens[0], 4, 2),
        (rows[1], labels[0], tokens[0], 4, 3),
        (rows[0], labels[1], tokens[0], 4, 3),
    ):
        with pytest.raises(IntegrityError, match="does not open"):
            entries.unseal(*wrong)


@settings(max_examples=50)
@given(st.integers(0, entries.entry_size(256) * 8 - 1))
def test_changing_any_bit_of_an_entry_is_caught(bit):
    token = np.arange(64, dtype=np.uint8)
    rows, _, labels = entries.seal(np.zeros((1, 32), np.uint8), token[None], np.array([[1]]), 1)
    bits = np.unpackbits(rows[0])
    bits[bit] ^= 1
    with pytest.raises(IntegrityError):
        entries.unseal(np.packbits(bits), labels[0], token, 1, 1)


def test_sealing_twice_has_nothing_in_common_but_row_ids(sealed):
    fingerprints, tokens, bands, first = sealed
    second = entries.seal(fingerprints, tokens, bands, epoch=3)
    assert (first.ids == second.ids).all()
    assert (first.labels != second.labels).any(axis=1).all()
    assert (first.entries[:, :16] != second.entries[:, :16]).any(axis=1).all()
    assert (first.entries[:, 16:48] != second.entries[:, 16:48]).any(axis=1).all()
