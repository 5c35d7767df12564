"""The table of steps: what of a member can be called over the network, by whom, and with what."""

import ast
import inspect

import msgspec
import pytest

from protocols.base import IntegrityError, MessageError
from protocols.scan import enrolling, founding, matching, wire
from protocols.scan.enrolling_messages import CheckToss
from protocols.scan.matching_messages import HeaderDigest
from protocols.scan.member import Member
from protocols.scan.sealing import Identity, Verifier
from service.errors import Forbidden
from service.letters import seal
from service.steps import STEPS, Letters, arguments, call, result

NAMES = ("member-1", "member-2", "member-3", "exchange", "platform-1", "platform-2")
IDENTITIES = {name: Identity(name).under(bytes(32)) for name in NAMES}
PARTIES = {name: Verifier(identity.public, bytes(32)) for name, identity in IDENTITIES.items()}
PARTS = ("ceremony", "custody", "sessions", "stock", "bank", "auditor")
ELSEWHERE = {"sessions-refuse"}  # called by the choreography, but done by the member itself


def called():
    """Methods of members that the order of messages calls, as a.part.method and a.method."""
    for module in (enrolling, founding, matching, wire):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr in PARTS:
                part = "sessions.stock" if node.value.attr == "stock" else node.value.attr
                yield f"{part}.{node.attr}".replace(".", "-")


def test_the_table_has_all_that_the_order_of_messages_calls_and_nothing_that_it_does_not():
    names = {name for name in called() if name != "sessions-stock"}
    assert len(names) > 40
    assert names - STEPS.keys() == ELSEWHERE
    own = {"finish_ceremony", "sign_block", "deal"}
    given_up = {"sessions-abandon"}  # called on whichever role has a part in the session
    stock = {"sessions-stock-missing"}  # a platform asks what of its stock is left
    keepers = {"bank-receive_planes", "bank-install"}  # members keep blocks that are audited
    assert STEPS.keys() - names == own | keepers | given_up | stock
    assert all(hasattr(Member, name) for name in own)


def test_every_step_says_what_it_takes_and_who_calls_it():
    for step in STEPS.values():
        assert step.by in ("exchange", "platform")
        assert msgspec.msgpack.Decoder(step.wire_type)
        assert not {"sender", "platform", "self"} & set(step.sent)
        if step.path != "ceremony.unmask":  # of the pair's other member, whichever letter it is
            assert step.letter == ("sender" in step.hints), step.path


class Sessions:
    """What a step calls, and what it was called with."""

    def __init__(self):
        self.calls = []

    def platform_of(self, session):
        return "platform-1"

    def other_of(self, session):
        return 2

    def receive_header(self, sender, message):
        self.calls.append((sender, message))

    def toss(self, session_id):
        return CheckToss("batch", b"t" * 32)

    def abandon(self, session_id):
        self.calls.append(session_id)


class Stage:
    number, name = 1, "member-1"

    def __init__(self):
        self.sessions = Sessions()


@pytest.fixture
def member():
    return Stage()


def ask(member, name, caller, body):
    return call(member, PARTIES, IDENTITIES["member-1"], STEPS[name], caller, body)


def pack(*values):
    return msgspec.msgpack.encode(values)


HEADER = HeaderDigest(b"s" * 16, b"d" * 32, b"")


def letter(writer, message=HEADER, to="member-1"):
    return seal(IDENTITIES[writer], PARTIES[to], message)


def test_a_letter_is_opened_and_its_writer_is_told(member):
    assert (
        msgspec.msgpack.decode(ask(member, "sessions-receive_header", "platform-1", pack(letter("member-2")))) is None
    )
    assert member.sessions.calls == [(2, HEADER)]


def test_only_its_role_calls_a_step(member):
    for caller in ("exchange", "member-2", "client"):
        with pytest.raises(Forbidden, match=r"sessions\.abandon is for the platform"):
            ask(member, "sessions-abandon", caller, pack(b"s" * 16))
    for step in STEPS.values():
        with pytest.raises(Forbidden):
            ask(member, step.name, "platform-1" if step.by == "exchange" else "exchange", b"")
    assert member.sessions.calls == []


def test_another_platforms_session_is_refused(member):
    for name, body in (("sessions-abandon", b"s" * 16), ("sessions-receive_header", letter("member-2"))):
        with pytest.raises(Forbidden, match="the session is another platform's"):
            ask(member, name, "platform-2", pack(body))
    assert member.sessions.calls == []


def test_a_letter_of_a_platform_or_the_exchange_or_to_another_is_refused(member):
    for writer in ("platform-1", "exchange"):
        with pytest.raises(IntegrityError, match=f"a letter of {writer}; expected a member's"):
            ask(member, "sessions-receive_header", "platform-1", pack(letter(writer)))
    with pytest.raises(IntegrityError):
        ask(member, "sessions-receive_header", "platform-1", pack(letter("member-2", to="member-3")))
    with pytest.raises(MessageError, match="is not what is due here"):
        ask(member, "sessions-receive_header", "platform-1", pack(letter("member-2", CheckToss("b", b"x"))))
    assert member.sessions.calls == []


@pytest.mark.parametrize("body", [b"", b"\xc1", pack(), pack(b"s", b"s"), pack("text"), pack(1), b"\x91" * 5000])
def test_wrong_arguments_are_refused_by_name(member, body):
    with pytest.raises(MessageError, match=r"sessions\.abandon: the arguments do not decode; expected session_id"):
        ask(member, "sessions-abandon", "platform-1", body)
    assert member.sessions.calls == []


def test_what_is_for_another_party_comes_back_as_a_letter_that_the_caller_cannot_read(member):
    step, session = STEPS["sessions-toss"], b"s" * 16
    body = ask(member, step.name, "platform-1", arguments(step, [session]))
    answered = result(step, body, [session])
    assert isinstance(answered, Letters)
    assert answered.keys() == {"member-2"}
    assert b"t" * 32 not in body
    with pytest.raises(MessageError, match="the answer does not decode"):
        result(step, b"\x01", [session])
