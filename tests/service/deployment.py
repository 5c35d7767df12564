"""A whole deployment in one process: every role in threads of its own, behind real HTTP on the loopback."""

import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec

from service import config, up
from service.checker import PlatformRole
from service.client import Device
from service.exchange import ExchangeRole
from service.member import MemberRole
from tests.service.serving import serving

MEMBERS = ("member-1", "member-2", "member-3")


class Deployment:
    """Roles over folders that `up.create` made. `between`: what stands on the way to each party, by its URL."""

    def __init__(self, folder: Path, *, platforms: int = 1, between=None, **settings) -> None:
        self.folder, self._settings = folder, settings
        self._between = between or (lambda name, url: url)
        self._stack, self.urls, self.direct, self.roles = ExitStack(), {}, {}, {}
        up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=32, platforms=platforms)
        try:
            for name in MEMBERS:
                self._start(name, MemberRole)
            self.exchange = self._start("exchange", ExchangeRole)
            self.platforms = [self._start(f"platform-{number}", PlatformRole) for number in range(1, platforms + 1)]
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> config.Client:
        settings = config.load(self.folder / up.CLIENT, config.Client)
        return msgspec.structs.replace(settings, exchange=self.urls["exchange"])

    def device(self) -> Device:
        return Device(self.client)

    def close(self) -> None:
        self._stack.close()

    def _start(self, name, kind):
        settings = config.load(self.folder / name, config.Settings)
        changed = self._settings if name.startswith("platform") else {}
        role = kind(self.folder / name, msgspec.structs.replace(settings, parties=dict(self.urls), **changed))
        self._stack.callback(role.store.close)
        worker = threading.Thread(target=role._background, daemon=True)
        self.direct[name] = self._stack.enter_context(serving(role.app()))
        self.urls[name] = self._between(name, self.direct[name])
        worker.start()
        self._stack.callback(worker.join, 30)
        self._stack.callback(role._stop.set)
        self.roles[name] = role
        return role
