"""Group arithmetic: laws, and every encoding that must not get in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.blind import group
from protocols.blind.group import ElementError, ScalarError

scalars = st.integers(1, group.ORDER - 1)

# Encodings that must be refused, one of each kind of RFC 9496, A.3, and two of ours.
BAD_ENCODINGS = {
    "non-canonical field element": "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "negative field element": "0100000000000000000000000000000000000000000000000000000000000000",
    "non-square x^2": "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "negative x*y": "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    "highest bit": "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2df6",  # of G; 4.3.1, step 1
    "identity with the highest bit": "0000000000000000000000000000000000000000000000000000000000000080",
    "s = -1": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}


def rows(*data):
    return np.frombuffer(b"".join(data), np.uint8).reshape(-1, 32)


def base(value):
    return group.multiply_base(rows(group.small_scalar(value)))


@given(scalars, scalars)
def test_multiples_of_the_generator_add_up(a, b):
    together = base(a + b) if (a + b) % group.ORDER else rows(bytes(32))
    assert (group.add(base(a), base(b)) == together).all()
    assert (group.multiply(group.small_scalar(a), base(b)) == group.multiply(group.small_scalar(b), base(a))).all()


def test_first_multiples_are_those_of_rfc_9496():
    assert base(1).tobytes().hex() == "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
    assert base(2).tobytes().hex() == "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_inverses_undo_a_batch_of_multiplications(count):
    factors = group.random_scalars(count)
    elements = group.hash_to_group([bytes([n]) for n in range(count)], b"test")
    assert (group.multiply(group.invert(factors), group.multiply(factors, elements)) == elements).all()


def test_weighted_sum_is_the_sum_of_products():
    factors, elements = rows(*map(group.small_scalar, (2, 3, 5))), rows(*(base(n).tobytes() for n in (7, 11, 13)))
    assert group.weighted_sum(factors, elements) == base(2 * 7 + 3 * 11 + 5 * 13).tobytes()


@pytest.mark.parametrize("kind", BAD_ENCODINGS)
def test_what_is_not_on_the_group_is_refused_wherever_it_comes_in(kind):
    bad = rows(base(1).tobytes(), bytes.fromhex(BAD_ENCODINGS[kind]))
    good = rows(base(2).tobytes(), base(3).tobytes())
    for use in (
        lambda: group.multiply(group.random_scalars(2), bad),
        lambda: group.multiply(group.small_scalar(5), bad),
        lambda: group.add(good, bad),
        lambda: group.add(bad, good),
        lambda: group.check(bad, "elements"),
    ):
        with pytest.raises(ElementError) as error:
            use()
        assert error.value.row == 1


def test_the_identity_and_wrong_lengths_are_refused():
    with pytest.raises(ElementError, match=r"elements\[1\] is the identity"):
        group.elements(base(1).tobytes() + bytes(32), 2, "elements")
    for high in ("highest bit", "identity with the highest bit"):
        with pytest.raises(ElementError, match=r"elements\[1\] is not a canonical encoding"):
            group.elements(base(1).tobytes() + bytes.fromhex(BAD_ENCODINGS[high]), 2, "elements")
    with pytest.raises(ElementError, match="elements: 63 bytes"):
        group.elements(bytes(63), 2, "elements")
    with pytest.raises(ElementError):
        group.multiply(group.random_scalars(1), rows(bytes(32)))
    with pytest.raises(ElementError):
        group.check(rows(bytes(32)), "elements")


def test_batches_that_do_not_fit_each_other_are_refused():
    three = rows(*(base(n).tobytes() for n in (1, 2, 3)))
    for scalars in (group.random_scalars(2), group.random_scalars(4), b"\x01" * 31):
        with pytest.raises(ScalarError, match="for 3 elements"):
            group.multiply(scalars, three)
    for other in (three[:2], np.concatenate([three, three])):
        with pytest.raises(ElementError, match="to be added"):
            group.add(three, other)


def test_zero_and_out_of_range_scalars_are_refused():
    for bad in (bytes(32), group.ORDER.to_bytes(32, "little"), b"\xff" * 32, b"\x01" * 31):
        with pytest.raises(ScalarError, match="key is not a scalar"):
            group.scalar(bad, "key")
    with pytest.raises(ScalarError, match="scalar 0 is zero"):
        group.multiply_base(rows(bytes(32)))
    assert group.scalar(group.small_scalar(-1), "key") == (group.ORDER - 1).to_bytes(32, "little")
