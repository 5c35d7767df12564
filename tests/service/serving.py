"""Applications behind a real uvicorn on the loopback, in a thread."""

import threading
import time
from contextlib import contextmanager

from service import web
from service.limits import Limits, Rate
from service.metrics import Metrics
from tests.service.keys import MemoryNonces, party, verifiers

GENEROUS = {"default": Rate(100_000, 0.001)}


def build(endpoints, me, parties, /, *, rates=GENEROUS, title="test", **changed):
    """An application of `me` that knows `parties`; what a test does not name is generous."""
    settings = {"me": lambda: me, "parties": lambda: parties, "nonces": MemoryNonces(), "limits": Limits(rates)}
    return web.application(endpoints, **settings | {"metrics": Metrics(), "title": title} | changed)


@contextmanager
def serving(app):
    """The URL at which `app` answers."""
    server = web.server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(15)


__all__ = ["build", "party", "serving", "verifiers"]
