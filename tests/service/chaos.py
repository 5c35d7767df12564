"""A deployment whose processes are killed at random moments, people and a platform who go on all the same, and a
notebook of what each was told: whatever was acknowledged has to hold.

Processes are forked from one that has everything imported, so that a kill costs a second and not ten. Each writes down
the single-use material that it takes, and keeps writing to the same file after a restart.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import secrets
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

import numpy as np
from PIL import Image

from hashing import hash_image, pack
from protocols.base import HushmatchError
from protocols.ledger import decode, role_of
from protocols.scan.checker import ZeroPool
from protocols.scan.client import Client
from protocols.scan.dealing import Stock
from protocols.scan.founding_messages import SignedManifest
from protocols.scan.manifest import Pinned
from protocols.scan.matching_messages import ScanHeader
from protocols.scan.sealing import Verifier
from protocols.scan.sessions import Sessions
from service import client, config, up
from service.agreement import MANIFEST
from service.checker import PlatformRole
from service.errors import Unavailable
from service.exchange import ExchangeRole
from service.member import MemberRole
from service.messages import CaseStatus, Checked, OpenCase, WithdrawalRequest
from service.peer import Peer
from service.pins import new_number
from service.running import Running

KINDS = {"exchange": ExchangeRole, "member": MemberRole, "platform": PlatformRole}
THRESHOLD = 31
_FORK = multiprocessing.get_context("forkserver")
_PATIENCE = 240.0  # seconds until something that was interrupted has to be done


def serve(folder: Path, name: str) -> None:
    """A party's process."""
    os.setsid()
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    used = os.open(folder / f"{name}.used", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _write_down(used)
    home = folder / name
    KINDS[role_of(name)](home, config.load(home, config.Settings)).serve()


def _write_down(used: int) -> None:
    """Note each session that a member takes in, with its results, each deal that it spends, and a platform's zeros."""
    receive, take, hide = Sessions.receive_results, Stock.take, ZeroPool.take

    @wraps(receive)
    def receive_results(self, platform, message):
        told = receive(self, platform, message)
        header = decode(message.header.body, ScanHeader)
        os.write(used, f"session {header.session.hex()}\nresults {header.c1_digest.hex()}\n".encode())
        return told

    @wraps(take)
    def taken(self, deal_id, *given):
        found = take(self, deal_id, *given)
        os.write(used, f"deal {deal_id.hex()}\n".encode())
        return found

    @wraps(hide)
    def hidden(self, lanes):
        zeros = hide(self, lanes)
        os.write(used, f"zeros {hashlib.sha256(zeros.ciphertexts.tobytes()).hexdigest()}\n".encode())
        return zeros

    Sessions.receive_results, Stock.take, ZeroPool.take = receive_results, taken, hidden


class Forked:
    """As much of `subprocess.Popen` as a deployment uses."""

    def __init__(self, folder: Path, name: str) -> None:
        self._process = _FORK.Process(target=serve, args=(folder, name))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.poll()

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)


class Deployment(up.Deployment):
    """Processes that start quickly."""

    def start(self, name: str) -> None:
        self.processes[name] = Forked(self.folder, name)  # type: ignore[assignment]


@dataclass
class Opened:
    """A case as its person knows it. photos: which ones it is about."""

    message: OpenCase
    photos: list[int]
    withdrawing: bool = False
    withdrawn: bool = False


@dataclass
class Notebook:
    """What was acknowledged, and what was asked for."""

    cases: list[Opened] = field(default_factory=list)
    checks: int = 0
    repeated: int = 0


