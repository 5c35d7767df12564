"""The other side of `web`: call a party, know that it answered, and raise here what it raised there.

NOT protected: that a party is called at all, when and how much; a URL with https:// hides the rest from the network.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import TypeVar, overload
from urllib.parse import urlencode, urlsplit

import httpx

from protocols.base import ConfigurationError, MessageError
from protocols.ledger import Message
from protocols.scan.sealing import Identity, Verifier
from service import bodies
from service.errors import Failure, Unavailable, to_error
from service.requests import CONTENT_TYPE, SIGNATURE, HttpRequest, outgoing, verify_response

_PAUSE = 0.2  # seconds before the first repetition; doubled for each further one
_GATEWAY = (502, 503, 504)  # what a server in front says while the party behind it is away

K = TypeVar("K", bound=Message | bytes)


class Peer:
    """A party that is called over HTTP. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        name: str,
        verifier: Verifier | None,
        me: Identity | None,
        timeout: float = 30.0,
        *,
        max_bytes: int = 1 << 28,
    ) -> None:
        """base_url: scheme, host and port. verifier: its keys; None for what proves itself, as the manifest does.

        me: signs requests; None for a client. timeout: seconds to connect, and between two pieces of an answer.
        max_bytes: of an answer. Raises ConfigurationError.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigurationError(f"the URL of {name} is {base_url!r}; expected http(s)://host:port and no path")
        if verifier is not None and verifier.name != name:
            raise ConfigurationError(f"the keys for {name} are those of {verifier.name}")
        self.name, self.url = name, base_url.rstrip("/")
        self._verifier, self._me, self._max_bytes = verifier, me, max_bytes
        # Neither a proxy nor credentials come from the environment; the system's certificates are trusted.
        self._http = httpx.Client(timeout=timeout, trust_env=False, verify=ssl.create_default_context())

    def __repr__(self) -> str:
        return f"<Peer {self.name} at {self.url}>"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @overload
    def call(
        self,
        method: str,
        path: str,
        message: Message | bytes | None = None,
        kind: None = None,
        query: Mapping[str, object] | None = None,
        retries: int = 0,
    ) -> None: ...
    @overload
    def call(
        self,
        method: str,
        path: str,
        message: Message | bytes | None = None,
        *,
        kind: type[K],
        query: Mapping[str, object] | None = None,
        retries: int = 0,
    ) -> K: ...
    def call(
        self,
        method: str,
        path: str,
        message: Message | bytes | None = None,
        kind: type[K] | None = None,
        query: Mapping[str, object] | None = None,
        retries: int = 0,
    ) -> Message | bytes | None:
        """The answer to a request: a message of type `kind`, bytes, or None if no `kind` is named.

        message: bytes go as they are, for endpoints that decode themselves. retries: how often more to try where no
        connection was got or it broke off; only for what may be done twice. Raises Unavailable; IntegrityError for an
        answer that the party did not sign; MessageError; and what the party raised.
        """
        body = bodies.encode(message, bodies.MSGPACK) if isinstance(message, Message) else message or b""
        media = "" if message is None else bodies.MSGPACK
        target = f"{path}?{urlencode(query)}" if query else path
        for attempt in range(retries + 1):
            request, headers = outgoing(self._me, self.name, method, target, media, body)
            try:
                return self._answer(request, headers, body, kind)
            except httpx.TransportError as error:
                lost = Unavailable(f"{self.name} {_why(error)}", self.url)
                again = attempt < retries and not isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout))
            if not again:
                break
            time.sleep(_PAUSE * 2**attempt)
        raise lost from None

    def _answer(
        self, request: HttpRequest, headers: dict[str, str], body: bytes, kind: type[K] | None
    ) -> Message | bytes | None:
        headers |= {"Accept": bodies.MSGPACK, "Accept-Encoding": "identity"}
        built = self._http.build_request(
            request.method, self.url + request.target, content=body or None, headers=headers
        )
        if built.url.raw_path != request.target.encode():
            raise ConfigurationError(f"a path for {self.name} has characters that a URL escapes; it must have none")
        response = self._http.send(built, stream=True)
        try:
            payload = self._read(response)
        finally:
            response.close()
        status, media = response.status_code, bodies.media_type(response.headers.get(CONTENT_TYPE))
        if status in _GATEWAY and SIGNATURE not in response.headers:
            raise Unavailable(f"{self.name} is away: what stands in front of it says {status}", self.url)
        if self._verifier is not None:
            verify_response(self._verifier, request, status, response.headers, payload)
        if status >= 400:
            raise to_error(bodies.decode(payload, Failure, media), self.name)
        if status not in (200, 204) or (kind is not None and media != bodies.MSGPACK):
            raise MessageError(f"{self.name} answered {status} {media!r}; expected 200 {bodies.MSGPACK}")
        if kind is None:
            return None
        return bodies.decode(payload, kind, media) if issubclass(kind, Message) else payload

    def _read(self, response: httpx.Response) -> bytes:
        chunks, size = [], 0
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > self._max_bytes:
                raise MessageError(f"the answer of {self.name} is larger than {self._max_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


def _why(error: Exception) -> str:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return "cannot be reached: no connection"
    if isinstance(error, httpx.TimeoutException):
        return "did not answer in time"
    return "broke off the connection"
