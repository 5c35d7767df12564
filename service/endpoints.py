"""The table that declares a role's HTTP surface: one `Endpoint` a row.

Paths hold parameters `{name:number}` (0 to 10^18 - 1) and `{name:token}` (letters, digits, - and _, 100 at most), so
that nothing else can reach a handler; a query is a message whose fields are its parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.convertors import Convertor, register_url_convertor

from protocols.base import ConfigurationError
from protocols.ledger import Message

ANYONE = frozenset({"client", "exchange", "member", "platform", "steward"})
PARAMETERS: dict[str, dict[str, Any]] = {
    "number": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    "token": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"},
}
_METHODS = ("GET", "POST", "PUT", "DELETE")
_PARAMETER = re.compile(r"\{([a-z_]+):([a-z]+)\}")


class _Number(Convertor[int]):
    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


class _Token(Convertor[str]):
    regex = "[A-Za-z0-9_-]{1,100}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("number", _Number())
register_url_convertor("token", _Token())


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let through.

    caller: the party that signed it, or "client". address: pseudonym of where it came from, good in this process only.
    path: parameters by name. query, message: as the endpoint declares them, else None; bytes for an opaque body.
    """

    caller: str
    address: str
    path: Mapping[str, Any]
    query: Any
    message: Any

    def __repr__(self) -> str:
        return f"<Call of {self.caller}>"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    handler: called in a thread with a Call; returns a `response`, or None where that is None.
    request, response: a kind of message (msgpack or JSON), `bytes` (msgpack that the handler decodes), or None.
    callers: roles that may; "client" is who does not sign. summary: a line for the OpenAPI document.
    max_bytes: of the body. query: a message of optional and required parameters.
    limit: the class of `Limits` that a client's request counts for; None: not limited.
    """

    method: str
    path: str
    handler: Callable[[Call], Message | bytes | None]
    request: type[Message] | type[bytes] | None = None
    response: type[Message] | type[bytes] | None = None
    callers: Collection[str] = ANYONE
    summary: str = ""
    max_bytes: int = 1 << 20
    query: type[Message] | None = None
    limit: str | None = "default"

    def __post_init__(self) -> None:
        if self.method not in _METHODS or (self.method == "GET" and self.request is not None):
            raise ConfigurationError(f"{self}: expected one of {_METHODS}, and no body for GET")
        if not re.fullmatch(r"/[a-z0-9./-]*", _PARAMETER.sub("", self.path)):
            raise ConfigurationError(f"{self}: expected lower-case words, {{name:number}} and {{name:token}}")
        if unknown := {kind for _, kind in self.parameters if kind not in PARAMETERS}:
            raise ConfigurationError(f"{self}: no parameters of kind {unknown}; expected {list(PARAMETERS)}")
        if isinstance(self.callers, str) or not set(self.callers) <= ANYONE:
            raise ConfigurationError(f"{self}: callers are {self.callers}; expected some of {sorted(ANYONE)}")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """(name, kind) of the path's parameters."""
        return _PARAMETER.findall(self.path)

    @property
    def template(self) -> str:
        """The path with its parameters' names only, as OpenAPI writes it."""
        return _PARAMETER.sub(r"{\1}", self.path)
