"""How long does a person wait for a case to be opened while many others open theirs?

A deployment's exchange and its three members as processes of this machine, and so many people at once in threads of
this one. Each opens one case, from an address and over a connection of its own, comes again when it is asked to, and
makes room for the next when the case is opened. `answer` is one request that was taken; `wait` counts from the first
time a person asked, with all the times of being sent back, each counted in `refused` by the limit that said so. The
members check cases and publish blocks meanwhile, as they do.

The people's own work is on the same processors, and counted as `people`; what a device does before it asks (sealing,
stretching the PIN) is done before, or left out.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from matplotlib.figure import Figure
from prometheus_client.parser import text_string_to_metric_families

from experiments import plots
from experiments.attacks.common import random_hashes
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from protocols.base import HushmatchError
from protocols.scan.client import Client
from protocols.scan.enrolling_messages import SealedEntry
from protocols.scan.founding_messages import SignedManifest
from protocols.scan.manifest import Pinned
from service import config as settings_of
from service import up
from service.errors import LimitReached
from service.messages import CaseStatus, OpenCase
from service.peer import Peer
from service.pins import KEY_BYTES, new_number

QUESTION = "How long does a person wait for a case to be opened while many others open theirs?"
PARTIES = up.PARTIES[:4]  # no platform


@dataclass(frozen=True)
class Config:
    """people: at once, in one run after the other, for so many seconds each. entries: of a case, as of one photo."""

    seed: int = 1
    parameter_sets: tuple[str, ...] = ("INSECURE_TINY", "N4096")
    people: tuple[int, ...] = (10, 50)
    seconds: float = 30.0
    entries: int = 1
    most: int = 4000  # cases that are sealed before it begins


QUICK = Config(parameter_sets=("INSECURE_TINY",), people=(4,), seconds=3.0, most=200)


@dataclass
class Crowd:
    """What people were told, in seconds; refused: by error and what it was about."""

    answer: list[float] = field(default_factory=list)
    wait: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def run(config: Config, lab: Lab) -> Findings:
    """One deployment a parameter set, one crowd a size."""
    findings = Findings(tables={"opening": [], "processors": [], "refused": []})
    rng = np.random.default_rng(config.seed)
    for parameter_set in lab.progress(config.parameter_sets, "opening cases", len(config.parameter_sets)):
        with tempfile.TemporaryDirectory() as folder, deployment(Path(folder) / "up", parameter_set) as home:
            for people in config.people:
                sealed = seal(home, random_hashes(rng, config.most * config.entries), config.entries)
                before = processor_seconds(home)
                crowd = open_cases(home, sealed, people, config.seconds)
                after = processor_seconds(home)
                point: Row = {"parameter_set": parameter_set, "people": people}
                findings.tables["opening"].append(point | summary(crowd))
                findings.tables["processors"] += [
                    point | {"process": name, "share": (after[name] - before[name]) / crowd.seconds} for name in after
                ]
                findings.tables["refused"] += [
                    point | {"limit": limit, "times": times} for limit, times in sorted(crowd.refused.items())
                ]
    for row in findings.tables["opening"]:
        name = f"{row['parameter_set']}, {row['people']} people"
        for number in ("opened_a_second", "answer_p50_s", "answer_p99_s", "wait_p50_s", "wait_p99_s"):
            findings.headline[f"{name}: {number}"] = row[number]
    return findings


@contextmanager
def deployment(folder: Path, parameter_set: str) -> Iterator[Path]:
    """Exchange and members as processes, until it ends; their key is made."""
    up.create(folder, first_port=0, parameter_set=parameter_set, batch=8)
    running = up.Deployment(folder)
    try:
        for name in PARTIES:
            running.start(name)
        for name in PARTIES:
            running.wait(name)
        until = time.monotonic() + 60.0
        while _metrics(folder, "member-1")["hushmatch_has_key"] < 1 and time.monotonic() < until:
            time.sleep(0.2)
        yield folder
    finally:
        running.stop()


def seal(folder: Path, hashes: np.ndarray, entries: int) -> list[list[SealedEntry]]:
    """The entries of cases, ready to be sent."""
    pinned = _pinned(folder)
    cases = [str(row // entries) for row in range(len(hashes))]
    return [case.entries for case in Client(pinned, pinned.parameters).seal(cases, hashes).cases]


def open_cases(folder: Path, sealed: list[list[SealedEntry]], people: int, seconds: float) -> Crowd:
    """Let people open cases for so long, or until none is left in `sealed`, which they use up."""
    crowd, pinned, until = Crowd(), _pinned(folder), time.monotonic() + seconds
    started = time.monotonic()
    context = ssl.create_default_context()  # once: each connection would read all certificates again
    url = settings_of.load(folder / up.CLIENT, settings_of.Client).exchange

    def come() -> None:
        """One person after the other."""
        peer = Peer(url, "exchange", pinned.parties["exchange"], None, timeout=60.0)
        while time.monotonic() < until:
            try:
                entries = sealed.pop()
            except IndexError:
                return
            place = len(sealed)
            here = httpx.HTTPTransport(verify=context, local_address=f"127.1.{place // 250}.{1 + place % 250}")
            with httpx.Client(transport=here, timeout=60.0, trust_env=False) as peer._http:
                _open(peer, OpenCase(new_number(), secrets.token_bytes(KEY_BYTES), True, entries), until, crowd)

    threads = [threading.Thread(target=come) for _ in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    crowd.seconds = time.monotonic() - started
    return crowd


def _open(peer: Peer, message: OpenCase, until: float, crowd: Crowd) -> None:
    """One case, as a person's device does it: again, when it is asked to come again."""
    first = time.perf_counter()
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            peer.call("POST", "/cases", message, kind=CaseStatus)
        except LimitReached as full:
            crowd.refused[f"LimitReached: {str(full).partition(';')[0]}"] += 1
            time.sleep(max(1.0, full.retry_after))
        except HushmatchError as error:
            crowd.refused[f"{type(error).__name__}: {error}"] += 1
            time.sleep(1.0)
        else:
            now = time.perf_counter()
            crowd.answer.append(now - started)
            crowd.wait.append(now - first)
            return


