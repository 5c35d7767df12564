"""Case numbers and PINs: as random as they say, read as people write them, slowed down when wrong."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import InputError
from service import pins
from service.pins import Delays, case_id, hash_key, new_number, new_pin, pin_key


def test_numbers_and_pins_are_fresh_and_of_full_length():
    numbers = {new_number() for _ in range(200)}
    assert len(numbers) == 200
    assert all([len(part) for part in number.split("-")] == [4, 4, 4, 4] for number in numbers)
    assert all([len(part) for part in new_pin().split("-")] == [4, 4] for _ in range(20))
    assert set("".join(numbers)) - {"-"} == set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")  # 3,200 letters miss none


@given(st.binary(min_size=10, max_size=10))
def test_a_number_reads_back_as_its_bits(raw):
    text = pins._write(raw)
    value = 0
    for letter in text.replace("-", ""):
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(letter)
    assert value == int.from_bytes(raw, "big")
    assert case_id(text) == hashlib.sha256(b"hushmatch case number\0" + raw).digest()


def test_a_number_is_read_without_regard_to_case_hyphens_and_look_alikes():
    assert case_id("0123-4567-89AB-CDE1") == case_id("ol2345678 9abcdei")
    assert case_id("0123-4567-89AB-CDE1") != case_id("0123-4567-89AB-CDE2")


@pytest.mark.parametrize("text", ["", "0123", "0123-4567-89AB-CDEU", "0123-4567-89AB-CDEF-0", "é123-4567-89AB-CDEF"])
def test_what_is_no_number_is_refused_without_being_quoted(text):
    with pytest.raises(InputError, match="expected XXXX-XXXX-XXXX-XXXX") as caught:
        case_id(text)
    assert not text or text not in str(caught.value)


def test_a_pins_key_is_scrypt_salted_with_the_number_and_kept_as_its_hash():
    number = "0123-4567-89AB-CDE1"
    key = pin_key(number, "ABCD-EFGH")
    assert pin_key("ol23456789abcdei", "abcdefgh") == key
    assert pin_key(number, "ABCD-EFGJ") != key
    assert pin_key(new_number(), "ABCD-EFGH") != key
    raw_number, raw = bytes.fromhex("00443214c74254b635c1"), bytes.fromhex("52d8d73e11")  # letters in fives
    salt = hashlib.sha256(b"hushmatch PIN\0" + raw_number).digest()[:16]
    assert key == hashlib.scrypt(raw, salt=salt, n=2**14, r=8, p=1, dklen=32)
    assert hash_key(key) == hashlib.sha256(b"hushmatch key of a PIN\0" + key).digest()


def test_what_is_no_pin_and_no_key_is_refused_without_being_quoted():
    for pin in ("ABCD-EFG", "ABCD-EFGU", ""):
        with pytest.raises(InputError, match="PIN is not one; expected XXXX-XXXX"):
            pin_key(new_number(), pin)
    with pytest.raises(InputError, match="case number"):
        pin_key("0123", new_pin())
    with pytest.raises(InputError, match="31 bytes; expected 32"):
        hash_key(bytes(31))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_delays_double_to_a_minute_by_case_and_address():
    clock = Clock()
    delays = Delays(clock)
    assert [delays.wrong(b"case", "here") for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert delays.wrong(b"case", "there") == 1
    assert delays.wrong(b"other", "here") == 1
    delays.right(b"case", "there")
    assert delays.wrong(b"case", "there") == 1
    assert delays.wrong(b"case", "here") == 60  # who got it right elsewhere does not help here
    clock.now += 3600
    assert delays.wrong(b"case", "here") == 1


def test_memory_of_wrong_pins_is_bounded_and_holds_no_address(monkeypatch):
    monkeypatch.setattr(pins, "_REMEMBERED", 3)
    delays = Delays()
    for number in range(10):
        delays.wrong(bytes([number]), "192.0.2.1")
    assert len(delays._tries) == 3
    assert b"192.0.2.1" not in b"".join(delays._tries)
    assert delays.wrong(bytes([9]), "192.0.2.1") == 2  # the newest are kept
