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
