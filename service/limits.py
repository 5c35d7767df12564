"""How often one address may ask, and how many bytes one caller may have under way: counted in memory.

There is a token bucket for each class of requests and each address.
A bucket is one number, the time at which it is full again (the generic cell rate algorithm). An address is known only
by its HMAC under a key that this process draws and never stores, IPv6 by its /64 network; nothing here is logged.

NOT protected: many addresses together (each has its own bucket), and people who share one (they share its bucket). When
more addresses ask than are kept, the one that asked longest ago starts afresh.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from protocols.base import ConfigurationError
from service.errors import LimitReached

_COME_AGAIN = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, and one more every `seconds`."""

    burst: int
    seconds: float

    def __post_init__(self) -> None:
        if self.burst < 1 or self.seconds <= 0:
            raise ConfigurationError(f"rate {self.burst}, {self.seconds}: expected a burst >= 1 and seconds > 0")


class Limits:
    """The buckets of one process. Safe to use from several threads."""

    def __init__(
        self, rates: Mapping[str, Rate], *, addresses: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """rates: by class of requests. addresses: how many buckets are kept, at most."""
        self.rates = dict(rates)
        self._kept = addresses
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._full: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def pseudonym(self, address: str) -> str:
        """What stands for an address in this process: 32 hex digits that say nothing outside of it."""
        return hmac.digest(self._key, _network(address).encode(), "sha256")[:16].hex()

    def take(self, kind: str, pseudonym: str) -> None:
        """Count one request of class `kind`. Raises LimitReached, and then does not count it."""
        rate = self.rates[kind]
        with self._lock:
            now = self._clock()
            full = max(self._full.get((kind, pseudonym), now), now) + rate.seconds
            wait = full - now - rate.burst * rate.seconds
            if wait > 1e-9 * rate.seconds:
                raise LimitReached(f"{kind}: too many requests; the next is taken in {wait:.0f} s", wait)
            self._full[kind, pseudonym] = full
            self._full.move_to_end((kind, pseudonym))
            if len(self._full) > self._kept:
                self._full.popitem(last=False)


class InFlight:
    """Bytes that each caller has in this process's memory. For several threads."""

    def __init__(self) -> None:
        self._lock, self._held = threading.Lock(), Counter[str]()

    @contextmanager
    def hold(self, caller: str, size: int, most: int) -> Iterator[None]:
        """`size` more bytes of a caller, as long as it lasts. Raises LimitReached if it had more than `most` then."""
        with self._lock:
            held = self._held[caller]
            if held + size > most:
                raise LimitReached(
                    f"requests under way hold {held} bytes, and {size} more came; {most} at once are taken", _COME_AGAIN
                )
            self._held[caller] += size
        try:
            yield
        finally:
            with self._lock:
                self._held[caller] -= size
                if not self._held[caller]:
                    del self._held[caller]


class Queue:
    """Work that people wait for: one more is let in as long as it would not wait too long. For several threads."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """seconds: that one may have to wait, by how long those before it took."""
        self._seconds, self._clock = seconds, clock
        self._changed = threading.Condition()
        self._inside = 0
        self._each = 0.0  # seconds that one adds to the wait of the next, averaged over the last ten or so

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, until the work is done. Raises LimitReached."""
        with self._changed:
            wait = self._inside * self._each
            if wait > self._seconds:
                raise LimitReached(f"too many people at once; there is room in {wait:.0f} s", wait)
            self._inside += 1
            ahead, started = self._inside, self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._each += 0.1 * ((self._clock() - started) / ahead - self._each)
                self._changed.notify_all()

    def until_empty(self, seconds: float) -> None:
        """Wait until nobody is in it, so long at most: for work that would take the machine's time."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside == 0, seconds)


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address  # a name that a server in front gave, or none
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip.packed[:8] + bytes(8), 64)))
    return str(ip)
