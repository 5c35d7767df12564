"""The ceremony: shares of one key, and dealers that cheat."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError
from protocols.blind import group, keys, oprf
from protocols.blind.messages import CeremonyCommitments, CeremonyShare, Manifest
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


def without(n, values):
    return {m: v for m, v in values.items() if m != n}


def parts(ceremonies, receiver):
    return (
        without(receiver, {n: c.digest for n, c in ceremonies.items()}),
        without(receiver, {n: c.commitments for n, c in ceremonies.items()}),
        without(receiver, {n: c.share_for(receiver) for n, c in ceremonies.items()}),
    )


def test_a_wrong_share_is_caught_and_its_dealer_named(ceremonies):
    digests, commitments, shares = parts(ceremonies, 1)
    shares[3] = CeremonyShare(group.scalar_add(shares[3].share, group.small_scalar(1)))
    with pytest.raises(IntegrityError, match="member-3 dealt a share"):
        ceremonies[1].finish(digests, commitments, shares)


def test_a_share_meant_for_another_member_is_caught(ceremonies):
    digests, commitments, shares = parts(ceremonies, 1)
    shares[2] = ceremonies[2].share_for(3)
    with pytest.raises(IntegrityError, match="member-2 dealt a share"):
        ceremonies[1].finish(digests, commitments, shares)


def test_choosing_commitments_after_seeing_the_others_is_caught(ceremonies):
    digests, commitments, shares = parts(ceremonies, 1)
    rogue = keys.Ceremony(3, epoch=1)  # dealt anew, in the light of what members 1 and 2 published
    commitments[3], shares[3] = rogue.commitments, rogue.share_for(1)
    with pytest.raises(IntegrityError, match="member-3 published other commitments than it promised"):
        ceremonies[1].finish(digests, commitments, shares)


def test_a_promise_is_of_one_dealer_and_one_epoch(ceremonies):
    """Who repeats what another published would otherwise double that one's part of the key, without knowing it."""
    digests, commitments, shares = parts(ceremonies, 1)
    echo = [values | {2: values[3]} for values in (digests, commitments, shares)]
    with pytest.raises(IntegrityError, match="member-2 published other commitments than it promised"):
        ceremonies[1].finish(*echo)
    with pytest.raises(IntegrityError, match="published other commitments than it promised"):
        keys.Ceremony(1, epoch=2).finish(digests, commitments, shares)


@pytest.mark.parametrize("bad", [bytes(32), group.ORDER.to_bytes(32, "little"), b"", b"\x01" * 33])
def test_a_zero_or_malformed_share_is_refused_by_name(ceremonies, bad):
    digests, commitments, shares = parts(ceremonies, 2)
    shares[1] = CeremonyShare(bad)
    with pytest.raises(group.ScalarError, match="member-1"):
        ceremonies[2].finish(digests, commitments, shares)


@pytest.mark.parametrize("bad", [bytes(64), b"\xff" * 64, b"\x01" * 31], ids=["identity", "off the group", "short"])
def test_malformed_commitments_are_refused_by_name(bad):
    ceremonies = {n: keys.Ceremony(n, epoch=1) for n in keys.NUMBERS}
    ceremonies[3]._commitments = bad  # its digest fits: it promised just this
    with pytest.raises(group.ElementError, match="member-3"):
        ceremonies[1].finish(*parts(ceremonies, 1))


def test_a_ceremony_that_lacks_somebody_does_not_finish(ceremonies):
    digests, commitments, shares = parts(ceremonies, 1)
    for missing in (digests, commitments, shares):
        value = missing.pop(2)
        with pytest.raises(MessageError, match="from each of"):
            ceremonies[1].finish(digests, commitments, shares)
        missing[2] = value


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


def test_commitments_do_not_carry_the_share(ceremonies):
    assert isinstance(ceremonies[1].commitments, CeremonyCommitments)
    share = ceremonies[1].share_for(2).share
    assert share not in ceremonies[1].commitments.elements
    assert np.frombuffer(share, np.uint8).any()
