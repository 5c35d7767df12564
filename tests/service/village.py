"""A deployment whose roles start and stop one by one, in this process, each behind a real server in a thread."""

from contextlib import ExitStack, contextmanager

import numpy as np

from service import checker, config, up
from service.messages import CaseStatus, StatusRequest, WithdrawalRequest
from tests.service.roles import GENEROUS, KINDS, _served, _working, person, sealed_case, wait_for

RNG = np.random.default_rng(20)
HASHES = RNG.integers(0, 256, (4, 32), dtype=np.uint8)


class Village:
    """Roles that start and stop one by one."""

    def __init__(self, folder):
        up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=8)
        self.folder, self.roles, self._running = folder, {}, {}
        for name in up.PARTIES:
            self.start(name)
        self.person, self.cases = person(self.roles), {}

    def start(self, name):
        stack = self._running[name] = ExitStack()
        role = KINDS[name.partition("-")[0]](self.folder / name, config.load(self.folder / name, config.Settings))
        self.roles[name] = role
        stack.callback(role.engine.dispose)
        stack.callback(role.store.close)
        role.limits.rates = dict(GENEROUS)
        stack.enter_context(_served(role))
        if name == "exchange":
            stack.enter_context(_working(role))
        return role

    def stop(self, *names):
        for name in names:
            self._running.pop(name).close()

    def stop_all(self):
        self.stop(*reversed(list(self._running)))

    def open(self, *rows):
        return self.send(sealed_case(self.roles, HASHES[list(rows)]))

    def send(self, case):
        self.person.call("POST", "/cases", case, kind=CaseStatus)
        return case

    def status(self, case):
        return self.person.call("POST", "/cases/status", StatusRequest(case.case, case.pin), kind=CaseStatus)

    def withdraw(self, case):
        return self.person.call("POST", "/cases/withdraw", WithdrawalRequest(case.case, case.pin), kind=CaseStatus)

    def becomes(self, case, state):
        wait_for(lambda: self.status(case).status == state)

    def matching(self):
        """Which of the fingerprints match something."""
        return {row for row, _ in self.roles[up.PLATFORM].scan(HASHES)}

    def settle(self, expected):
        wait_for(lambda: self.matching() == expected)


@contextmanager
def village(folder, monkeypatch):
    monkeypatch.setattr(checker, "_PAUSE", 0.05)
    place = Village(folder)
    try:
        yield place
    finally:
        place.stop_all()
