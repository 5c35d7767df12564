"""Entries: shares that add up, seals that open for one member and one entry only, the check that bits are bits."""

import secrets

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import IntegrityError, MessageError
from protocols.scan import entries as module
from protocols.scan.entries import (
    CHECKS,
    SHARES,
    check_sums,
    expand,
    held_by,
    keep,
    kept_share,
    open_entry,
    seal_entry,
    seal_shares,
    share_bytes,
    share_of,
)
from protocols.scan.parameters import Parameters
from protocols.scan.sampling import fresh_seed
from protocols.scan.sealing import Identity, Verifier
from tests.protocols.scan.parties import flipped

P = Parameters("INSECURE_TINY", lanes=1)
IDENTITIES = {member: Identity(f"member-{member}") for member in SHARES}
MEMBERS = [Verifier(identity.public) for identity in IDENTITIES.values()]


def shares_of(values):
    """Raw shares of arbitrary numbers mod 2^64, (bits,) uint64: what a dishonest client would seal."""
    seeds = secrets.token_bytes(32), secrets.token_bytes(32)
    third = values - expand(1, seeds[0], len(values)) - expand(2, seeds[1], len(values))
    return {1: seeds[0], 2: seeds[1], 3: third.tobytes()}


def sealed(values, entry=None):
    return seal_shares(shares_of(values), entry or secrets.token_bytes(16), P, 1, MEMBERS)


def opened(entry, member, /, **changes):
    fields = {"sealed": entry.sealed[member - 1], "entry": entry.entry, "commitments": entry.commitments} | changes
    return open_entry(
        IDENTITIES[member], fields["sealed"], fields["entry"], fields["commitments"], P, changes.get("epoch", 1), member
    )


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=10, deadline=None)
def test_three_shares_add_up_to_the_bits_whichever_holder_is_asked(row):
    bits = np.unpackbits(np.frombuffer(row, dtype=np.uint8))
    entry = seal_entry(bits, P, 1, MEMBERS)
    held = {member: opened(entry, member) for member in SHARES}
    copies = {share: [share_of(m, share, held[m], 256) for m in SHARES if share in held_by(m)] for share in SHARES}
    assert all(len(two) == 2 and np.array_equal(*two) for two in copies.values())
    assert np.array_equal(sum(two[0] for two in copies.values()), bits.astype(np.uint64))


def test_an_upload_is_small_and_every_entry_fresh():
    bits = np.zeros(256, dtype=np.uint8)
    one, two = (seal_entry(bits, P, 1, MEMBERS) for _ in range(2))
    assert one.entry != two.entry
    assert one.commitments != two.commitments
    assert sum(map(len, one.sealed)) + len(one.commitments) + len(one.entry) <= 9 * 1024


