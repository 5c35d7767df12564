"""Members: what they refuse to evaluate, and how much they give to whom."""

import pytest

from protocols.base import BudgetExceeded, MessageError, StaleVersion
from protocols.blind import group, keys
from protocols.blind.group import ElementError
from protocols.blind.member import Budget, Member
from protocols.blind.messages import BlindedElements
from protocols.blind.parameters import Parameters

OFF_THE_GROUP = bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371")  # RFC 9496, A.3
GOOD = group.hash_to_group([b"x"], b"test").tobytes()


def test_an_answer_is_the_element_times_the_weighted_share(committee):
    setup = committee(proofs=False)
    request = BlindedElements(1, (1, 3), GOOD * 2)
    total = None
    for number, answer in setup.answer(request).items():
        part = group.elements(answer.elements, 2, "answer")
        total = part if total is None else group.add(total, part)
        assert answer.proof == b""
        assert number in (1, 3)
    other = [
        group.elements(a.elements, 2, "answer") for a in setup.answer(BlindedElements(1, (2, 3), GOOD * 2)).values()
    ]
    assert (group.add(*other) == total).all()


@pytest.mark.parametrize(
    "elements",
    [bytes(32), OFF_THE_GROUP, GOOD + bytes(32), GOOD + b"\x01" + bytes(31), GOOD[:31] + bytes([GOOD[31] | 0x80])],
    ids=["identity", "off the group", "identity among others", "negative", "high bit"],
)
def test_what_is_not_a_group_element_is_refused(committee, elements):
    setup = committee()
    with pytest.raises(ElementError):
        setup.members[1].evaluate("platform", BlindedElements(1, (1, 2), elements))


def test_wrong_lengths_members_and_epochs_are_refused(committee):
    member = committee().members[1]
    for elements in (b"", GOOD[:31], GOOD * 65_536):
        with pytest.raises(MessageError, match="elements"):
            member.evaluate("platform", BlindedElements(1, (1, 2), elements))
    for members in ((2, 3), (1, 1), (1, 4)):
        with pytest.raises(MessageError, match="members"):
            member.evaluate("platform", BlindedElements(1, members, GOOD))
    for epoch in (0, 2):
        with pytest.raises(StaleVersion, match="epoch"):
            member.evaluate("platform", BlindedElements(epoch, (1, 2), GOOD))
    with pytest.raises(StaleVersion):
        Member(1, Parameters()).evaluate("platform", BlindedElements(1, (1, 2), GOOD))


def test_a_budget_counts_by_requester_and_window_and_says_when_to_come_back():
    now = [1000.0]
    budget = Budget(10, 60, lambda: now[0])
    budget.spend("a", 7)
    budget.spend("b", 10)
    with pytest.raises(BudgetExceeded, match="a asks for 4 evaluations; 3 of 10 are left") as error:
        budget.spend("a", 4)
    assert error.value.retry_after == pytest.approx(20)
    with pytest.raises(MessageError, match="a window has 10 in all"):
        budget.spend("c", 11)
    budget.spend("a", 3)
    now[0] += error.value.retry_after
    budget.spend("a", 10)
    with pytest.raises(BudgetExceeded):
        budget.spend("a", 1)


@pytest.mark.parametrize("plan", ["one pair", "each pair", "each pair, claimed otherwise"])
def test_splitting_over_pairs_gains_nothing_beyond_the_budget(committee, plan):
    budget = 30
    setup = committee(budget=budget, window=3600.0, proofs=False, clock=lambda: 0.0)
    answers = dict.fromkeys(keys.NUMBERS, 0)
    quorums = keys.QUORUMS[:1] if plan == "one pair" else keys.QUORUMS
    for turn in range(100):
        quorum = quorums[turn % len(quorums)]
        for number in quorum:
            # A coefficient can be undone by anyone, so a requester may name other partners than it will combine.
            named = (number, number % 3 + 1) if plan.endswith("otherwise") else quorum
            try:
                setup.members[number].evaluate("platform", BlindedElements(1, named, GOOD))
                answers[number] += 1
            except BudgetExceeded:
                continue
    gained = min(sum(answers.values()) // 2, sum(answers.values()) - max(answers.values()))
    assert gained <= budget
    assert plan == "one pair" or gained == budget


def test_a_refused_request_gives_nothing_and_names_the_wait(committee):
    setup = committee(budget=15, window=100.0, clock=lambda: 30.0)
    setup.members[1].evaluate("platform", BlindedElements(1, (1, 2), GOOD * 10))
    with pytest.raises(BudgetExceeded) as error:
        setup.members[1].evaluate("platform", BlindedElements(1, (1, 2), GOOD))
    assert error.value.retry_after == pytest.approx(70)
    setup.members[1].evaluate("client", BlindedElements(1, (1, 2), GOOD))


def test_a_member_shows_no_share(committee):
    member = committee().members[2]
    shown = repr(member) + repr(member.ceremony) + repr(member.ceremony.share_for(1)) + str(member._manifest)
    assert repr(member._share) not in shown
    assert repr(member.ceremony.share_for(1).share) not in shown
    assert "share" not in shown.lower().replace("ceremonyshare", "")
