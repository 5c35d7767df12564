"""A deployment on one machine: made once, kept up, stopped whole; what goes wrong is said."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from protocols.base import ConfigurationError
from service import config, up
from service.errors import Unavailable
from service.web import Endpoint, listening
from tests.service.keys import party, verifiers
from tests.service.roles import KINDS
from tests.service.serving import build, serving

ROOT = os.fspath(up.Path(__file__).parents[2])


@pytest.fixture
def folder(tmp_path, cheap_scrypt):
    up.create(tmp_path / "all", first_port=0, parameter_set="INSECURE_TINY", batch=8)
    return tmp_path / "all"


def test_a_deployment_is_made_once_in_an_empty_folder(folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    up.create(folder, first_port=0)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*") if path.name != "manifest.signed")
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("to keep")
    with pytest.raises(ConfigurationError, match="holds something else"):
        up.create(other)
    assert [path.name for path in other.iterdir()] == ["letter.txt"]


def test_ports_that_are_taken_are_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = up._ports(port, 3)
    assert port not in ports
    assert len(set(ports)) == 3
    assert min(ports) > port


def test_a_port_that_somebody_has_is_named():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} cannot be listened at: Address already in"):
            listening("127.0.0.1", port)


# Keeping it up, with processes that do nothing -------------------------------------------------------------------


class Idle(up.Deployment):
    """`programs`: what a party runs; it answers at once."""

    def __init__(self, folder):
        super().__init__(folder)
        self.programs = {}

    def start(self, name):
        program = self.programs.get(name, "import time; time.sleep(60)")
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-S", "-c", program]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait(self, name, stop=lambda: False):
        pass


@pytest.fixture
def kept(folder, monkeypatch):
    """What `up` says, its deployment, and how to stop it, while it runs in a thread."""
    monkeypatch.setattr(up, "_LOOK", 0.01)
    made = []

    def make(folder):
        made.append(Idle(folder))
        return made[0]

    monkeypatch.setattr(up, "Deployment", make)
    said, stop = [], threading.Event()
    thread = threading.Thread(target=up.up, args=(folder, said.append, stop.is_set))
    thread.start()
    _until(lambda: any(line.startswith("check uploads") for line in said))
    yield made[0], said, stop, thread
    stop.set()
    thread.join(30)


def _until(what, seconds=30.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_party_that_ends_is_reported_and_started_again_and_all_end_at_the_end(kept):
    deployment, said, stop, thread = kept
    assert [line for line in said if line.endswith(" is up")] == [f"{name} is up" for name in up.PARTIES]
    first = deployment.processes["member-2"]
    deployment.kill("member-2")
    _until(lambda: deployment.processes["member-2"] is not first)
    log = deployment.folder / "member-2.log"
    assert said[-1] == f"member-2 ended with -9 (see {log}); starting it again"
    stop.set()
    thread.join(30)
    assert said[-1] == "stopped"
    assert all(process.poll() is not None for process in deployment.processes.values())


def test_a_party_that_ends_again_and_again_is_started_later_and_later(kept):
    deployment, said, _, _ = kept
    deployment.programs = {"member-2": "raise SystemExit(3)"}
    deployment.kill("member-2")
    _until(lambda: sum("member-2 ended" in line for line in said) == 3)
    assert [line.split("starting it again")[1] for line in said if "member-2 ended" in line] == [
        "",
        " in 1 s",
        " in 2 s",
    ]
    assert "ended with 3" in said[-1]
    pauses = up._Pauses()
    assert [pauses.next("a") for _ in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_folder_is_served_once(kept):
    deployment, _, _, _ = kept
    with pytest.raises(ConfigurationError, match="served by another `hushmatch up`"):
        up.up(deployment.folder, lambda line: None, lambda: True)
    assert all(process.poll() is None for process in deployment.processes.values())


def test_a_party_that_does_not_start_is_named_with_what_it_said_last(folder, monkeypatch):
    deployment = Idle(folder)
    deployment.programs = {"exchange": "raise SystemExit('ConfigurationError: 127.0.0.1:1 cannot be listened at')"}
    deployment.start("exchange")
    with pytest.raises(Unavailable, match=r"exchange ended at once: .* cannot be listened at \(see .*/exchange\.log\)"):
        up.Deployment.wait(deployment, "exchange")
    deployment.start("member-1")
    up.Deployment.wait(deployment, "member-1", lambda: True)  # Ctrl-C meanwhile
    monkeypatch.setattr(up, "_START_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="member-1 does not answer after"):
        up.Deployment.wait(deployment, "member-1")
    deployment.stop()


def test_somebody_else_who_answers_at_the_port_does_not_pass_for_the_party(folder, monkeypatch):
    other = party("member-1")
    with serving(build([Endpoint("GET", "/x", lambda call: None)], other, verifiers(other))) as url:
        settings = folder / "member-1" / config.FILE
        listen = config.load(folder / "member-1", config.Settings).listen
        settings.write_text(settings.read_text().replace(listen, url.removeprefix("http://")))
        monkeypatch.setattr(up, "_START_SECONDS", 0.3)
        deployment = Idle(folder)
        deployment.start("member-1")
        assert httpx.get(url + "/health").status_code == 200
        with pytest.raises(Unavailable, match="member-1 does not answer"):
            up.Deployment.wait(deployment, "member-1")
        deployment.stop()


# As people run it ------------------------------------------------------------------------------------------------


def _run(*arguments, **more):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUSHMATCH_")}
    command = [sys.executable, "-m", "hushmatch", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT, **more
    )


def _children(process):
    """Process ids of the parties, by name."""
    found = {}
    for entry in up.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = entry.read_bytes().split(b"\0")
            parent = re.search(r"PPid:\s+(\d+)", (entry.parent / "status").read_text())[1]
        except (OSError, TypeError):
            continue
        if int(parent) == process.pid and b"serve" in arguments:
            found[up.Path(os.fsdecode(arguments[-2])).name] = int(entry.parent.name)
    return found


@pytest.mark.slow
def test_up_on_the_command_line_starts_again_who_is_killed_and_ctrl_c_stops_all(folder):
    process = _run("up", folder)
    lines = iter(process.stdout.readline, "")
    said = [next(lines) for _ in range(len(up.PARTIES) + 2)]
    assert said[-1].startswith("check uploads")
    children = _children(process)
    assert children.keys() == set(up.PARTIES)

    second = _run("up", folder)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert out.count("\n") == 1
    assert "ConfigurationError: " in out
    assert "served by another `hushmatch up`" in out
    taken = _run("member", "serve", "--folder", folder / "member-1")
    out, _ = taken.communicate(timeout=60)
    assert taken.returncode == 1
    assert "Traceback" not in out

    os.kill(children["member-2"], signal.SIGKILL)
    assert next(lines).startswith("member-2 ended with -9")
    _until(lambda: _children(process).get("member-2", children["member-2"]) != children["member-2"])
    up.Deployment.wait(_Alive(folder), "member-2")

    process.send_signal(signal.SIGINT)
    assert list(lines)[-1] == "stopped\n"
    assert process.wait(30) == 0
    assert not _children(process)
    for name in up.PARTIES:
        KINDS[name.partition("-")[0]](folder / name, config.load(folder / name, config.Settings)).store.close()


class _Alive(up.Deployment):
    def __init__(self, folder):
        super().__init__(folder)
        self.processes = dict.fromkeys(self.parties, self)

    def poll(self):
        return None
