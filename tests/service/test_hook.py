"""The hook is called once for a file and a sighting, tried again when it fails, and not for ever."""

import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from protocols.base import ConfigurationError
from service.hook import TRIES, WAITS, Hook

HANDLE = bytes(range(16))

# Notes how it was called; fails as long as the file `fail` is there.
PROGRAM = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
seen = {name: value for name, value in os.environ.items() if name.startswith("HUSHMATCH_")}
with (folder / "calls").open("a") as out:
    out.write(json.dumps([sys.argv[2:], seen]) + "\\n")
sys.exit((folder / "fail").exists())
"""


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def command(tmp_path):
    return [sys.executable, "-c", PROGRAM, str(tmp_path)]


def calls(tmp_path):
    path = tmp_path / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_command_gets_file_and_handle_and_no_secret(tmp_path, command, monkeypatch):
    monkeypatch.setenv("HUSHMATCH_PASSPHRASE", "secret")
    hook = Hook(command, {})
    file = str(tmp_path / "-rf $(x).jpg")
    hook.add(file, HANDLE, "photo")
    (call,) = hook.run()
    assert (call.state, call.tries) == ("done", 1)
    seen = {"HUSHMATCH_FILE": file, "HUSHMATCH_SIGHTING": HANDLE.hex(), "HUSHMATCH_KIND": "photo"}
    assert calls(tmp_path) == [[[file, HANDLE.hex()], seen]]


def test_each_file_and_sighting_once_over_restarts_too(tmp_path, command):
    kept, saved = {}, []
    for _ in range(2):
        hook = Hook(command, kept, keep=lambda: saved.append(dict(kept)))
        for file, handle in (("a.jpg", HANDLE), ("a.jpg", HANDLE), ("b.jpg", HANDLE), ("a.jpg", bytes(16))):
            hook.add(file, handle, "photo")
        hook.run()
    assert len(calls(tmp_path)) == 3
    assert saved[-1] == kept
    assert len(saved) == 3 + 3  # kept when added, and when called


def test_a_failing_hook_is_tried_later_and_later_and_not_for_ever(tmp_path, command, clock, caplog):
    (tmp_path / "fail").touch()
    kept = {}
    Hook(command, kept, clock=clock).add("a.jpg", HANDLE, "photo")
    for wait in (*WAITS, 0):
        with caplog.at_level(logging.WARNING, "hushmatch"):
            hook = Hook(command, kept, clock=clock)  # started anew each time
            (call,) = hook.run()
        assert hook.run() == []
        clock.now += wait - 1
        assert hook.run() == []
        clock.now += 1
    assert (call.state, call.tries) == ("failed", TRIES)
    assert len(caplog.records) == len(calls(tmp_path)) == TRIES
    clock.now += 1e6
    assert hook.run() == []


def test_a_hook_that_recovers_is_done(tmp_path, command, clock):
    (tmp_path / "fail").touch()
    hook = Hook(command, {}, clock=clock)
    hook.add("a.jpg", HANDLE, "video")
    assert hook.run()[0].state == "waiting"
    (tmp_path / "fail").unlink()
    clock.now += WAITS[0]
    assert hook.run()[0].state == "done"
    clock.now += 1e6
    assert hook.run() == []


@pytest.mark.parametrize(
    ("target", "timeout"), [(["/no/such/program"], 5), ([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)]
)
def test_a_command_that_cannot_run_or_hangs_has_failed(target, timeout):
    hook = Hook(target, {}, timeout=timeout)
    hook.add("a.jpg", HANDLE, "photo")
    assert hook.run()[0].state == "waiting"


@pytest.mark.parametrize(("status", "state"), [(204, "done"), (302, "waiting"), (500, "waiting")])
def test_a_url_is_posted_to(status, state):
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook = Hook(f"http://127.0.0.1:{server.server_port}/takedown", {})
        hook.add("/a/\udcff.jpg", HANDLE, "photo")
        assert [call.state for call in hook.run()] == [state]
        server.shutdown()
    ((kind, body),) = bodies
    assert kind == "application/json"
    assert json.loads(body) == {"file": "/a/\udcff.jpg", "sighting": HANDLE.hex(), "kind": "photo"}


def test_a_url_that_does_not_answer_has_failed():
    hook = Hook("http://127.0.0.1:9/", {})
    hook.add("a.jpg", HANDLE, "photo")
    assert hook.run()[0].state == "waiting"


@pytest.mark.parametrize("target", ["rm -rf", "ftp://a", [], [""]])
def test_what_is_no_hook_is_refused(target):
    with pytest.raises(ConfigurationError, match="hook"):
        Hook(target, {})
