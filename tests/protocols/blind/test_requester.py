"""The requester against members that lie: every way caught, every liar named."""

import msgspec
import numpy as np
import pytest

from protocols.base import InputError, IntegrityError, MessageError
from protocols.blind import group, keys
from protocols.blind.checker import Checker
from protocols.blind.client import Client
from protocols.blind.group import ElementError, ScalarError
from protocols.blind.messages import EvaluatedElements
from protocols.blind.requester import Requester

OFF_THE_GROUP = bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371")  # RFC 9496, A.3
INPUTS = [b"a", b"b", b"c", b"d"]


def rows(data):
    return np.frombuffer(data, np.uint8).reshape(-1, 32).copy()


@pytest.fixture(params=[True, False], ids=["VOPRF", "OPRF"])
def both(request, committee):
    setup = committee(proofs=request.param)
    return setup, Requester(setup.parameters, setup.manifests)


@pytest.fixture
def checked(committee):
    setup = committee(proofs=True)
    return setup, Requester(setup.parameters, setup.manifests)


def ask(setup, requester, inputs=INPUTS):
    pending, request = requester.request(inputs)
    return pending, setup.answer(request), request


def test_every_pair_gives_the_same_tokens_and_all_pairs_are_asked_in_turn(both):
    setup, requester = both
    tokens, asked = [], []
    for _ in range(6):
        pending, answers, request = ask(setup, requester)
        asked.append(request.members)
        tokens.append(requester.finish(pending, answers))
    assert sorted(asked) == sorted(keys.QUORUMS * 2)
    assert all((other == tokens[0]).all() for other in tokens)
    assert len({row.tobytes() for row in tokens[0]}) == len(INPUTS)


def test_requests_for_the_same_inputs_are_unlinkable(checked):
    _, requester = checked
    first, second = (rows(requester.request(INPUTS)[1].elements) for _ in range(2))
    assert len(first) == len(INPUTS) + 1
    assert len({row.tobytes() for row in np.concatenate([first, second])}) == 2 * len(INPUTS) + 2


def altered(answers, member, elements=None, proof=None):
    changes = {"elements": elements, "proof": proof}
    changed = msgspec.structs.replace(answers[member], **{k: v for k, v in changes.items() if v is not None})
    return answers | {member: changed}


