"""What the service raises on purpose, and how an error crosses HTTP: as `Failure`, raised again by its name.

    HushmatchError
    ├── BudgetExceeded
    │   └── LimitReached              too many requests from one address; says how long to wait
    ├── ConfigurationError
    │   └── WrongPassphrase           what is sealed at rest does not open with this passphrase
    └── ServiceError
        ├── Unauthenticated           no valid signature; says why
        ├── Forbidden                 this caller may not
        │   ├── WrongPin              case number and PIN do not belong together
        │   └── NotAdult              cases are for adults; says where others find help
        ├── NotFound                  no such path
        ├── MethodNotAllowed          the path takes other methods
        ├── NotAcceptable             no content type of the answer that the caller takes
        ├── TooSlow                   the body came too slowly
        ├── TooLarge                  the body is larger than the path takes
        ├── TargetTooLong             the path and query are longer than any that exists
        ├── UnsupportedMediaType      the body's content type is not one that the path takes
        ├── Unavailable               a party cannot be reached, or cannot work now; says which
        ├── ServerFault               the other side failed unexpectedly; says its incident's number
        └── StorageFailed             the disk or the database failed: the process must end

`STATUS` says which of them, and of the protocols' and hashing's errors, cross, and with which HTTP status. An error of
another class crosses as its nearest parent there; one without any is a fault of the program and no caller's business.
"""

from __future__ import annotations

from hashing import HashingError
from protocols.base import (
    BudgetExceeded,
    ConfigurationError,
    HushmatchError,
    InputError,
    IntegrityError,
    MessageError,
    ProofRefused,
    ProtocolError,
    ReplayError,
    StaleVersion,
    UndeclaredMessage,
    UnknownCase,
)
from protocols.ledger import Message

_DETAIL_CHARACTERS = 500


class LimitReached(BudgetExceeded):
    """Too many requests from one address. `retry_after`: seconds until the next is admitted."""


class WrongPassphrase(ConfigurationError):
    """The passphrase does not open what is sealed at rest."""


class ServiceError(HushmatchError):
    """Root of what only the service raises."""


class Unauthenticated(ServiceError):
    """The request does not prove who sends it."""


class Forbidden(ServiceError):
    """The caller is known, and may not do this."""


class WrongPin(Forbidden):
    """No case has this number and this PIN. `delay`: seconds that the answer has to wait."""

    def __init__(self, message: str, delay: float = 0.0) -> None:
        super().__init__(message)
        self.delay = delay


class NotAdult(Forbidden):
    """Cases are for adults; the message says where younger people find help."""


class NotFound(ServiceError):
    """There is no such path."""


class MethodNotAllowed(ServiceError):
    """The path takes other methods."""


class NotAcceptable(ServiceError):
    """The caller takes no content type that the answer could have."""


class TooSlow(ServiceError):
    """The body came too slowly."""


class TooLarge(ServiceError):
    """The body is larger than the path takes."""


class TargetTooLong(ServiceError):
    """Path and query are longer than any that exists."""


class UnsupportedMediaType(ServiceError):
    """The body's content type, or its encoding, is not one that the path takes."""


class Unavailable(ServiceError):
    """A party cannot be reached, or cannot work now.

    reason: names the party; crosses to others. url: where it was looked for; does not cross.
    """

    def __init__(self, reason: str, url: str | None = None) -> None:
        super().__init__(reason if url is None else f"{reason} ({url})")
        self.reason = reason


class ServerFault(ServiceError):
    """The other side failed unexpectedly; its log says more under the incident's number."""


class StorageFailed(ServiceError):
    """The disk or the database failed. What was not stored must not be answered: the process ends."""


class Failure(Message, frozen=True):
    """An error on its way: `error` is its class's name. party, check: of a refused proof; its evidence stays behind."""

    error: str
    detail: str
    retry_after: float | None = None
    party: str | None = None
    check: str | None = None


STATUS: dict[type[Exception], int] = {
    ProtocolError: 400,
    MessageError: 400,
    UndeclaredMessage: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    WrongPin: 403,
    NotAdult: 403,
    NotFound: 404,
    UnknownCase: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    TooSlow: 408,
    IntegrityError: 409,
    ProofRefused: 409,
    ReplayError: 409,
    StaleVersion: 409,
    TooLarge: 413,
    TargetTooLong: 414,
    UnsupportedMediaType: 415,
    InputError: 422,
    HashingError: 422,
    BudgetExceeded: 429,
    LimitReached: 429,
    ServerFault: 502,
    Unavailable: 503,
}
_BY_NAME = {kind.__name__: kind for kind in STATUS}


def to_failure(error: Exception) -> tuple[int, Failure] | None:
    """The HTTP status and message as which an error crosses; None for one that does not."""
    kind = next((kind for kind in type(error).__mro__ if kind in STATUS), None)
    if kind is None:
        return None
    detail = error.reason if isinstance(error, Unavailable) else str(error)
    failure = Failure(
        kind.__name__,
        detail[:_DETAIL_CHARACTERS],
        retry_after=error.retry_after if isinstance(error, BudgetExceeded) else None,
        party=error.party if isinstance(error, ProofRefused) else None,
        check=error.check if isinstance(error, ProofRefused) else None,
    )
    return STATUS[kind], failure


def to_error(failure: Failure, sender: str) -> Exception:
    """The exception that a failure names, to be raised here; the message says that `sender` raised it.

    A name that is not in `STATUS` gives a ServiceError: no other party can make this process raise StorageFailed.
    """
    kind = _BY_NAME.get(failure.error)
    text = "".join(character if character.isprintable() else "?" for character in failure.detail[:_DETAIL_CHARACTERS])
    detail = f"{sender}: {text}"
    if kind is None:
        return ServiceError(f"{sender} failed with an error that is not known here: {text}")
    if issubclass(kind, ProofRefused):
        return kind(detail, failure.party or "", failure.check or "", b"")
    if issubclass(kind, BudgetExceeded):
        return kind(detail, failure.retry_after or 0.0)
    return kind(detail)
