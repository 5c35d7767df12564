"""What every role of a deployment is made of: keys, the pinned manifest, a database, an HTTP surface.

A role does one step at a time, and answers only what is on disk. If the disk fails the process ends, and starts again
from it: there is no other way to recover, so that this one is always tried.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette

from protocols.base import ConfigurationError, IntegrityError
from protocols.ledger import decode
from protocols.scan.founding_messages import SignedManifest
from protocols.scan.manifest import Pinned
from protocols.scan.sealing import Identity, Verifier
from service import config, logs, storage
from service.atrest import load_identity
from service.endpoints import ANYONE, Endpoint
from service.errors import StorageFailed
from service.limits import Limits, Rate
from service.metrics import Metrics
from service.nonces import SqlNonces
from service.peer import Peer
from service.storage import SqlStore
from service.web import EXIT_STORAGE, application, listening, server

RATES = {
    "default": Rate(burst=60, seconds=0.5),
    "read": Rate(burst=120, seconds=0.2),
    "open": Rate(burst=60, seconds=1.0),
    "case": Rate(burst=60, seconds=0.5),
}
IDENTITY = "identity.locked"
EXIT_FAULT = 70  # sysexits.h: EX_SOFTWARE


def open_folder(folder: Path, settings: config.Settings, secret: str) -> tuple[Identity, SignedManifest, Pinned]:
    """A party's keys and its manifest. Raises ConfigurationError, IntegrityError."""
    try:
        identity = load_identity(folder / IDENTITY, settings.name, secret)
        signed = decode((folder / settings.manifest).read_bytes(), SignedManifest)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}; set the party up first") from None
    pinned = Pinned(
        signed,
        config.digest_of(settings),
        allow_insecure=settings.allow_insecure,
        allow_unsafe_threshold=settings.allow_unsafe_threshold,
    )
    if identity.public not in pinned.manifest.parties:
        raise IntegrityError(f"manifest: the keys of {settings.name} are not in it")
    return identity, signed, pinned


class Role:
    """One party's process."""

    def __init__(self, folder: Path, settings: config.Settings) -> None:
        """folder: everything that this party keeps. Raises ConfigurationError, IntegrityError, StorageFailed."""
        self.folder, self.settings, self.name = folder, settings, settings.name
        secret = config.passphrase(settings, folder)
        self.bare_identity, self.manifest, self.pinned = open_folder(folder, settings, secret)
        self.identity = self.bare_identity.under(self.pinned.digest)
        self.engine = storage.open(settings.database or f"sqlite:///{(folder / settings.name).absolute()}.db")
        self.sealer = storage.unlock_facts(self.engine, secret)
        self.store = SqlStore(self.engine, self.sealer)
        self.limits, self.metrics = Limits(RATES), Metrics()
        self.nonces = SqlNonces(self.engine)
        self._lock = threading.RLock()
        self._stop = threading.Event()

    @property
    def parties(self) -> Mapping[str, Verifier]:
        """Everybody's keys, by name."""
        return self.pinned.parties

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step of this role: alone, and on disk when it ends, however it ends."""
        with self._lock:
            try:
                yield
            finally:
                self.store.commit()

    def peer(self, name: str, timeout: float = 300.0) -> Peer:
        """Another party. Raises ConfigurationError if its URL is not in the settings."""
        url = self.settings.parties.get(name)
        if url is None:
            raise ConfigurationError(f"settings: parties says no URL of {name}")
        return Peer(url, name, self.parties[name], self.identity, timeout)

    def endpoints(self) -> Sequence[Endpoint]:
        """This role's HTTP surface."""
        return [
            Endpoint(
                "GET",
                "/manifest",
                lambda call: self.manifest,
                None,
                SignedManifest,
                ANYONE,
                "The signed manifest",
                limit="read",
            )
        ]

    def background(self) -> None:
        """What this role does by itself, in a thread, until `stopping`."""

    def stopping(self, seconds: float) -> bool:
        """Wait; whether the role is to end."""
        return self._stop.wait(seconds)

    def app(self) -> Starlette:
        """The web application."""
        return application(
            self.endpoints(),
            me=lambda: self.identity,
            parties=lambda: self.parties,
            nonces=self.nonces,
            limits=self.limits,
            metrics=self.metrics,
            title=f"Hushmatch {self.name}",
            metrics_token=self.settings.metrics_token,
        )

    def serve(self) -> None:
        """Answer until a signal comes; what is under way is finished. Raises ConfigurationError for a taken port."""
        host, port = config.address(self.settings)
        bound = listening(host, port)
        logs.set_up(self.name)
        worker = threading.Thread(target=self._background, name="background", daemon=True)
        worker.start()
        server(self.app(), host, port, proxies=self.settings.proxies).run(sockets=[bound])
        self._stop.set()
        worker.join(timeout=30)
        with self._lock:
            self.store.close()

    def _background(self) -> None:
        try:
            self.background()
        except StorageFailed as error:
            logs.log(logs.Event.STORAGE_FAILED, level=logging.CRITICAL, error=error)
            os._exit(EXIT_STORAGE)
        except Exception as error:  # a fault of the program: better to start again than to go on without this thread
            logs.log(logs.Event.INCIDENT, level=logging.CRITICAL, error=error)
            os._exit(EXIT_FAULT)
