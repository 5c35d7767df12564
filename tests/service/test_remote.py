"""Proxies of members and exchange: only the table's steps can be called, and letters go to whom they are for."""

import msgspec
import pytest

from protocols.scan.enrolling_messages import CheckToss
from service.errors import Unavailable
from service.messages import Answered, NextPlanes, Planes
from service.remote import Carrier, RemoteExchange, RemoteMember
from service.steps import Letters


class Peer:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def call(self, method, path, message=None, kind=None):
        self.asked.append((method, path, message))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_methods_that_are_no_steps_do_not_exist():
    member = RemoteMember(2, Peer())
    for part in (member, member.custody, member.sessions, member.sessions.stock, member.ceremony):
        with pytest.raises(AttributeError, match="cannot be called over the network"):
            part.identity  # noqa: B018
    assert repr(member) == "<RemoteMember 2>"


def test_a_step_is_called_with_its_arguments_and_answers_letters():
    peer = Peer(msgspec.msgpack.encode({"member-3": b"sealed"}), msgspec.msgpack.encode(None))
    member, carrier = RemoteMember(1, peer), Carrier()
    letters = member.custody.toss("batch")
    assert isinstance(letters, Letters)
    assert carrier.send("member-1", "member-3", letters) == b"sealed"
    assert member.custody.receive_toss(3, b"sealed") is None
    assert [path for _, path, _ in peer.asked] == ["/steps/custody-toss", "/steps/custody-receive_toss"]
    assert msgspec.msgpack.decode(peer.asked[1][2]) == [b"sealed"]  # who wrote it, the letter says


def test_what_is_no_letter_goes_as_it_is():
    message = CheckToss("batch", b"t")
    assert Carrier().send("exchange", "member-1", message) is message


def test_giving_up_a_session_of_a_member_that_is_away_is_no_error():
    peer = Peer(Unavailable("member-1 is away"))
    RemoteMember(1, peer).sessions.abandon(b"s" * 16)
    assert peer.asked[0][1] == "/steps/sessions-abandon"


def test_planes_come_until_there_are_none():
    peer = Peer(Planes(None))
    assert list(RemoteMember(1, peer).planes(3, 2, 16)) == []
    assert peer.asked == [("POST", "/planes", NextPlanes(3, 2, 16))]


def test_match_lists_go_to_the_exchange_as_letters():
    peer = Peer("handles")
    assert RemoteExchange(peer).resolve((b"a", b"b"), (1, 2)) == "handles"
    assert peer.asked == [("POST", "/matches", Answered([b"a", b"b"], [1, 2]))]