@pytest.mark.parametrize("lie", ["one element", "all elements", "all but the check", "two swapped", "plus and minus"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_wrong_evaluation_is_caught_and_the_member_named(checked, lie, place):
    setup, requester = checked
    pending, answers, request = ask(setup, requester)
    liar = request.members[place]
    given = rows(answers[liar].elements)
    wrong = group.multiply(group.random_scalars(len(given)), given)
    shift = group.multiply_base(group.random_scalars(1))
    if lie == "one element":
        given[2] = wrong[2]
    elif lie == "all elements":
        given[:] = group.multiply(group.random_scalars(1).tobytes(), given)
    elif lie == "all but the check":
        given[:-1] = group.multiply(group.random_scalars(1).tobytes(), given[:-1])
    elif lie == "two swapped":
        given[[0, 1]] = given[[1, 0]]
    else:
        given[0] = group.add(given[:1], shift)[0]
        given[1] = group.add(given[1:2], group.multiply(group.small_scalar(-1), shift))[0]
    with pytest.raises(IntegrityError, match=f"member-{liar}"):
        requester.finish(pending, altered(answers, liar, given.tobytes()))


def test_two_liars_who_do_not_cancel_are_caught(checked):
    setup, requester = checked
    pending, answers, request = ask(setup, requester)
    for member in request.members:
        given = rows(answers[member].elements)
        given[0] = group.add(given[:1], group.multiply_base(group.random_scalars(1)))[0]
        answers = altered(answers, member, given.tobytes())
    with pytest.raises(IntegrityError, match=f"member-{request.members[0]}"):
        requester.finish(pending, answers)


def test_an_answer_that_cancels_the_other_is_caught(checked):
    setup, requester = checked
    pending, answers, (first, second) = (lambda p, a, r: (p, a, r.members))(*ask(setup, requester))
    given, other = rows(answers[second].elements), rows(answers[first].elements)
    given[0] = group.multiply(group.small_scalar(-1), other[:1])[0]
    with pytest.raises(IntegrityError, match=f"member-{second}"):
        requester.finish(pending, altered(answers, second, given.tobytes()))


def test_a_forged_proof_a_replayed_proof_and_a_replayed_answer_are_caught(checked):
    setup, requester = checked
    old_pending, old, _ = ask(setup, requester)
    requester.request(INPUTS)
    requester.request(INPUTS)  # the same pair again, after a round
    pending, answers, request = ask(setup, requester)
    assert pending.members == old_pending.members
    member = request.members[1]
    forged = answers[member].proof[:32] + group.random_scalars(1).tobytes()
    for bad in (
        altered(answers, member, proof=forged),
        altered(answers, member, proof=old[member].proof),
        answers | {member: old[member]},
    ):
        with pytest.raises(IntegrityError, match=f"member-{member}: its proof does not verify"):
            requester.finish(pending, bad)


def test_a_member_that_answers_for_another_is_caught(checked):
    setup, requester = checked
    pending, answers, request = ask(setup, requester)
    first, second = request.members
    with pytest.raises(IntegrityError, match=f"member-{second}"):
        requester.finish(pending, answers | {second: answers[first]})


@pytest.mark.parametrize("proof", [b"", bytes(64), b"\xff" * 64, b"\x01" * 63])
def test_malformed_proofs_name_the_member(checked, proof):
    setup, requester = checked
    pending, answers, request = ask(setup, requester)
    member = request.members[0]
    with pytest.raises(ScalarError, match=f"member-{member}"):
        requester.finish(pending, altered(answers, member, proof=proof))


@pytest.mark.parametrize(
    "kind", ["identity", "off the group", "high bit", "identity with the high bit", "short", "one more", "empty"]
)
@pytest.mark.parametrize("place", [0, 1])
def test_malformed_answers_name_the_member_in_both_modes(both, kind, place):
    setup, requester = both
    pending, answers, request = ask(setup, requester)
    member, given = request.members[place], rows(answers[request.members[place]].elements)
    if kind == "identity":
        given[1] = 0
    elif kind == "off the group":
        given[1] = np.frombuffer(OFF_THE_GROUP, np.uint8)
    elif kind == "high bit":
        given[1, -1] |= 0x80
    elif kind == "identity with the high bit":
        given[1] = [0] * 31 + [0x80]
    data = {"short": given.tobytes()[:-1], "one more": given.tobytes() + given[0].tobytes(), "empty": b""}
    with pytest.raises(ElementError, match=f"member-{member}"):
        requester.finish(pending, altered(answers, member, data.get(kind, given.tobytes())))


def test_answers_of_other_members_than_asked_are_refused(checked):
    setup, requester = checked
    pending, answers, request = ask(setup, requester)
    stranger = ({1, 2, 3} - set(request.members)).pop()
    for bad in ({}, dict(list(answers.items())[:1]), answers | {stranger: EvaluatedElements(b"", b"")}):
        with pytest.raises(MessageError, match="were asked"):
            requester.finish(pending, bad)


def test_answers_that_cancel_are_caught_without_proofs_too(committee):
    setup = committee(proofs=False)
    requester = Requester(setup.parameters, setup.manifests)
    pending, answers, request = ask(setup, requester)
    first, second = request.members
    given, other = rows(answers[second].elements), rows(answers[first].elements)
    given[2] = group.multiply(group.small_scalar(-1), other[2:3])[0]
    with pytest.raises(IntegrityError, match=rf"members \({first}, {second}\) cancel"):
        requester.finish(pending, altered(answers, second, given.tobytes()))


def test_a_request_has_at_least_one_input_and_room_for_the_check(checked):
    _, requester = checked
    for inputs in ([], [b"x"] * 65_535):
        with pytest.raises(InputError, match="inputs has"):
            requester.request(inputs)


def test_keys_that_the_members_do_not_all_vouch_for_are_refused(committee):
    """Whoever carries manifests could else put a key of its own in their place."""
    setup, other = committee(), committee()
    good = setup.manifests
    first, second, third = (good[1].public_shares[at : at + 32] for at in (0, 32, 64))
    swapped = msgspec.structs.replace(good[1], public_shares=second + first + third)
    for role in (Requester, Client, Checker):
        for bad in (good | {3: other.manifests[3]}, {1: good[1], 2: good[2]}, dict.fromkeys(good, swapped)):
            with pytest.raises(IntegrityError):
                role(setup.parameters, bad)
        role(setup.parameters, good)


def test_nothing_secret_is_shown(checked):
    setup, requester = checked
    pending, _ = requester.request([b"the fingerprint's bits"])
    assert "fingerprint" not in repr(pending)
    assert repr(pending) == f"Pending(members={pending.members})"
    enrolment, _ = Client(setup.parameters, setup.manifests).request(np.full((1, 32), 170, np.uint8), None)
    assert repr(enrolment) == f"Enrolment(pending=Pending(members={enrolment.pending.members}))"
