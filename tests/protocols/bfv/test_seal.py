"""Bytes from other roles: only what SEAL wrote under these parameters is taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import MessageError
from protocols.bfv import seal
from protocols.bfv.keyholder import KeyHolder
from protocols.bfv.parameters import STANDARD, Parameters

KEY = KeyHolder(STANDARD, 31).encryption_key().key


def sealed(parameters=STANDARD, key=KEY):
    out = seal.sealapi.Ciphertext()
    encryptor = seal.sealapi.Encryptor(seal.context(parameters), seal.public_key(parameters, key))
    encryptor.encrypt_zero(out)
    return seal.to_bytes([out])[0]


CIPHERTEXT = sealed()


def test_round_trip():
    (loaded,) = seal.ciphertexts(STANDARD, [CIPHERTEXT], 1, "x")
    (again,) = seal.ciphertexts(STANDARD, seal.to_bytes([loaded]), 1, "x")
    assert seal.to_bytes([again]) == seal.to_bytes([loaded])


def test_round_trip_where_the_system_has_no_memory_files(monkeypatch):
    monkeypatch.delattr("os.memfd_create")
    (loaded,) = seal.ciphertexts(STANDARD, [CIPHERTEXT], 1, "x")
    assert seal.to_bytes([loaded]) == [CIPHERTEXT]


def test_wrong_number_of_ciphertexts():
    with pytest.raises(MessageError, match="client's ciphertexts: 1 ciphertexts; expected 2"):
        seal.ciphertexts(STANDARD, [CIPHERTEXT], 2, "client's ciphertexts")


@pytest.mark.parametrize(
    "data",
    [b"", b"x", CIPHERTEXT[:16], CIPHERTEXT[:-1], CIPHERTEXT + b"x", b"\0" * 40_000, b"\0" * 5000, KEY],
    ids=["empty", "short", "header only", "cut", "longer", "zeros, too long", "zeros", "a key"],
)
def test_what_is_no_ciphertext_is_refused_by_name(data):
    with pytest.raises(MessageError, match="field"):
        seal.ciphertexts(STANDARD, [data], 1, "field")


def test_a_ciphertext_is_no_key():
    with pytest.raises(MessageError, match="key"):
        seal.public_key(STANDARD, CIPHERTEXT)


def test_other_parameters_are_refused():
    other = Parameters("OTHER", n=4096, t=40961, log_q=109)
    encryptor = seal.sealapi.Encryptor(seal.context(other), _key_for(other))
    out = seal.sealapi.Ciphertext()
    encryptor.encrypt_zero(out)
    with pytest.raises(MessageError, match="field"):
        seal.ciphertexts(STANDARD, seal.to_bytes([out]), 1, "field")


def _key_for(parameters):
    key = seal.sealapi.PublicKey()
    seal.sealapi.KeyGenerator(seal.context(parameters)).create_public_key(key)
    return key


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 15), value=st.integers(0, 255))
def test_a_changed_header_is_refused_or_changes_nothing(position, value):
    data = bytearray(CIPHERTEXT)
    unchanged = data[position] == value
    data[position] = value
    minor_version_or_compression = position in (4, 5)
    try:
        (loaded,) = seal.ciphertexts(STANDARD, [bytes(data)], 1, "field")
    except MessageError:
        assert not unchanged
    else:
        assert unchanged or minor_version_or_compression
        assert seal.to_bytes([loaded]) == [CIPHERTEXT]


def test_the_context_is_128_bit_secure_by_seals_own_table():
    context = seal.context(STANDARD)
    assert context.parameters_set()
    (modulus,) = seal.sealapi.CoeffModulus.BFVDefault(STANDARD.n, seal.sealapi.SEC_LEVEL_TYPE.TC128)
    assert modulus.bit_count() == STANDARD.log_q
    assert seal.sealapi.BatchEncoder(context).slot_count() == STANDARD.n
    assert np.gcd(modulus.value(), STANDARD.t) == 1