def test_no_two_shares_tell_anything_without_the_third():
    """Shares 1 and 2 are seeds, share 3 is masked by both: with one of them missing it is uniform."""
    bits = np.ones(256, dtype=np.uint8)
    thirds = np.array([expand(3, shares_of(bits.astype(np.uint64))[3], 256) for _ in range(60)])
    ones = np.unpackbits(thirds.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 7 * 0.5 / np.sqrt(thirds.nbytes * 8)


@pytest.mark.parametrize("member", SHARES)
def test_a_seal_opens_for_its_member_entry_commitments_and_epoch_only(member):
    entry = seal_entry(np.zeros(256, dtype=np.uint8), P, 1, MEMBERS)
    assert len(opened(entry, member)) == sum(share_bytes(share, 256) for share in held_by(member))
    other = seal_entry(np.zeros(256, dtype=np.uint8), P, 1, MEMBERS)
    for changes in (
        {"sealed": entry.sealed[member % 3]},
        {"sealed": flipped(entry.sealed[member - 1])},
        {"sealed": flipped(entry.sealed[member - 1], 0)},
        {"sealed": entry.sealed[member - 1][:-1]},
        {"sealed": b""},
        {"entry": other.entry},
        {"commitments": other.commitments},
        {"epoch": 2},
    ):
        with pytest.raises(IntegrityError, match="do not open"):
            opened(entry, member, **changes)


def test_with_the_context_unbound_a_copied_seal_opens_under_another_id(monkeypatch):
    """Why the seal binds id and recipient: else somebody's sealed entry could be enrolled again as one's own."""
    entry = seal_entry(np.zeros(256, dtype=np.uint8), P, 1, MEMBERS)
    with pytest.raises(IntegrityError):
        opened(entry, 1, entry=bytes(16))
    monkeypatch.setattr(module, "_context", lambda *arguments: b"")
    monkeypatch.setattr(module, "_commitment", lambda entry, share, opening, raw: module.digest("x", opening, raw))
    entry = seal_entry(np.zeros(256, dtype=np.uint8), P, 1, MEMBERS)
    assert opened(entry, 1, entry=bytes(16))


@pytest.mark.parametrize("share", SHARES)
def test_a_share_of_the_wrong_length_is_refused_without_quoting_it(share):
    raw = shares_of(np.zeros(256, dtype=np.uint64))
    raw[share] += b"canary!!"
    entry = seal_shares(raw, secrets.token_bytes(16), P, 1, MEMBERS)
    for member in SHARES:
        if share in held_by(member):
            with pytest.raises(MessageError, match="wrong length") as error:
                opened(entry, member)
            assert "canary" not in str(error.value)
        else:
            opened(entry, member)


@pytest.mark.parametrize("share", SHARES)
def test_replicated_shares_that_differ_are_refused_and_unnoticed_without_commitments(share, monkeypatch):
    """Two holders of one share are given different ones, each sealed properly."""
    raw, other = (shares_of(np.zeros(256, dtype=np.uint64)) for _ in range(2))

    def inconsistent():
        entry_id = secrets.token_bytes(16)
        good, bad = raw, raw | {share: other[share]}
        member = next(m for m in SHARES if share in held_by(m))
        openings = {s: fresh_seed() for s in SHARES}
        commitments = b"".join(module._commitment(entry_id, s, openings[s], good[s]) for s in SHARES)
        sealed = []
        for m, keys in zip(SHARES, MEMBERS, strict=True):
            plain = b"".join(openings[s] + (bad if m == member else good)[s] for s in held_by(m))
            sealed.append(keys.seal(plain, module._context(P, 1, entry_id, m, commitments)))
        return member, module.SealedEntry(entry_id, commitments, sealed)

    member, entry = inconsistent()
    with pytest.raises(IntegrityError, match=f"share {share} is not the one committed to"):
        opened(entry, member)
    for m in SHARES:
        if m != member:
            opened(entry, m)
    monkeypatch.setattr(module, "same", lambda left, right: True)
    holders = [m for m in SHARES if share in held_by(m)]
    copies = [share_of(m, share, opened(entry, m), 256) for m in holders]
    assert not np.array_equal(*copies)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_ids_and_commitments_of_another_length_are_refused(length):
    entry = seal_entry(np.zeros(256, dtype=np.uint8), P, 1, MEMBERS)
    with pytest.raises(MessageError, match="16 bytes"):
        opened(entry, 1, entry=bytes(length))
    with pytest.raises(MessageError, match="96 bytes"):
        opened(entry, 1, commitments=bytes(96 + length - 16))


def check(values, seed):
    """The three members' sums of entries with the given numbers, added up, (entries, CHECKS)."""
    raw = [shares_of(row) for row in values]
    total = np.zeros((len(values), CHECKS), dtype=np.uint64)
    for member in SHARES:
        held = [b"".join(one[share] for share in held_by(member)) for one in raw]
        total += check_sums(member, held, values.shape[1], seed)
    return total


@given(st.binary(min_size=96, max_size=96))
@settings(max_examples=10, deadline=None)
def test_bits_pass_every_check(rows):
    bits = np.unpackbits(np.frombuffer(rows, dtype=np.uint8)).reshape(3, 256)
    assert not check(bits.astype(np.uint64), fresh_seed()).any()


@pytest.mark.parametrize("value", [2, 3, 2**64 - 1, 1 << 9, 1 << 48, (1 << 48) + 1, (1 << 63) + 2])
@pytest.mark.parametrize("place", [0, 255])
def test_one_number_that_is_no_bit_fails(value, place):
    values = np.zeros((3, 256), dtype=np.uint64)
    values[1, place] = value
    total = check(values, fresh_seed())
    assert total[1].any()
    assert not total[[0, 2]].any()


@given(value=st.integers(2, (1 << 49) - 1))
def test_v_times_v_minus_1_is_never_divisible_by_2_49(value):
    """The bound of the check: 2-adic valuation at most 48, so a random rho hides it with probability 2^-16."""
    assert value * (value - 1) % (1 << 49)


def test_a_number_that_is_a_bit_mod_2_49_passes_at_times_and_is_harmless():
    """v = 2^49: planes depend on v mod 2^49 only, so this is 0 to everybody."""
    values = np.zeros((1, 256), dtype=np.uint64)
    values[0, 0] = 1 << 49
    assert (values.astype(object)[0, 0] * 2) % (1 << 50) == 0


def test_the_worst_number_passes_one_check_about_once_in_2_16():
    """Measured: v = 2^48 has v(v-1) of valuation 48; rho must be 0 mod 2^16."""
    rho = np.random.default_rng(0).integers(0, 1 << 64, 1 << 22, dtype=np.uint64, endpoint=False)
    passed = int((rho * np.uint64((1 << 48) * ((1 << 48) - 1) % (1 << 64)) == 0).sum())
    assert 20 < passed < 130  # 64 expected


@pytest.mark.parametrize("bits", [64, 256])
def test_what_is_kept_of_shares_is_what_planes_depend_on(bits):
    rng = np.random.default_rng(3)
    third = rng.integers(0, 2**64, bits, dtype=np.uint64)
    third[:2] = 0, 2**64 - 1
    raw = {1: rng.bytes(32), 2: rng.bytes(32), 3: third.tobytes()}
    for member in SHARES:
        first, second = held_by(member)
        kept = keep(member, raw[first] + raw[second], bits)
        assert len(kept) == (64 if member == 1 else 32 + bits * 49 // 8)
        for share in (first, second):
            expected = expand(share, raw[share], bits)
            modulus = np.uint64(2**49 - 1) if share == 3 else np.uint64(2**64 - 1)
            assert np.array_equal(kept_share(member, share, kept, bits), expected & modulus)
