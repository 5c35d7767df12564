"""The exchange as a process under 50 people at once, for a minute: nobody waits long, and nothing fails but by name."""

import threading
import time
from collections import Counter

import httpx
import numpy as np
import pytest

from protocols.base import HushmatchError
from protocols.scan.client import Client
from protocols.scan.manifest import Pinned
from protocols.scan.messages import SignedManifest
from service import config, up
from service.errors import LimitReached
from service.messages import CaseStatus, OpenCase
from service.peer import Peer
from service.pins import new_number, new_pin

CLIENTS, SECONDS, MOST = 50, 60.0, 3000  # MOST: cases there are to open; whoever finds none goes home


@pytest.fixture
def deployment(tmp_path):
    up.create(tmp_path / "up", first_port=0, parameter_set="INSECURE_TINY", batch=8)
    parties = up.PARTIES[:4]
    running = up.Deployment(tmp_path / "up")
    try:
        for name in parties:
            running.start(name)
        for name in parties:
            running.wait(name)
        yield tmp_path / "up"
    finally:
        running.stop()


@pytest.mark.slow
def test_fifty_people_open_cases_for_a_minute(deployment):
    settings = config.load(deployment / up.CLIENT, config.Client)
    signed = Peer(settings.exchange, "exchange", None, None).call("GET", "/manifest", kind=SignedManifest)
    pinned = Pinned(signed, config.digest_of(settings), allow_insecure=True)
    hashes = np.random.default_rng(0).integers(0, 256, (MOST, 32), dtype=np.uint8)
    sealed = [
        case.entries for case in Client(pinned, pinned.parameters).seal([str(n) for n in range(MOST)], hashes).cases
    ]
    waited, refused, until = [], Counter(), time.monotonic() + SECONDS

    def person(number):
        peer = Peer(settings.exchange, "exchange", pinned.parties["exchange"], None, timeout=60.0)
        peer._http = httpx.Client(transport=httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}"), timeout=60.0)
        while time.monotonic() < until and sealed:
            message, started = OpenCase(new_number(), new_pin(), True, sealed.pop()), time.perf_counter()
            try:
                peer.call("POST", "/cases", message, kind=CaseStatus)
                waited.append(time.perf_counter() - started)
            except HushmatchError as error:
                refused[type(error)] += 1
                time.sleep(1.0)

    people = [threading.Thread(target=person, args=(number,)) for number in range(CLIENTS)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    p50, p99 = np.percentile(waited, [50, 99])
    print(f"{len(waited)} cases opened in {SECONDS:.0f} s, {p50:.2f} s each, p99 {p99:.2f} s; refused: {dict(refused)}")
    assert refused.keys() <= {LimitReached}
    assert len(waited) > 100
    assert p99 < 6.0  # under 2 on two processors of its own; a shared machine takes longer
