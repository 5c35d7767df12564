"""A whole deployment on this machine: exchange, three members, a platform, each a process, data in one folder."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx

from protocols.base import ConfigurationError
from protocols.ledger import role_of
from service import agreement
from service.agreement import ORDER, write_whole
from service.config import FILE
from service.errors import Unavailable

PLATFORM = "platform-1"
PARTIES = (*ORDER, PLATFORM)
CLIENT = "client.toml"
_MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296"  # large messages without page faults
_START_SECONDS = 60.0


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

    def wait(self, name: str) -> None:
        """Until a party answers. Raises Unavailable."""
        url = self._url(name)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self.processes[name].poll() is not None:
                raise Unavailable(f"{name} ended at once; see {self.folder / name}.log")
            try:
                if httpx.get(f"{url}/health", timeout=2.0, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise Unavailable(f"{name} does not answer after {_START_SECONDS:.0f} s; see {self.folder / name}.log", url)

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

    def _url(self, name: str) -> str:
        settings = tomllib.loads((self.folder / name / FILE).read_text())
        return f"http://{settings['listen']}"


def up(folder: Path, say: Callable[[str], None], stop: Callable[[], bool]) -> None:
    """Start everything, and keep it up until `stop` says to end; a party that ends is started again."""
    create(folder)
    deployment = Deployment(folder)
    try:
        for name in deployment.parties:
            deployment.start(name)
        for name in deployment.parties:
            deployment.wait(name)
            say(f"{name} is up")
        say(f"open a case:    hushmatch case open --config {folder / CLIENT} FILE...")
        say(f"check uploads:  hushmatch platform check --folder {folder / PLATFORM} FILE...")
        while not stop():
            for name, process in list(deployment.processes.items()):
                if process.poll() is not None:
                    say(f"{name} ended with {process.returncode}; starting it again")
                    deployment.start(name)
            time.sleep(0.5)
    finally:
        deployment.stop()
        say("stopped")
