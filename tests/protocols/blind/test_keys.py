"""The ceremony: shares of one key, and dealers that cheat."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.blind import group, keys, oprf
from protocols.blind.messages import CeremonyShare, Manifest
from protocols.blind.oprf import Mode


def combined(shares, quorum):
    total = bytes(32)
    for member in quorum:
        total = group.scalar_add(total, group.scalar_mul(keys.lagrange(member, quorum), shares[member]))
    return total


def test_any_two_shares_interpolate_to_the_key_and_one_alone_does_not(ceremonies, run_ceremony):
    outcome = run_ceremony(ceremonies)
    shares = {n: share for n, (share, _) in outcome.items()}
    manifests = [manifest for _, manifest in outcome.values()]
    assert manifests[0] == manifests[1] == manifests[2]
    whole = {combined(shares, quorum) for quorum in keys.QUORUMS}
    assert len(whole) == 1
    assert oprf.public_key(whole.pop()) == manifests[0].public_key
    for member, share in shares.items():
        assert oprf.public_key(share) == manifests[0].public_shares[32 * (member - 1) : 32 * member]
        assert oprf.public_key(share) != manifests[0].public_key


def test_any_two_members_evaluate_as_the_holder_of_the_key_would(ceremonies, run_ceremony):
    outcome = run_ceremony(ceremonies)
    shares = {n: share for n, (share, _) in outcome.items()}
    inputs = [b"one", b"two"]
    blinds, blinded = oprf.blind(inputs, Mode.VOPRF)
    whole = oprf.finalize(inputs, blinds, oprf.blind_evaluate(combined(shares, (1, 2)), blinded))
    for quorum in keys.QUORUMS:
        parts = [
            oprf.blind_evaluate(group.scalar_mul(keys.lagrange(member, quorum), shares[member]), blinded)
            for member in quorum
        ]
        assert (oprf.finalize(inputs, blinds, group.add(*parts)) == whole).all()
        assert (oprf.finalize(inputs, blinds, parts[0]) != whole).any(axis=1).all()


def test_a_wrong_share_is_caught_and_its_dealer_named(ceremonies, heard):
    commitments, shares = heard(1, ceremonies)
    shares[3] = CeremonyShare(group.scalar_add(shares[3].share, group.small_scalar(1)))
    with pytest.raises(IntegrityError, match="member-3 dealt a share"):
        ceremonies[1].finish(commitments, shares)


def test_a_share_meant_for_another_member_is_caught(ceremonies, heard):
    commitments, shares = heard(1, ceremonies)
    shares[2] = ceremonies[2].share_for(3)
    with pytest.raises(IntegrityError, match="member-2 dealt a share"):
        ceremonies[1].finish(commitments, shares)


def test_choosing_commitments_after_seeing_the_others_is_caught(ceremonies, heard):
    commitments, shares = heard(1, ceremonies)
    rogue = keys.Ceremony(3, epoch=1)  # dealt anew, in the light of what members 1 and 2 published
    commitments[3] = rogue.commitments({n: ceremonies[n].digest for n in (1, 2)})
    shares[3] = rogue.share_for(1)
    with pytest.raises(IntegrityError, match="member-3 published other commitments than it promised"):
        ceremonies[1].finish(commitments, shares)


def test_nothing_is_published_before_everybody_has_promised(ceremonies):
    first, digests = ceremonies[1], {n: ceremonies[n].digest for n in (2, 3)}
    for early in ({}, {2: digests[2]}, digests | {1: first.digest}):
        with pytest.raises(MessageError, match="digests came from"):
            first.commitments(early)
    for member in (2, 3):
        with pytest.raises(MessageError, match="once their digests are in"):
            first.share_for(member)
    first.commitments(digests)
    for member in (0, 1, 4):  # at 0 is the dealer's part of the key itself
        with pytest.raises(MessageError, match="deals to"):
            first.share_for(member)
    with pytest.raises(ReplayError, match="other digests"):
        first.commitments(digests | {3: digests[2]})
    assert first.commitments(digests).elements == first._commitments


def test_a_promise_is_of_one_dealer_and_one_epoch(ceremonies, heard):
    """Who repeats what another published would otherwise double that one's part of the key, without knowing it."""
    first, third = ceremonies[1], ceremonies[3]
    first.commitments({2: third.digest, 3: third.digest})
    commitments = third.commitments({n: ceremonies[n].digest for n in (1, 2)})
    echo = [{2: value, 3: value} for value in (commitments, third.share_for(1))]
    with pytest.raises(IntegrityError, match="member-2 published other commitments than it promised"):
        first.finish(*echo)
    honest = {number: keys.Ceremony(number, epoch=1) for number in keys.NUMBERS}
    later = keys.Ceremony(1, epoch=2)
    later.commitments({n: honest[n].digest for n in (2, 3)})
    with pytest.raises(IntegrityError, match="member-2 published other commitments than it promised"):
        later.finish(*heard(1, honest))


