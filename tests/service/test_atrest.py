"""Sealing at rest: what opens, and above all what does not."""

import stat

import pytest

from protocols.base import InputError, IntegrityError, MessageError
from protocols.ledger import decode, encode
from protocols.scan.sealing import Identity
from service import atrest
from service.atrest import Locked, Sealer, load_identity, lock, save_identity, unlock
from service.errors import WrongPassphrase

SECRET = b"a secret that nobody may read"


pytestmark = pytest.mark.usefixtures("cheap_scrypt")


def test_a_value_opens_in_its_place_only():
    sealer = Sealer(bytes(32))
    sealed = sealer.seal(SECRET, "shares", b"entry")
    assert sealer.open(sealed, "shares", b"entry") == SECRET
    assert len(sealed) == len(SECRET) + 28
    assert SECRET not in sealed
    for table, key in (("seen", b"entry"), ("shares", b"other"), ("share", b"sentry"), ("sharese", b"ntry")):
        with pytest.raises(IntegrityError, match="does not open"):
            sealer.open(sealed, table, key)
    with pytest.raises(IntegrityError):
        Sealer(bytes([1]) * 32).open(sealed, "shares", b"entry")


def test_no_altered_or_cut_value_opens():
    sealer = Sealer(bytes(32))
    sealed = sealer.seal(SECRET, "shares", b"entry")
    altered = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for wrong in [*altered, b"", sealed[:11], sealed[:27], sealed[:-1], sealed + b"\0"]:
        with pytest.raises(IntegrityError):
            sealer.open(wrong, "shares", b"entry")


def test_the_same_value_is_never_sealed_alike():
    sealer = Sealer(bytes(32))
    assert len({sealer.seal(SECRET, "shares", b"entry")[:12] for _ in range(100)}) == 100
    assert lock(SECRET, "passphrase", "test") != lock(SECRET, "passphrase", "test")


def test_a_lock_opens_with_its_passphrase_and_purpose_only():
    locked = lock(SECRET, "Übergröße", "test")
    assert unlock(locked, "Übergröße", "test") == SECRET  # the same letters, put together otherwise
    for passphrase, purpose in (("übergröße", "test"), ("Übergröße ", "test"), ("Übergröße", "other")):
        with pytest.raises(WrongPassphrase, match="wrong"):
            unlock(locked, passphrase, purpose)
    with pytest.raises(InputError, match="empty"):
        unlock(locked, "", "test")
    with pytest.raises(InputError, match="empty"):
        lock(SECRET, "", "test")


def test_costs_out_of_range_are_refused_before_they_are_spent():
    box = decode(lock(SECRET, "passphrase", "test"), Locked)
    for log_n, salt in ((0, box.salt), (40, box.salt), (-3, box.salt), (4, b"short")):
        with pytest.raises(MessageError, match="out of range"):
            unlock(encode(Locked(salt, log_n, box.sealed)), "passphrase", "test")


def test_scrypt_is_scrypt():
    # RFC 7914, section 12: scrypt("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1), its first 32 bytes
    expected = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    assert atrest.stretch(b"pleaseletmein", b"SodiumChloride", 14).hex() == expected


def test_keys_go_into_a_file_that_only_the_owner_reads_and_is_never_replaced(tmp_path):
    identity, path = Identity("member-1"), tmp_path / "member-1.key"
    save_identity(path, identity, "passphrase")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert identity.private_bytes()[-32:] not in path.read_bytes()
    assert load_identity(path, "member-1", "passphrase").public == identity.public
    for name, passphrase in (("member-1", "other"), ("member-2", "passphrase")):
        with pytest.raises(WrongPassphrase):
            load_identity(path, name, passphrase)
    with pytest.raises(FileExistsError):
        save_identity(path, Identity("member-1"), "passphrase")
    assert load_identity(path, "member-1", "passphrase").public == identity.public
    assert [each.name for each in tmp_path.iterdir()] == ["member-1.key"]
