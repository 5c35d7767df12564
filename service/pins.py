"""Case numbers and PINs: how the client makes them, how the exchange keeps them, how wrong PINs are slowed down.

A case number is 80 random bits, a PIN 40, both in Crockford's base32 (no I, L, O, U; read without regard to case,
hyphens and look-alikes). The client makes them, so that opening a case can be repeated. It stretches the PIN itself, by
scrypt (RFC 7914) salted with the number, and sends what comes out, the PIN's key: so each guess costs whoever guesses,
and not the exchange, which never sees the PIN. The exchange keeps SHA-256 of the number, which cannot be searched, and
SHA-256 of the key.

A wrong PIN is answered after 1, 2, 4 ... 60 seconds, counted by case and address. There is no lock: knowing a number
must not let anybody keep its person from withdrawing. A right one counts for no limit and is never delayed.

NOT protected: delay and limits slow down who waits for an answer. As a right PIN is answered at once and under no
limit, whoever takes silence or LimitReached for a no tries as many keys as the exchange answers. What holds is that a
number has 80 bits, and that each of 2^40 PINs of a known one takes a scrypt. Whoever has a number and its PIN, or the
PIN's key, is the person. A client that does not stretch leaves a reader of the database who knows the number 2^40 cheap
guesses; the exchange cannot tell.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from protocols.base import InputError
from service.atrest import SALT_BYTES, stretch

PIN_LOG_N = 14  # 16 MiB and some 50 ms, on the person's device
KEY_BYTES = 32
LONGEST_DELAY = 60.0
_NUMBER_BYTES, _PIN_BYTES = 10, 5
_NUMBER = "case number", "XXXX-XXXX-XXXX-XXXX"
_FORGET_SECONDS = 3600.0
_REMEMBERED = 100_000

_RFC4648, _CROCKFORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_WRITE = str.maketrans(_RFC4648, _CROCKFORD)
_READ = str.maketrans(_CROCKFORD, _RFC4648)
_LOOK_ALIKES = str.maketrans("OIL", "011", "- ")


def new_number() -> str:
    """A fresh case number, `XXXX-XXXX-XXXX-XXXX`."""
    return _write(secrets.token_bytes(_NUMBER_BYTES))


def new_pin() -> str:
    """A fresh PIN, `XXXX-XXXX`."""
    return _write(secrets.token_bytes(_PIN_BYTES))


def case_id(number: str) -> bytes:
    """What the exchange keeps of a case number: 32 bytes. Raises InputError."""
    return hashlib.sha256(b"hushmatch case number\0" + _read(number, _NUMBER_BYTES, *_NUMBER)).digest()


def pin_key(number: str, pin: str) -> bytes:
    """What the client sends of a PIN: 32 bytes. Takes a moment. Raises InputError."""
    salt = hashlib.sha256(b"hushmatch PIN\0" + _read(number, _NUMBER_BYTES, *_NUMBER)).digest()[:SALT_BYTES]
    return stretch(_read(pin, _PIN_BYTES, "PIN", "XXXX-XXXX"), salt, PIN_LOG_N)


def hash_key(key: bytes) -> bytes:
    """What the exchange keeps of a PIN's key: 32 bytes. Raises InputError."""
    if len(key) != KEY_BYTES:
        raise InputError(f"the PIN's key has {len(key)} bytes; expected {KEY_BYTES}: what scrypt makes of the PIN")
    return hashlib.sha256(b"hushmatch key of a PIN\0" + key).digest()


def _write(raw: bytes) -> str:
    text = base64.b32encode(raw).decode().translate(_WRITE)
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _read(text: str, size: int, what: str, form: str) -> bytes:
    letters = text.upper().translate(_LOOK_ALIKES)
    if len(letters) != size * 8 // 5 or not set(letters) <= set(_CROCKFORD):
        raise InputError(f"{what} is not one; expected {form}, digits and letters without I, L, O, U")
    return base64.b32decode(letters.translate(_READ))


class Delays:
    """How long wrong answers wait, by case and address, in memory: addresses as keyed hashes, for an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._tries: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def wrong(self, case: bytes, address: str) -> float:
        """Note a wrong PIN. Seconds that its answer has to wait: 1, 2, 4 ... LONGEST_DELAY."""
        key, now = self._of(case, address), self._clock()
        with self._lock:
            tries, last = self._tries.pop(key, (0, now))
            tries = tries + 1 if now - last < _FORGET_SECONDS else 1
            self._tries[key] = tries, now
            if len(self._tries) > _REMEMBERED:
                self._tries.popitem(last=False)
        return min(2.0 ** min(tries - 1, 10), LONGEST_DELAY)

    def right(self, case: bytes, address: str) -> None:
        """Forget this address's wrong PINs of a case."""
        with self._lock:
            self._tries.pop(self._of(case, address), None)

    def _of(self, case: bytes, address: str) -> bytes:
        return hmac.digest(self._key, case + address.encode(), "sha256")