class Town:
    """A deployment, its people and its platform."""

    def __init__(self, folder: Path, seed: int, photos: int = 12, database: str = "") -> None:
        """database: the exchange's URL; its own file by default."""
        self.random, self.noise = random.Random(seed), np.random.default_rng(seed)
        self.folder, self.notes = folder, Notebook()
        up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=8)
        self.calls = folder / "calls"
        self._set_hook()
        self._set("exchange", "database", database)
        self.files = [self._photo(number) for number in range(photos)]
        prints = [hash_image(str(file)) for file in self.files]
        self.hashes = pack(prints)
        bits = np.unpackbits(self.hashes, axis=1).astype(int)
        self.same = (bits[:, None] != bits[None]).sum(axis=2) <= THRESHOLD
        _FORK.set_forkserver_preload(["tests.service.chaos"])
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        self.deployment = Deployment(folder)
        settings = config.load(folder / up.CLIENT, config.Client)
        signed = decode((folder / "exchange" / MANIFEST).read_bytes(), SignedManifest)
        self.pinned = Pinned(signed, config.digest_of(settings), allow_insecure=True)
        self.exchange = Peer(settings.exchange, "exchange", self.verifier("exchange"), None, timeout=60.0)
        self.settings = settings

    def verifier(self, name: str) -> Verifier:
        return self.pinned.parties[name]

    def _set_hook(self) -> None:
        script = self.folder / "hook.py"
        script.write_text(
            "import os, sys\n"
            f"out = os.open({str(self.calls)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
            "os.write(out, (sys.argv[1] + ' ' + sys.argv[2] + '\\n').encode())\n"
        )
        self._set(up.PLATFORM, "hook", shlex.join([sys.executable, "-S", str(script)]))

    def _set(self, name: str, setting: str, value: str) -> None:
        file = self.folder / name / config.FILE
        file.write_text(f"{setting} = {value!r}\n" + file.read_text())

    def _photo(self, number: int) -> Path:
        """Something with enough detail, like nothing else here."""
        coarse = self.noise.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        file = self.folder / f"photo-{number}.png"
        Image.fromarray(coarse).resize((160, 160), Image.Resampling.BICUBIC).save(file)
        return file

    # Processes ---------------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        for name in names or up.PARTIES:
            self.deployment.start(name)
        for name in names or up.PARTIES:
            self.deployment.wait(name)

    def crash(self, name: str) -> None:
        """Kill, and start again."""
        self.deployment.kill(name)
        self.start(name)

    def kill(self, name: str) -> None:
        self.deployment.kill(name)

    def stop(self) -> None:
        for process in self.deployment.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()

    # People and the platform -------------------------------------------------------------------------------------

    def until_done(self, work: Callable[[], object]) -> object:
        """As people do: again, while somebody is away. What comes then is the answer."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return work()
            except HushmatchError as error:
                if not isinstance(error, Unavailable) or time.monotonic() > until:
                    raise
                self.notes.repeated += 1
                time.sleep(0.3)

    def open(self, photos: list[int]) -> Opened:
        """A case about photos, acknowledged."""
        sealed = Client(self.pinned, self.pinned.parameters).seal(["case"] * len(photos), self.hashes[photos])
        case = Opened(OpenCase(new_number(), secrets.token_bytes(32), True, sealed.cases[0].entries), photos)
        self.until_done(lambda: self.exchange.call("POST", "/cases", case.message, kind=CaseStatus))
        self.notes.cases.append(case)
        return case

    def status(self, case: Opened) -> CaseStatus:
        asked = WithdrawalRequest(case.message.case, case.message.pin)
        return self.until_done(lambda: self.exchange.call("POST", "/cases/status", asked, kind=CaseStatus))  # type: ignore[return-value]

    def withdraw(self, case: Opened) -> None:
        """Withdrawn, acknowledged."""
        case.withdrawing = True
        asked = WithdrawalRequest(case.message.case, case.message.pin)
        self.until_done(lambda: self.exchange.call("POST", "/cases/withdraw", asked, kind=CaseStatus))
        case.withdrawn = True

    def wait_for(self, case: Opened, *states: str) -> CaseStatus:
        until = time.monotonic() + _PATIENCE
        while (status := self.status(case)).status not in states:
            assert time.monotonic() < until, f"a case stays {status.status}; expected {states}"
            time.sleep(0.2)
        return status

    def device(self) -> client.Device:
        return client.Device(self.settings)

    def platform(self) -> Running:
        home = self.folder / up.PLATFORM
        return Running(home, config.load(home, config.Settings))

    def holding(self, photo: int, cases: list[Opened]) -> int:
        """How many of the cases the upload of a photo shows, in the clear."""
        return sum(bool(self.same[photo, case.photos].any()) for case in cases)

    def check(self, photos: list[int]) -> Counter[int]:
        """Uploads of photos, answered: the number of sightings of each. None of what was withdrawn before it began."""
        allowed: list[Opened] = []

        def once() -> Checked:
            allowed[:] = [case for case in self.notes.cases if not case.withdrawn]
            return self.platform().check([str(self.files[photo]) for photo in photos])

        checked = self.until_done(once)
        assert isinstance(checked, Checked)
        assert not checked.refused
        found = Counter({self.files.index(Path(hit.path)): len(hit.sightings) for hit in checked.hits})
        late = [case for case in self.notes.cases if case not in allowed and not case.withdrawn]
        for photo, count in found.items():
            assert count <= self.holding(photo, allowed + late), "a match of a case that was withdrawn before"
        self.notes.checks += 1
        return found

    def settled(self) -> None:
        """Everything acknowledged holds: what is open matches as in the clear, what is withdrawn is erased."""
        open_ones = [case for case in self.notes.cases if not case.withdrawing]
        gone = [case for case in self.notes.cases if case.withdrawing]
        for case in open_ones:
            self.wait_for(case, "active")
        for case in gone:
            self.withdraw(case)  # said again: the same answer
            status = self.wait_for(case, "deleted")
            self.device().check_erasure(status)
        photos = list(range(len(self.files)))
        expected = {photo: count for photo in photos if (count := self.holding(photo, open_ones))}
        until = time.monotonic() + _PATIENCE
        while (found := self.check(photos)) != expected:  # what is active stands in a block soon
            assert time.monotonic() < until, f"{found} match; in the clear {expected}"
            time.sleep(0.5)
        for case in open_ones:
            status = self.status(case)
            assert (status.received, status.accepted, status.refused) == (0, len(case.photos), 0)

    def used_once(self) -> Counter[str]:
        """How much single-use material was used, by kind; none of it twice at a party, no results in two sessions."""
        used: Counter[str] = Counter()
        sessions: dict[str, str] = {}
        for file in sorted(self.folder.glob("*.used")):
            lines = file.read_text().splitlines()
            twice = [line for line, count in Counter(lines).items() if count > 1]
            assert not twice, f"{file.stem} used {twice} again"
            used.update(line.split()[0] for line in lines)
            kept = [line.split()[1] for line in lines if line.startswith(("session", "results"))]
            for session, results in zip(kept[::2], kept[1::2], strict=True):
                assert sessions.setdefault(results, session) == session, "one batch of results in two sessions"
        return used

    def hook_calls(self) -> Counter[str]:
        """How often the hook was called for each file and handle."""
        return Counter(self.calls.read_text().splitlines() if self.calls.exists() else [])


def alongside(work: Callable[[], object]) -> Callable[[], object]:
    """Run in a thread; call what comes back for the result, or its error."""
    results: list[object] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> object:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    return join
