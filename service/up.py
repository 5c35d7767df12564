"""A whole deployment on this machine: exchange, three members, a platform, each a process, data in one folder.

A process that ends is started again, later and later if it ends again and again. One `up` serves a folder at a time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from protocols.base import ConfigurationError, HushmatchError
from protocols.ledger import role_of
from protocols.scan.founding_messages import SignedManifest
from protocols.scan.manifest import Pinned
from service import agreement, config
from service.agreement import ORDER, write_whole
from service.errors import Unavailable
from service.peer import Peer
from service.web import Health

PLATFORM = "platform-1"
PARTIES = (*ORDER, PLATFORM)
CLIENT = "client.toml"
_MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296"  # large messages without page faults
_START_SECONDS = 60.0
_STEADY_SECONDS = 60.0  # who ran so long is started again at once
_LONGEST_PAUSE = 60.0
_LOOK = 0.5  # seconds
_LOCK = "up.lock"


def create(
    folder: Path, *, first_port: int = 8100, parameter_set: str = "N4096", batch: int = 16, platforms: int = 1
) -> None:
    """Keys, manifest and settings of all parties, unless they are there. first_port: 0 for any free ports.

    Raises ConfigurationError.
    """
    if (folder / CLIENT).exists():
        return
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} holds something else; give an empty folder, or one that `up` made")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    insecure = parameter_set.startswith("INSECURE")
    parties = (*ORDER, *(f"platform-{number}" for number in range(1, platforms + 1)))
    passphrases = {name: secrets.token_urlsafe(24) for name in parties}
    keys = []
    for name in parties:
        keys.append(agreement.make_keys(folder / name, name, passphrases[name]))
        write_whole(folder / name / "passphrase", passphrases[name].encode())
    agreed = agreement.agree(keys, parameter_set=parameter_set, lanes=1 if insecure else 8, batch=batch)
    parts = [agreement.sign(folder / name, name, passphrases[name], agreed) for name in ORDER[:3]]
    signed, pin = agreement.join(parts, allow_insecure=insecure)
    ports = _ports(first_port, len(parties))
    urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(parties, ports, strict=True)}
    for name in parties:
        listen = urls[name].removeprefix("http://")
        more: dict[str, str | int | bool] = {"passphrase_file": "passphrase", "allow_insecure": insecure}
        more["metrics_token"] = secrets.token_urlsafe(24)
        agreement.settle(folder / name, signed, pin, listen, urls, name, **more)
    lines = [f'exchange = "{urls["exchange"]}"', f'digest = "{pin.hex()}"', f"allow_insecure = {str(insecure).lower()}"]
    write_whole(folder / CLIENT, ("\n".join(lines) + "\n").encode())


def _ports(first: int, count: int) -> list[int]:
    """Free ports, from `first` on; any if that is 0."""
    ports: list[int] = []
    port = first
    while len(ports) < count:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                port += 1
                continue
            ports.append(probe.getsockname()[1])
        port = port + 1 if first else 0
    return ports


class Deployment:
    """The processes."""

    def __init__(self, folder: Path) -> None:
        """folder: as `create` made it."""
        self.folder = folder
        self.parties = (*ORDER, *sorted(path.name for path in folder.glob("platform-*") if path.is_dir()))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """One party's process; its log is NAME.log. It is up when `wait` says so."""
        kind = role_of(name)
        command = [sys.executable, "-m", "hushmatch", kind, "serve", "--folder", str(self.folder / name)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HUSHMATCH_")}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "GLIBC_TUNABLES": _MALLOC}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )

    def wait(self, name: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Until a party answers, or `stop` says to end. Raises Unavailable; ConfigurationError, IntegrityError."""
        peer = self._peer(name)
        until = time.monotonic() + _START_SECONDS
        while not stop() and time.monotonic() < until:
            if self.processes[name].poll() is not None:
                raise Unavailable(f"{name} ended at once: {self.last_words(name)}")
            try:
                peer.call("GET", "/health", kind=Health)
            except HushmatchError:  # not there yet, or somebody else is, and then it ends
                time.sleep(0.1)
            else:
                return
        if not stop():
            raise Unavailable(f"{name} does not answer after {_START_SECONDS:.0f} s: {self.last_words(name)}", peer.url)

    def last_words(self, name: str) -> str:
        """The last line of a party's log, and where it is."""
        log = self.folder / f"{name}.log"
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        return f"{next((line for line in reversed(lines) if line.strip()), 'nothing')[:500]} (see {log})"

    def kill(self, name: str) -> None:
        """As a crash would."""
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self) -> None:
        """All of them, platforms first."""
        for name in reversed(self.parties):
            process = self.processes.get(name)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _peer(self, name: str) -> Peer:
        home = self.folder / name
        settings = config.load(home, config.Settings, {})
        signed = agreement.read(home / settings.manifest, SignedManifest)
        pinned = Pinned(
            signed,
            config.digest_of(settings),
            allow_insecure=settings.allow_insecure,
            allow_unsafe_threshold=settings.allow_unsafe_threshold,
        )
        return Peer(f"http://{settings.listen}", name, pinned.parties[name], None, timeout=2.0)


class _Pauses:
    """How long to wait before a party that ended is started again."""

    def __init__(self) -> None:
        self._pause: dict[str, float] = {}
        self._started: dict[str, float] = {}

    def next(self, name: str) -> float:
        """Seconds: none for one that ran for a while, else twice as many as the time before."""
        now = time.monotonic()
        steady = now - self._started.get(name, float("-inf")) > _STEADY_SECONDS
        pause = 0.0 if steady else min(_LONGEST_PAUSE, 2 * self._pause.get(name, 0.0) or 1.0)
        self._pause[name], self._started[name] = pause, now + pause
        return pause


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """This process serves the folder. Raises ConfigurationError if another one does."""
    with open(os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"{folder} is served by another `hushmatch up`; stop that one first") from None
        yield


def up(folder: Path, say: Callable[[str], None], stop: Callable[[], bool]) -> None:
    """Start everything, and keep it up until `stop` says to end; a party that ends is started again.

    Raises ConfigurationError; Unavailable if a party does not start.
    """
    create(folder)
    with _alone(folder):
        deployment = Deployment(folder)
        try:
            _keep_up(deployment, say, stop)
        finally:
            deployment.stop()
            say("stopped")


def _keep_up(deployment: Deployment, say: Callable[[str], None], stop: Callable[[], bool]) -> None:
    for name in deployment.parties:
        deployment.start(name)
    for name in deployment.parties:
        deployment.wait(name, stop)
        if stop():
            return
        say(f"{name} is up")
    device, checker = (shlex.quote(str(deployment.folder / name)) for name in (CLIENT, PLATFORM))
    say(f"open a case:    {shlex.quote(sys.argv[0])} case open --config {device} FILE...")
    say(f"check uploads:  {shlex.quote(sys.argv[0])} platform check --folder {checker} FILE...")
    pauses, due = _Pauses(), dict[str, float]()
    while not stop():
        for name, process in list(deployment.processes.items()):
            if process.poll() is not None and name not in due:
                pause = pauses.next(name)
                due[name] = time.monotonic() + pause
                when = f" in {pause:.0f} s" if pause else ""
                log = deployment.folder / f"{name}.log"
                say(f"{name} ended with {process.returncode} (see {log}); starting it again{when}")
        for name in [name for name, at in due.items() if at <= time.monotonic()]:
            del due[name]
            deployment.start(name)
        time.sleep(_LOOK)
