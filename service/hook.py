"""The takedown hook: what a platform has called for an upload that shows a case. A command, or a URL.

A command is run without a shell, with two more arguments, the file's absolute path (or the name that an upload was
given) and the sighting handle in hex; both
and the kind also stand in HUSHMATCH_FILE, HUSHMATCH_SIGHTING and HUSHMATCH_KIND. No other HUSHMATCH_* variable
reaches it: they may hold secrets. It has succeeded when it exits with 0. A URL gets a POST of JSON with "file",
"sighting" and "kind", and has succeeded when it answers 2xx; redirects are not followed.

Each (file, sighting) is called until it succeeds once, at most TRIES times, later and later. What is to be called and
what was stands in a mapping that the caller keeps, so that a restart goes on where it was: who is killed between a call
and its being kept calls again, with the same handle.

NOT protected: what the hook does. Its URL should be one of the platform's own, by https or on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Literal

import httpx
import msgspec

from protocols.base import ConfigurationError
from protocols.ledger import Message, decode, encode
from service.errors import ServiceError
from service.logs import Event, log
from service.messages import MediaKind

TRIES = 6
WAITS = (5, 30, 120, 600, 3600)  # seconds before the second try and the next ones
TIMEOUT = 30.0  # seconds a try

State = Literal["waiting", "done", "failed"]


class HookFailed(ServiceError):
    """A call did not succeed; says how it ended. Logged, never raised to the caller."""


class Call(Message, frozen=True):
    """A call to make, or made. file: path or name, as bytes. tries: made so far. due: of the next one, unix seconds."""

    file: bytes
    sighting: bytes
    kind: MediaKind
    state: State
    tries: int
    due: float


class Hook:
    """A command (a list of its arguments) or a URL, and what of it was called."""

    def __init__(
        self,
        target: str | Sequence[str],
        calls: MutableMapping[bytes, bytes],
        *,
        keep: Callable[[], object] = lambda: None,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """calls: SHA-256 of file and sighting -> encoded Call. keep: called after changes of it, to put it on disk.
        timeout: seconds. clock: unix seconds. Raises ConfigurationError.
        """
        self._target, self._calls, self._keep = target, calls, keep
        self._timeout, self._clock = timeout, clock
        if isinstance(target, str):
            if not target.startswith(("https://", "http://")):
                raise ConfigurationError("hook: expected a URL (https://...), or a command as a list of its arguments")
        elif not target or not all(isinstance(part, str) and part for part in target):
            raise ConfigurationError("hook: the command is empty; expected a program and its arguments")

    def add(self, path: str, sighting: bytes, kind: MediaKind) -> None:
        """Have it called for a file and a sighting, if that has not been said before; `run` does it.

        path: absolute, or an upload's name; a command gets it as an argument.
        """
        file = os.fsencode(path)
        key = hashlib.sha256(sighting + file).digest()
        if key not in self._calls:
            self._calls[key] = encode(Call(file, sighting, kind, "waiting", 0, 0.0))
            self._keep()

    def run(self) -> list[Call]:
        """Make the calls that are due, one after the other; returns them as they are then. A failure is logged."""
        made = []
        for key, value in list(self._calls.items()):
            call = decode(value, Call)
            if call.state == "waiting" and call.due <= self._clock():
                made.append(self._try(call))
                self._calls[key] = encode(made[-1])
                self._keep()
        return made

    def _try(self, call: Call) -> Call:
        tries = call.tries + 1
        try:
            (self._post if isinstance(self._target, str) else self._run)(call)
        except HookFailed as error:
            log(Event.HOOK_FAILED, level=logging.WARNING, error=error)
            if tries == TRIES:
                return msgspec.structs.replace(call, tries=tries, state="failed")
            return msgspec.structs.replace(call, tries=tries, due=self._clock() + WAITS[tries - 1])
        return msgspec.structs.replace(call, tries=tries, state="done")

    def _run(self, call: Call) -> None:
        file, sighting = os.fsdecode(call.file), call.sighting.hex()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HUSHMATCH_")}
        environment |= {"HUSHMATCH_FILE": file, "HUSHMATCH_SIGHTING": sighting, "HUSHMATCH_KIND": call.kind}
        try:
            done = subprocess.run(
                [*self._target, file, sighting],
                env=environment,
                stdin=subprocess.DEVNULL,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HookFailed(f"the command took more than {self._timeout:g} s") from None
        except OSError as error:
            raise HookFailed(f"the command cannot be run: {error.strerror}") from None
        if done.returncode:
            raise HookFailed(f"the command exited with {done.returncode}")

    def _post(self, call: Call) -> None:
        content = {"file": os.fsdecode(call.file), "sighting": call.sighting.hex(), "kind": call.kind}
        try:
            answer = httpx.post(
                str(self._target),
                content=json.dumps(content).encode(),
                headers={"Content-Type": "application/json"},
                timeout=self._timeout,
            )
        except httpx.HTTPError as error:
            raise HookFailed(f"the URL does not answer: {type(error).__name__}") from None
        if not answer.is_success:
            raise HookFailed(f"the URL answered {answer.status_code}")
