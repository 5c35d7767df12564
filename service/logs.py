"""Logs as one JSON object a line, of fields on a list and values of a known shape; whatever else is left out.

A record's text and arguments are never written: no library's message, no exception's message and no careless
f-string can carry a body, a PIN, a fingerprint or an address into a log. Of an exception the class is written, and
where it was raised.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

_LOGGER = logging.getLogger("hushmatch")
_FRAMES, _CAUSES = 8, 4


class Event(StrEnum):
    """All that is logged."""

    REQUEST = "request"
    INCIDENT = "incident"
    STORAGE_FAILED = "storage failed"
    HOOK_FAILED = "takedown hook failed"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "event": lambda value: isinstance(value, Event),
    "endpoint": _matches(r"[A-Z]{1,10} (/|(/([a-z.-]{1,40}|\{[a-z_]{1,40}(:[a-z]{1,20})?\}))+)|other"),
    "status": _is_number,
    "seconds": _is_number,
    "bytes": _is_number,
    "incident": _matches(r"[0-9a-f]{16}"),
}


def log(event: Event, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event with fields of the list: endpoint, status, seconds, bytes, incident. error: what was raised."""
    _LOGGER.log(level, event, exc_info=error, extra={"event": event, **fields})


def set_up(role: str, stream: TextIO = sys.stderr) -> None:
    """Let this process log as `role`; what libraries log only from warnings on, and without its text."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(role))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    _LOGGER.setLevel(logging.INFO)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, role, the fields of the list, and `fault`."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "logger": record.name,
            "role": self._role,
        }
        line |= {name: value for name, fits in _FIELDS.items() if fits(value := getattr(record, name, None))}
        if record.exc_info and record.exc_info[1] is not None:
            line["fault"] = _fault(record.exc_info[1])
        return json.dumps(line)


def _fault(error: BaseException) -> list[str]:
    """Classes of an exception and of its causes, and the frames that raised each; no messages, no values."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < _CAUSES:
        frames = [f"{Path(f.f_code.co_filename).name}:{n} {f.f_code.co_name}" for f, n in _walk(cause)]
        lines.append(f"{type(cause).__name__}: {' < '.join(frames[-1 : -_FRAMES - 1 : -1])}")
        cause = cause.__cause__ or cause.__context__
    return lines


def _walk(error: BaseException) -> list[tuple[Any, int]]:
    return list(traceback.walk_tb(error.__traceback__))