def test_a_dealer_that_gives_somebody_zero_is_named_by_everybody(ceremonies, heard):
    slope = ceremonies[3]._coefficients[1].tobytes()
    zero_at_2 = group.scalar_mul(slope, group.small_scalar(-2))
    ceremonies[3]._coefficients = np.frombuffer(zero_at_2 + slope, np.uint8).reshape(2, 32)
    ceremonies[3]._commitments = group.multiply_base(ceremonies[3]._coefficients).tobytes()
    for number in (1, 2):
        with pytest.raises(IntegrityError, match="member-3 dealt somebody a share of zero"):
            ceremonies[number].finish(*heard(number, ceremonies))


@pytest.mark.parametrize("bad", [bytes(32), group.ORDER.to_bytes(32, "little"), b"", b"\x01" * 33])
def test_a_zero_or_malformed_share_is_refused_by_name(ceremonies, heard, bad):
    commitments, shares = heard(2, ceremonies)
    shares[1] = CeremonyShare(bad)
    with pytest.raises(group.ScalarError, match="member-1"):
        ceremonies[2].finish(commitments, shares)


OFF_THE_GROUP = bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371")  # RFC 9496, A.3


@pytest.mark.parametrize(
    "bad", [bytes(64), OFF_THE_GROUP * 2, b"\x01" * 31], ids=["identity", "off the group", "short"]
)
def test_malformed_commitments_are_refused_by_name(heard, bad):
    ceremonies = {n: keys.Ceremony(n, epoch=1) for n in keys.NUMBERS}
    ceremonies[3]._commitments = bad  # its digest fits: it promised just this
    with pytest.raises(group.ElementError, match="member-3"):
        ceremonies[1].finish(*heard(1, ceremonies))


def test_a_ceremony_that_lacks_somebody_does_not_finish(ceremonies, heard):
    commitments, shares = heard(1, ceremonies)
    for missing in (commitments, shares):
        value = missing.pop(2)
        with pytest.raises(MessageError, match="from each of"):
            ceremonies[1].finish(commitments, shares)
        missing[2] = value
    with pytest.raises(MessageError, match="from each of"):
        keys.Ceremony(1, epoch=1).finish(commitments, shares)


def test_a_manifest_with_a_swapped_share_is_refused(ceremonies, run_ceremony):
    _, good = run_ceremony(ceremonies)[1]
    keys.check_manifest(good)
    first, second, third = (good.public_shares[at : at + 32] for at in (0, 32, 64))
    stranger = oprf.public_key(group.random_scalars(1).tobytes())
    for bad in (
        Manifest(1, good.public_key, second + first + third),
        Manifest(1, good.public_key, first + second + stranger),
        Manifest(1, stranger, good.public_shares),
    ):
        with pytest.raises(IntegrityError, match="do not interpolate"):
            keys.check_manifest(bad)
    with pytest.raises(group.ElementError):
        keys.check_manifest(Manifest(1, good.public_key, first + second + b"\xff" * 32))
    with pytest.raises(group.ElementError):
        keys.check_manifest(Manifest(1, good.public_key, first + second))


def test_lagrange_wants_a_quorum():
    for members, member in [((1,), 1), ((1, 1), 1), ((1, 2, 3), 1), ((1, 4), 1), ((2, 3), 1), ((0, 1), 1)]:
        with pytest.raises(MessageError, match="members is"):
            keys.lagrange(member, members)


def test_manifests_must_come_from_every_member_and_agree(ceremonies, run_ceremony):
    good = {number: manifest for number, (_, manifest) in run_ceremony(ceremonies).items()}
    assert keys.agreed(good) == good[1]
    others = {n: keys.Ceremony(n, epoch=1) for n in keys.NUMBERS}
    other = run_ceremony(others)[1][1]
    for bad in ({}, {1: good[1]}, {1: good[1], 2: good[2]}, good | {4: good[1]}):
        with pytest.raises(IntegrityError, match="one from each"):
            keys.agreed(bad)
    with pytest.raises(IntegrityError, match="do not agree"):
        keys.agreed(good | {3: other})
    with pytest.raises(IntegrityError, match="do not interpolate"):
        keys.agreed(dict.fromkeys(good, Manifest(1, other.public_key, good[1].public_shares)))


def test_no_member_can_compute_the_key_from_its_share(ceremonies, run_ceremony):
    """A constant polynomial, or one that others can work out, would give the key away with one share."""
    for ceremony in ceremonies.values():
        constant, slope = (row.tobytes() for row in ceremony._coefficients)
        assert constant != slope
    outcome = run_ceremony(ceremonies)
    shares = {n: share for n, (share, _) in outcome.items()}
    whole = combined(shares, (1, 2))
    for number, share in shares.items():
        assert not any(group.scalar_mul(whole, group.small_scalar(n)) == share for n in range(1, 5)), number
    assert len({c._commitments for c in ceremonies.values()}) == 3
