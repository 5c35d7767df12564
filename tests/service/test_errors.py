"""Every error that may cross is raised again as what it was, and none other."""

import pytest

from hashing import HashingError
from hashing.image import UnreadableImage
from protocols import base
from protocols.base import BudgetExceeded, ConfigurationError, IntegrityError, MessageError, ProofRefused
from protocols.blind.group import ElementError
from protocols.ledger import decode, encode
from service import errors
from service.errors import STATUS, Failure, LimitReached, ServiceError, StorageFailed, Unavailable, to_error, to_failure


def _make(kind):
    if issubclass(kind, ProofRefused):
        return kind("wrong", "platform-a", "row 3", b"evidence")
    return kind("wrong", 12.5) if issubclass(kind, BudgetExceeded) else kind("wrong")


@pytest.mark.parametrize("kind", list(STATUS), ids=lambda kind: kind.__name__)
def test_an_error_crosses_and_is_raised_again_as_what_it_was(kind):
    status, failure = to_failure(_make(kind))
    assert status == STATUS[kind]
    again = to_error(decode(encode(failure), Failure), "member-2")
    assert type(again) is kind
    assert str(again) == "member-2: wrong"
    if issubclass(kind, BudgetExceeded):
        assert again.retry_after == 12.5
    if issubclass(kind, ProofRefused):
        assert (again.party, again.check, again.evidence) == ("platform-a", "row 3", b"")


def test_statuses_are_a_callers_fault_or_say_who_is_away():
    assert {status for status in STATUS.values() if not 400 <= status < 500} == {502, 503}
    assert STATUS[LimitReached] == 429
    assert STATUS[MessageError] == 400
    assert STATUS[IntegrityError] == 409


def test_a_class_that_is_not_listed_crosses_as_its_parent():
    assert to_failure(ElementError("no point", 0))[1].error == "MessageError"
    assert to_failure(UnreadableImage("no image"))[1].error == "HashingError"
    assert issubclass(UnreadableImage, HashingError)


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("x"), ConfigurationError("set up wrongly")])
def test_a_fault_of_the_program_does_not_cross(error):
    assert to_failure(error) is None


def test_nobody_else_ends_this_process():
    assert to_failure(StorageFailed("disk full")) is None
    for name in ("StorageFailed", "SystemExit", "ConfigurationError", "Nonsense"):
        assert type(to_error(Failure(name, "stop"), "member-1")) is ServiceError


def test_where_a_party_was_looked_for_stays_here():
    error = Unavailable("member-2 cannot be reached: connection refused", "http://10.0.0.3:8102")
    assert "10.0.0.3" in str(error)
    status, failure = to_failure(error)
    assert (status, failure.detail) == (503, "member-2 cannot be reached: connection refused")


def test_a_long_or_unprintable_detail_is_cut_and_cleaned():
    again = to_error(Failure("MessageError", "\x1b[2J\n" + "x" * 10_000), "member-2")
    assert len(str(again)) < 600
    assert str(again).isprintable()


def test_every_error_of_the_service_is_drawn_in_the_tree():
    named = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, (ServiceError, LimitReached))
    }
    for kind in named:
        assert kind.__name__ in errors.__doc__
        assert kind in STATUS or kind in (ServiceError, StorageFailed)
    for kind in vars(base).values():
        if isinstance(kind, type) and issubclass(kind, base.ProtocolError | base.InputError | BudgetExceeded):
            assert kind in STATUS
