"""A table of endpoints as a web application: who may call, how large, how often, decoded, answered, signed.

In this order, so that little is done for who may not: path, method, rate, signature and nonce, content type, bytes that
the caller has under way already, body (counted while it comes), digest, decoding; then the handler, in a thread. What
goes wrong is answered as a `Failure`, signed like every answer. An exception that nobody raised on purpose is logged,
and answered with an incident's number.

`/metrics` is for who sends its bearer token; `/openapi.json`, the same for every deployment, is for anybody. Both are
unsigned.

NOT protected: slow headers and too many connections; what stands in front and ends TLS has to bound them. Decoding a
body takes a few times its bytes.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from protocols.base import ConfigurationError
from protocols.ledger import Message, role_of
from protocols.scan.sealing import Identity, Verifier
from service import bodies, openapi, requests
from service.endpoints import ANYONE, Call, Endpoint
from service.errors import (
    STATUS,
    Failure,
    Forbidden,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    StorageFailed,
    TargetTooLong,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    WrongPin,
    to_failure,
)
from service.limits import InFlight, Limits
from service.logs import Event, log
from service.metrics import CONTENT_TYPE, Metrics
from service.requests import CLIENT, HttpRequest, Nonces
from service.requests import CONTENT_TYPE as TYPE_HEADER

__all__ = ["ANYONE", "Call", "Endpoint", "Health", "application", "listening", "server"]

EXIT_STORAGE = 74  # sysexits.h: EX_IOERR
MAX_TARGET = 2048  # characters
HEALTH = "/health"
HANDLERS = 32  # that run at once
WAITING = 256  # requests that wait for one
CALLER_BYTES = 1 << 29  # of bodies and answers of one party that are under way at once; of all people together
ADDRESS_BYTES = 1 << 25  # of people's from one address
TOKEN_CHARACTERS = 16  # of a bearer token, at least


class Health(Message, frozen=True):
    """That a party answers, and which."""

    party: str
    status: str


def application(
    endpoints: Sequence[Endpoint],
    *,
    me: Callable[[], Identity],
    parties: Callable[[], Mapping[str, Verifier]],
    nonces: Nonces,
    limits: Limits,
    metrics: Metrics,
    title: str,
    metrics_token: str = "",
    version: str = "1",
    stop: Callable[[], None] = lambda: os._exit(EXIT_STORAGE),
) -> Starlette:
    """The ASGI application of a role: its endpoints, `/health`, `/metrics` and `/openapi.json`.

    me: this party's keys, under the manifest of the day; parties: everybody's; asked for every request, so that both
    may change. metrics_token: of who may read `/metrics`; "" for nobody. stop: called once StorageFailed is answered;
    ends the process. Raises ConfigurationError.
    """
    if 0 < len(metrics_token) < TOKEN_CHARACTERS:
        raise ConfigurationError(f"settings: metrics_token has fewer than {TOKEN_CHARACTERS} characters; make one anew")

    def health(call: Call) -> Health:
        return Health(me().name, "ok")

    rows = [*endpoints, Endpoint("GET", HEALTH, health, None, Health, limit=None, summary="Whether it answers")]
    by_path: dict[str, dict[str, Endpoint]] = defaultdict(dict)
    for row in rows:
        if row.method in by_path[row.path]:
            raise ConfigurationError(f"endpoint {row} is declared twice")
        if row.limit is not None and row.limit not in limits.rates:
            raise ConfigurationError(f"endpoint {row} counts for the limit {row.limit!r}, which has no rate")
        by_path[row.path][row.method] = row
    document = openapi.document(rows, title, version)
    gate = _Gate(me, parties, nonces, limits, metrics, stop, anyio.CapacityLimiter(HANDLERS), InFlight())
    routes = [
        Route("/metrics", lambda request: _metrics(request, metrics, metrics_token), methods=["GET"]),
        Route("/openapi.json", lambda request: JSONResponse(document), methods=["GET"]),
        *(Route(path, _Resource(gate, methods)) for path, methods in by_path.items()),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unsigned})
    app.router.redirect_slashes = False
    app.router.default = _Resource(gate, {})
    return app


def listening(host: str, port: int) -> socket.socket:
    """A socket to serve at. Raises ConfigurationError where somebody else has the port, or it is not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened at: {error.strerror or error}; stop what has it, or set another `listen`"
        ) from None