def summary(crowd: Crowd) -> Row:
    """How many cases, and how long they took."""
    row: Row = {"opened": len(crowd.answer), "opened_a_second": len(crowd.answer) / crowd.seconds}
    row |= {"sent_back": crowd.refused.total()}
    for name, seconds in (("answer", crowd.answer), ("wait", crowd.wait)):
        p50, p99, longest = np.percentile(seconds, (50, 99, 100)) if seconds else (None, None, None)
        row |= {f"{name}_p50_s": p50, f"{name}_p99_s": p99, f"{name}_longest_s": longest}
    return row


def processor_seconds(folder: Path) -> dict[str, float]:
    """Processor time of each process so far, of people too."""
    parties = {name: _metrics(folder, name)["process_cpu_seconds_total"] for name in PARTIES}
    return parties | {"people": time.process_time()}


def _metrics(folder: Path, name: str) -> dict[str, float]:
    settings = settings_of.load(folder / name, settings_of.Settings)
    mine = {"Authorization": f"Bearer {settings.metrics_token}"}
    text = httpx.get(f"http://{settings.listen}/metrics", headers=mine, timeout=30.0, trust_env=False).text
    return {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}


def _pinned(folder: Path) -> Pinned:
    settings = settings_of.load(folder / up.CLIENT, settings_of.Client)
    signed = Peer(settings.exchange, "exchange", None, None).call("GET", "/manifest", kind=SignedManifest)
    return Pinned(signed, settings_of.digest_of(settings), allow_insecure=settings.allow_insecure)


def figures(result: Result) -> dict[str, Figure]:
    """How long people wait, by how many there are."""
    figure = Figure()
    axis = figure.subplots()
    for number, name in enumerate(result.values("opening", "parameter_set")):
        rows = result.rows("opening", parameter_set=name)
        colour, marker = (plots.BLUE, "D") if number else (plots.ORANGE, "s")
        people = [row["people"] for row in rows]
        for what, line in (("answer_p99_s", "-"), ("wait_p99_s", "--")):
            label = f"{name}: {'one answer' if line == '-' else 'from the first try'}"
            axis.plot(people, [row[what] for row in rows], line, color=colour, marker=marker, label=label)
    axis.axhline(2.0, color=plots.GREY, linestyle=":", linewidth=1)
    axis.set(xscale="log", yscale="log", xlabel="people at once", ylabel="seconds, 99th percentile")
    axis.legend()
    return {"waits": figure}
