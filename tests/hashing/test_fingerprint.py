"""What is not a fingerprint is refused by name."""

import numpy as np
import pytest

from hashing import Fingerprint, FingerprintError, pack, pack_margins


@pytest.mark.parametrize(("given", "word"), [(None, "NoneType"), (["x", None], "NoneType, str"), ([], "at least one")])
def test_pack_names_what_it_cannot_pack(given, word):
    with pytest.raises(FingerprintError, match=word):
        pack(given)


def test_pack_keeps_rows_in_order():
    rows = [Fingerprint("phash", bytes([value] * 8)) for value in (1, 2)]
    assert pack(iter(rows)).tolist() == [[1] * 8, [2] * 8]


def test_margins_are_packed_where_every_fingerprint_has_them_and_must_fit():
    known = [Fingerprint("phash", bytes(8), margins=np.full(64, value)) for value in (1.0, 2.0)]
    assert pack_margins(known).tolist() == [[1.0] * 64, [2.0] * 64]
    assert pack_margins([*known, Fingerprint("phash", bytes(8))]) is None
    assert known[0] == known[1]
    assert "1.0" not in repr(known[0])
    with pytest.raises(FingerprintError, match="margins"):
        Fingerprint("phash", bytes(8), margins=np.zeros(256))


def test_a_match_needs_one_algorithm_a_near_hash_and_quality_on_both_sides():
    def print_of(bits, quality=50):
        return Fingerprint.from_bits(np.arange(256) < bits, "pdq", quality)

    assert print_of(0).matches(print_of(31))
    assert not print_of(0).matches(print_of(32))
    assert not print_of(0, 49).matches(print_of(0))
    assert not print_of(0).matches(print_of(0, 49))
    with pytest.raises(FingerprintError, match="cannot be compared"):
        print_of(0).matches(Fingerprint("phash", bytes(8)))