def server(app: ASGIApp, host: str, port: int, *, proxies: str = "") -> uvicorn.Server:
    """uvicorn for an application; `run()` it. It logs no addresses and no paths.

    proxies: addresses, comma-separated, whose X-Forwarded-For counts.
    """
    config = uvicorn.Config(
        app,
        host,
        port,
        access_log=False,
        log_config=None,
        server_header=False,
        ws="none",
        lifespan="off",
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    return uvicorn.Server(config)


@dataclass(frozen=True, slots=True)
class _Gate:
    """What an application asks about a request."""

    me: Callable[[], Identity]
    parties: Callable[[], Mapping[str, Verifier]]
    nonces: Nonces
    limits: Limits
    metrics: Metrics
    stop: Callable[[], None]
    handlers: anyio.CapacityLimiter
    in_flight: InFlight

    def admit(self, endpoint: Endpoint, head: HttpRequest, signature: bytes | None, address: str) -> None:
        """Raises Unavailable, Unauthenticated, ReplayError, Forbidden, LimitReached."""
        if endpoint.path != HEALTH and self.handlers.statistics().tasks_waiting >= WAITING:
            raise Unavailable(f"{self.me().name} is busy: {WAITING} requests wait; try again")
        if signature is None:
            if CLIENT not in endpoint.callers:
                raise Unauthenticated(f"{endpoint} is for parties with keys; sign the request")
            if endpoint.limit is not None:
                self.limits.take(endpoint.limit, address)
            return
        requests.verify_request(head, signature, self.parties(), self.nonces, time.time())
        if role_of(head.sender) not in endpoint.callers:
            raise Forbidden(f"{endpoint} is for {', '.join(sorted(endpoint.callers))}; {head.sender} is none of them")

    def hold(self, held: ExitStack, caller: str, address: str, size: int) -> None:
        """Count bytes as the caller's until `held` is closed. Raises LimitReached."""
        held.enter_context(self.in_flight.hold(caller, size, CALLER_BYTES))
        if caller == CLIENT:
            held.enter_context(self.in_flight.hold(address, size, ADDRESS_BYTES))

    def note(self, name: str, status: int, started: float, received: int, sent: int) -> None:
        """Count and log one request."""
        seconds = time.perf_counter() - started
        self.metrics.observe(name, status, seconds, received, sent)
        log(Event.REQUEST, endpoint=name, status=status, seconds=round(seconds, 6), bytes=sent)


@dataclass(slots=True)
class _Answer:
    """What goes back. media: "" for no body."""

    status: int
    media: str
    body: bytes
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Resource:
    """One path, with what its methods do; a path that does not exist has none. An ASGI application."""

    gate: _Gate
    methods: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with ExitStack() as held:
            await self._respond(scope, receive, send, held)

    async def _respond(self, scope: Scope, receive: Receive, send: Send, held: ExitStack) -> None:
        started = time.perf_counter()
        request = Request(scope, receive)
        name = str(self.methods.get(request.method, "other"))
        me, target = self.gate.me(), _target(scope)
        head = HttpRequest(request.method, target, CLIENT, me.name, 0, b"", "", b"")
        body, stop = b"", False
        try:
            if len(target) > MAX_TARGET:
                raise TargetTooLong(f"path and query have {len(target)} characters; expected {MAX_TARGET} at most")
            head, signature = requests.incoming(request.method, target, request.headers, me.name)
            endpoint = self._endpoint(scope)
            address = self.gate.limits.pseudonym(request.client.host if request.client else "")
            await run_in_threadpool(self.gate.admit, endpoint, head, signature, address)
            accept = _accept(request)
            _check_type(request, endpoint)
            limit = endpoint.max_bytes if endpoint.request else 0
            self.gate.hold(held, head.sender, address, bodies.announced(request, limit))
            body, digest = await bodies.receive(request, limit)
            requests.check_digest(head, digest)
            answer = await self._work(endpoint, head, request, address, body, accept)
            self.gate.hold(held, head.sender, address, len(answer.body))
        except ClientDisconnect:
            self.gate.note(name, 499, started, 0, 0)
            return
        except StorageFailed as error:
            stop = True
            log(Event.STORAGE_FAILED, level=logging.CRITICAL, error=error)
            failure = Failure("Unavailable", "the storage failed and this party stops; what it answered before is kept")
            answer = _refusal(503, failure, request)
        except Exception as error:
            if isinstance(error, WrongPin):
                await anyio.sleep(error.delay)  # takes no thread, so that who tries PINs delays nobody else
            answer = _refused(error, request)
        headers = await run_in_threadpool(requests.sign_response, me, head, answer.status, answer.media, answer.body)
        await self._response(answer, headers)(scope, receive, send)
        self.gate.note(name, answer.status, started, len(body), len(answer.body))
        if stop:
            self.gate.stop()

    async def _work(self, endpoint: Endpoint, *given: Any) -> _Answer:
        """Health is asked for above all while every handler is busy, so it takes a thread of its own."""
        limiter = None if endpoint.path == HEALTH else self.gate.handlers
        return await anyio.to_thread.run_sync(_work, endpoint, *given, limiter=limiter)

    def _endpoint(self, scope: Scope) -> Endpoint:
        if not self.methods or b"%" in scope["raw_path"]:  # no path needs escapes: there is one way to write each
            raise NotFound("there is no such path; GET /openapi.json lists all")
        if scope["method"] not in self.methods:
            raise MethodNotAllowed(f"the path takes {', '.join(sorted(self.methods))}")
        return self.methods[scope["method"]]

    def _response(self, answer: _Answer, headers: dict[str, str]) -> Response:
        headers["Cache-Control"] = "no-store"
        if answer.media:
            headers[TYPE_HEADER] = answer.media
        if answer.retry_after is not None:
            headers["Retry-After"] = str(ceil(answer.retry_after))
        if answer.status == STATUS[MethodNotAllowed]:
            headers["Allow"] = ", ".join(sorted(self.methods))
        return Response(answer.body, answer.status, headers)


def _target(scope: Scope) -> str:
    query = scope["query_string"]
    return (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")


def _check_type(request: Request, endpoint: Endpoint) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("the body is encoded; expected no Content-Encoding")
    takes = (bodies.MSGPACK,) if endpoint.request is bytes else bodies.MEDIA_TYPES
    if endpoint.request is not None and bodies.media_type(request.headers.get(TYPE_HEADER)) not in takes:
        raise UnsupportedMediaType(f"{TYPE_HEADER}: expected {' or '.join(takes)}")


def _accept(request: Request) -> str:
    sent = bodies.media_type(request.headers.get(TYPE_HEADER))
    return bodies.accepted(request.headers.get("accept"), sent if sent in bodies.MEDIA_TYPES else bodies.JSON)


def _work(endpoint: Endpoint, head: HttpRequest, request: Request, address: str, body: bytes, accept: str) -> _Answer:
    """Decode, call the handler, encode: all that takes time. Raises what it raises."""
    message: Message | bytes | None = None
    if endpoint.request is not None:
        kind = endpoint.request
        message = bodies.decode(body, kind, bodies.media_type(head.content_type)) if issubclass(kind, Message) else body
    query = bodies.query(request.scope["query_string"], endpoint.query)
    result = endpoint.handler(Call(head.sender, address, request.path_params, query, message))
    if type(result) is not (endpoint.response or type(None)):
        raise TypeError(f"{endpoint} answered {type(result).__name__}; its row in the table says otherwise")
    if result is None:
        return _Answer(204, "", b"")
    if isinstance(result, bytes):
        return _Answer(200, bodies.MSGPACK, result)
    return _Answer(200, accept, bodies.encode(result, accept))


def _refused(error: Exception, request: Request) -> _Answer:
    known = to_failure(error)
    if known is None:
        incident = secrets.token_hex(8)
        log(Event.INCIDENT, level=logging.ERROR, error=error, incident=incident)
        known = 500, Failure("ServerFault", f"unexpected failure; the log says more under incident {incident}")
    return _refusal(*known, request)


def _refusal(status: int, failure: Failure, request: Request) -> _Answer:
    try:
        media = _accept(request)
    except NotAcceptable:
        media = bodies.JSON
    return _Answer(status, media, bodies.encode(failure, media), failure.retry_after)


def _metrics(request: Request, metrics: Metrics, token: str) -> Response:
    """How many cases there are and how much is asked is the business of who runs the party."""
    if not token:
        detail = "nobody reads metrics here: set metrics_token in the settings, and send it as a bearer token"
        return JSONResponse({"error": "Forbidden", "detail": detail}, 403)
    given = request.headers.get("authorization", "").encode("latin-1")
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        return JSONResponse(
            {"error": "Unauthenticated", "detail": "expected `Authorization: Bearer` and this party's metrics_token"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )
    return Response(metrics.text(), media_type=CONTENT_TYPE)


def _unsigned(request: Request, error: Exception) -> Response:
    """For `/metrics` and `/openapi.json`, where Starlette itself refuses other methods."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": "MethodNotAllowed", "detail": error.detail}, error.status_code, error.headers)
