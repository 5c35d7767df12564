"""Private matching protocols behind one contract: `create` one, or ask what is `available`.

A protocol from outside registers a subclass of `protocols.base.Protocol` under the entry point group
"hushmatch.protocols"; it then gets the contract test and every experiment.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from protocols.base import Capabilities, ConfigurationError, Match, Protocol, ProtocolUnavailable, UnknownProtocol

__all__ = ["Capabilities", "Match", "Protocol", "available", "create"]

ENTRY_POINT_GROUP = "hushmatch.protocols"
_BUILT_IN = {
    "plaintext": "protocols.plaintext:Plaintext",
    "bfv": "protocols.bfv:BFV",
    "scan": "protocols.scan:Scan",
    "blind": "protocols.blind:Blind",
}


def available() -> dict[str, Capabilities]:
    """Every registered protocol by name, built-in ones first; `why_not` says why one cannot run here."""
    found = {}
    for name in _registered():
        try:
            cls = _load(name)
        except ProtocolUnavailable as error:
            found[name] = Capabilities(exact=False, reveals="", bits=(), max_threshold=0, why_not=str(error))
        else:
            found[name] = replace(cls.capabilities, why_not=cls.why_not())
    return found


def create(name: str, *, bits: int = 256, threshold: int = 31, **options: Any) -> Protocol:
    """A fresh instance of protocol `name`, its set-up done.

    Options that every protocol takes: `record` (keep each message's bytes in the ledger), `progress`
    (called with what, done, total). Others are the protocol's own.

    Raises UnknownProtocol, ProtocolUnavailable, or another ConfigurationError.
    """
    cls = _load(name)
    if reason := cls.why_not():
        raise ProtocolUnavailable(f"{name}: {reason}")
    try:
        return cls(bits=bits, threshold=threshold, **options)
    except TypeError as error:
        unknown = options.keys() - cls.options()
        if not unknown:
            raise
        known = ", ".join(sorted(cls.options()))
        raise ConfigurationError(f"{name} has no option {', '.join(sorted(unknown))}; it takes {known}") from error


def _registered() -> dict[str, EntryPoint]:
    built_in = {name: EntryPoint(name, target, ENTRY_POINT_GROUP) for name, target in _BUILT_IN.items()}
    outside = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    return built_in | {name: point for name, point in outside.items() if name not in built_in}


def _load(name: str) -> type[Protocol]:
    registered = _registered()
    if not isinstance(name, str) or name not in registered:
        raise UnknownProtocol(f"no protocol is called {name!r}; there are {', '.join(registered)}")
    try:
        return registered[name].load()
    except ImportError as error:
        raise ProtocolUnavailable(f"{name} cannot be imported: {error}") from error
