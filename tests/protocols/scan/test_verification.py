"""One member's steps by themselves: what a seed, a challenge and a sealed share are bound to."""

from types import SimpleNamespace

import pytest

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.scan.matching_messages import ScanHeader, SignedHeader
from protocols.scan.parameters import Parameters
from protocols.scan.proof import length
from protocols.scan.proof_messages import ProofToss
from protocols.scan.sealing import Identity, digest
from protocols.scan.verification import Batch, Verification, proof_of, share_info

P = Parameters("INSECURE_TINY", lanes=1)
SIGNED = SignedHeader(b"what the platform signed", b"")
SIZE = 8 * 4 * length(P, 1)


def header(**fields):
    base = {"session": bytes(16), "epoch": 1, "version": 1, "block": 0, "block_digest": b"", "pair": [1, 2]}
    base |= {"batch": 4, "platform": "platform-1", "c0_digest": b"", "c1_digest": b"", "shares_digest": []}
    return ScanHeader(**base | fields)


def verification(member=1, signed=SIGNED, **fields):
    empty = memoryview(b"")
    return Verification(member, Identity("member-1"), P, Batch(signed, header(**fields), empty, empty, b"", None))


def test_a_commitment_is_taken_once():
    one = verification()
    one.receive_commitment(verification(2).commitment)
    with pytest.raises(ReplayError, match="committed to before"):
        one.receive_commitment(verification(2).commitment)


def test_a_commitment_is_of_one_member_session_and_seed():
    one, two, seed = verification(), verification(2), bytes(32)
    one._seed = two._seed = seed
    assert one.commitment == verification()._commitment(1, seed)
    assert len({one.commitment, two.commitment, verification().commitment}) == 3
    assert one.commitment != verification(session=b"another session.")._commitment(1, seed)


def challenge(signed=SIGNED):
    one, two = verification(signed=signed), verification(2, signed)
    one._seed, two._seed = b"1" * 32, b"2" * 32
    one.receive_commitment(two.commitment)
    two.receive_commitment(one.commitment)
    for verified, sender, seed in ((one, 2, two._seed), (two, 1, one._seed)):
        verified.receive_toss(sender, ProofToss(bytes(16), seed))
    assert one._challenge_seed == two._challenge_seed
    return one._challenge_seed


def test_the_challenge_depends_on_what_the_platform_signed():
    """Members that were given different headers, with whatever seeds, do not draw the same challenge."""
    assert challenge() == challenge()
    assert challenge() != challenge(SignedHeader(b"something else", b""))


def test_a_sealed_share_is_bound_to_all_that_it_is_for():
    fields, platform, receiver, results = (b"session", 1, 2, 3), "platform-1", 1, b"results"
    others = [
        share_info((b"another", 1, 2, 3), platform, receiver, results),
        share_info((b"session", 9, 2, 3), platform, receiver, results),
        share_info((b"session", 1, 9, 3), platform, receiver, results),
        share_info((b"session", 1, 2, 9), platform, receiver, results),
        share_info(fields, "platform-2", receiver, results),
        share_info(fields, platform, 2, results),
        share_info(fields, platform, receiver, b"others"),
    ]
    assert len({share_info(fields, platform, receiver, results), *others}) == 8


@pytest.mark.parametrize(("member", "size"), [(1, SIZE - 8), (1, SIZE + 8), (1, 0), (2, SIZE)])
def test_a_proof_of_another_length_is_refused_though_it_is_the_one_that_was_signed(member, size):
    def given(size):
        masked = memoryview(bytes(size))
        signed = header(shares_digest=[digest("shares", b"", masked)] * 2)
        message = SimpleNamespace(header=SIGNED, c1=masked, c0=masked, sealed=b"", masked=masked)
        return message, signed, member, Identity("member-1"), P, 1

    assert isinstance(proof_of(*given(SIZE if member == 1 else 0)), Verification)
    with pytest.raises(MessageError, match="wrong length"):
        proof_of(*given(size))
    message, signed, *rest = given(SIZE if member == 1 else 0)
    message.sealed = b"another seed"
    with pytest.raises(IntegrityError, match="not the one that its header is about"):
        proof_of(message, signed, *rest)
