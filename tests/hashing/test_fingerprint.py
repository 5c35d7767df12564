"""What is not a fingerprint is refused by name."""

import pytest

from hashing import Fingerprint, FingerprintError, pack


@pytest.mark.parametrize(("given", "word"), [(None, "NoneType"), (["x", None], "NoneType, str"), ([], "at least one")])
def test_pack_names_what_it_cannot_pack(given, word):
    with pytest.raises(FingerprintError, match=word):
        pack(given)


def test_pack_keeps_rows_in_order():
    rows = [Fingerprint("phash", bytes([value] * 8)) for value in (1, 2)]
    assert pack(iter(rows)).tolist() == [[1] * 8, [2] * 8]
