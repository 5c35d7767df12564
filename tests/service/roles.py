"""A whole deployment in this process: real roles over folders of `up.create`, each behind a real server in a thread."""

import hashlib
import secrets
import threading
import time
from contextlib import ExitStack, contextmanager

import numpy as np
from sqlalchemy import select

from protocols.scan.client import Client
from service import config, up, web
from service.checker import PlatformRole
from service.exchange import ExchangeRole
from service.limits import Rate
from service.member import MemberRole
from service.messages import OpenCase
from service.models import Base
from service.peer import Peer
from service.pins import new_number
from service.storage import transaction

KINDS = {"exchange": ExchangeRole, "platform": PlatformRole, "member": MemberRole}
GENEROUS = {name: Rate(1_000_000, 0.0001) for name in ("default", "read", "open", "case")}


@contextmanager
def deployed(folder, *, served=True, rates=GENEROUS, steward=True):
    """{name: role} of a fast deployment in `folder`; behind their URLs if `served`, the steward at work."""
    up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=8)
    roles = {}
    with ExitStack() as stack:
        for name in up.PARTIES:
            settings = config.load(folder / name, config.Settings)
            role = roles[name] = KINDS[name.partition("-")[0]](folder / name, settings)
            stack.callback(role.engine.dispose)
            stack.callback(role.store.close)
            if rates is not None:
                role.limits.rates = dict(rates)
            if served:
                stack.enter_context(_served(role))
        if served and steward:
            stack.enter_context(_working(roles["exchange"]))
        yield roles


@contextmanager
def _served(role):
    server = web.server(role.app(), *config.address(role.settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def _working(role):
    worker = threading.Thread(target=role.background, daemon=True)
    worker.start()
    try:
        yield
    finally:
        role._stop.set()
        role._work.set()
        worker.join(60)


def wait_for(what, seconds=180.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def person(roles):
    """A client's connection to the exchange."""
    exchange = roles["exchange"]
    return Peer(f"http://{exchange.settings.listen}", "exchange", exchange.parties["exchange"], None, timeout=120.0)


def sealed_case(roles, hashes):
    """A fresh case of packed hashes (K, bits/8), sealed to the members."""
    exchange = roles["exchange"]
    client = Client(exchange.pinned, exchange.pinned.parameters)
    enrollment = client.seal(["case"] * len(hashes), np.asarray(hashes))
    return OpenCase(new_number(), secrets.token_bytes(32), True, enrollment.cases[0].entries)


def state(role):
    """Digest of all that a role keeps, on disk and in its tables in memory, but nonces."""
    told = hashlib.sha256()
    for name, table in sorted(role.store._tables.items()):
        if table:
            told.update(repr((name, sorted(table.items()))).encode())
    with transaction(role.engine) as session:
        for table in Base.metadata.sorted_tables:
            if table.name not in ("nonces", "facts"):
                told.update(repr(sorted(map(tuple, session.execute(select(table))), key=repr)).encode())
    return told.hexdigest()
