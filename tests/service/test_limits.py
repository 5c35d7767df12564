"""A bucket an address: full after a burst, filled again by time, known under no name that says anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import ConfigurationError
from service.errors import LimitReached
from service.limits import InFlight, Limits, Queue, Rate


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def _limits(burst=3, seconds=10.0, **more):
    clock = Clock()
    return Limits({"open": Rate(burst, seconds), "other": Rate(1, 1.0)}, clock=clock, **more), clock


def test_a_burst_passes_and_the_next_is_told_how_long_to_wait():
    limits, clock = _limits()
    for _ in range(3):
        limits.take("open", "a")
    with pytest.raises(LimitReached) as refused:
        limits.take("open", "a")
    assert refused.value.retry_after == pytest.approx(10)
    clock.now += refused.value.retry_after
    limits.take("open", "a")
    with pytest.raises(LimitReached):
        limits.take("open", "a")


def test_being_refused_does_not_make_it_worse():
    limits, clock = _limits()
    for _ in range(3):
        limits.take("open", "a")
    for _ in range(100):
        with pytest.raises(LimitReached):
            limits.take("open", "a")
    clock.now += 10
    limits.take("open", "a")


def test_classes_and_addresses_have_buckets_of_their_own():
    limits, _ = _limits(burst=1)
    limits.take("open", "a")
    limits.take("open", "b")
    limits.take("other", "a")
    with pytest.raises(LimitReached, match="other"):
        limits.take("other", "a")


@given(
    st.integers(1, 5),
    st.floats(0.1, 100, allow_nan=False),
    st.lists(st.floats(0, 50, allow_nan=False), max_size=60),
)
def test_no_more_than_the_rate_passes_in_any_run(burst, seconds, pauses):
    limits, clock = _limits(burst, seconds)
    taken = []
    for pause in pauses:
        clock.now += pause
        try:
            limits.take("open", "a")
        except LimitReached as refused:
            assert 0 < refused.retry_after <= seconds * 1.001  # noqa: PT017
        else:
            taken.append(clock.now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - start) / seconds + 1e-6


def test_memory_is_bounded_and_the_oldest_go():
    limits, _ = _limits(burst=1, addresses=10)
    for number in range(100):
        limits.take("open", str(number))
    assert len(limits._full) == 10
    with pytest.raises(LimitReached):
        limits.take("open", "99")
    limits.take("open", "0")


def test_who_keeps_asking_is_not_among_the_oldest():
    limits, _ = _limits(burst=20, addresses=10)
    for number in range(20):
        limits.take("open", "busy")
        limits.take("open", str(number))
    with pytest.raises(LimitReached):
        limits.take("open", "busy")


def test_an_address_is_not_kept():
    limits, _ = _limits()
    name = limits.pseudonym("203.0.113.7")
    limits.take("open", name)
    assert "203.0.113.7" not in repr(vars(limits))
    assert limits.pseudonym("203.0.113.7") == name
    assert limits.pseudonym("203.0.113.8") != name
    assert _limits()[0].pseudonym("203.0.113.7") != name
    assert len(name) == 32


def test_an_ipv6_network_is_one_address():
    limits, _ = _limits()
    assert limits.pseudonym("2001:db8::1") == limits.pseudonym("2001:db8::ffff:ffff:ffff:ffff")
    assert limits.pseudonym("2001:db8::1") != limits.pseudonym("2001:db8:0:1::1")
    assert limits.pseudonym("::ffff:203.0.113.7") == limits.pseudonym("203.0.113.7")
    assert limits.pseudonym("") != limits.pseudonym("203.0.113.7")


@pytest.mark.parametrize(("burst", "seconds"), [(0, 1), (1, 0), (1, -1)])
def test_a_rate_that_admits_nothing_or_everything_is_refused(burst, seconds):
    with pytest.raises(ConfigurationError):
        Rate(burst, seconds)


def test_a_queue_lets_nobody_in_who_would_wait_too_long():
    clock = Clock()
    queue = Queue(1.0, clock)
    for _ in range(50):  # of half a second each
        with queue.place():
            clock.now += 0.5
    with queue.place(), queue.place(), queue.place():
        with pytest.raises(LimitReached) as refused, queue.place():
            pass
        assert 1.0 < refused.value.retry_after < 2.0
        queue.until_empty(0.01)  # waits in vain, and goes on
    with queue.place():
        pass
    queue.until_empty(60.0)


def test_a_queue_counts_those_whose_work_fails_as_gone():
    queue = Queue(1.0)
    with pytest.raises(KeyError), queue.place():
        raise KeyError
    queue.until_empty(60.0)


def test_bytes_under_way_are_counted_by_caller_and_given_back_also_when_work_fails():
    flight = InFlight()
    with flight.hold("a", 60, 100):
        with pytest.raises(LimitReached, match="hold 60 bytes, and 41 more") as refused, flight.hold("a", 41, 100):
            pass
        assert refused.value.retry_after == 5
        with flight.hold("a", 40, 100), flight.hold("b", 100, 100), pytest.raises(LimitReached):
            flight.hold("a", 1, 100).__enter__()
    with pytest.raises(KeyError), flight.hold("a", 100, 100):
        raise KeyError
    with flight.hold("a", 100, 100):
        pass
    with pytest.raises(LimitReached), flight.hold("a", 101, 100):
        pass
    assert not flight._held  # nobody is remembered
