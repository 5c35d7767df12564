"""A member of the committee as a process: its steps, called by the exchange and by platforms. It calls nobody.

What it tells another party leaves as a letter to that party, so that whoever called cannot read it. Each step is on
disk before it is answered; open sessions and dealt triples are not, and are gone with the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from protocols.base import ConfigurationError, ProofRefused, ReplayError
from protocols.ledger import decode, encode
from protocols.scan.ceremony import Ceremony
from protocols.scan.enrolling_messages import PlaneShares
from protocols.scan.founding_messages import CommitteeKey
from protocols.scan.keys import MEMBERS
from protocols.scan.matching_messages import ScanHeader, SignedHeader
from protocols.scan.member import Member
from protocols.scan.proof_messages import SignedRefusal
from service.config import Settings
from service.endpoints import Call, Endpoint
from service.errors import LimitReached, NotFound, Unavailable
from service.messages import MemberState, NextPlanes, Planes
from service.role import Role
from service.steps import STEPS, call

_SESSION_SECONDS = 600.0  # a session that nobody goes on with
_MOST_BYTES = 1 << 28


class MemberRole(Role):
    """Member 1, 2 or 3."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Raises what `Role` raises; ConfigurationError for a name that is no member's."""
        super().__init__(folder, settings)
        number = next((number for number in MEMBERS if self.name == f"member-{number}"), None)
        if number is None:
            raise ConfigurationError(f"settings: {self.name} is no member; expected member-1, member-2 or member-3")
        blocks = folder / "blocks"
        blocks.mkdir(exist_ok=True)
        self.member = Member(number, blocks, self.store, self.bare_identity, settings.unfinished)
        with self.step():
            before = self.member.restore(
                allow_insecure=settings.allow_insecure, allow_unsafe_threshold=settings.allow_unsafe_threshold
            )
            if not before or self.member.pinned.digest != self.pinned.digest:
                self.member.adopt(self.manifest, self.pinned)
        self._refusals = self.store.table(f"refusals {self.pinned.manifest.epoch}")
        self._planes: dict[tuple[int, int, int], Iterator[PlaneShares]] = {}  # of a version, block and share
        shares = self.store.table("shares")
        self.metrics.watch("entries", "Entries whose shares are kept", lambda: len(shares))
        self.metrics.watch("bank_version", "Newest version of the bank", lambda: self.member.custody.version)
        self.metrics.watch("open_sessions", "Batches under way", lambda: self.member.sessions.open)
        self.metrics.watch("has_key", "1: the ceremony is done", lambda: self._has_key)
        self._told = False  # what was withdrawn while this process was not there

    def endpoints(self) -> Sequence[Endpoint]:
        """What the exchange and platforms may ask."""
        exchange, driver = {"exchange"}, {"exchange", "platform"}
        return [
            *super().endpoints(),
            Endpoint(
                "POST", "/steps/{step:token}", self._step, bytes, bytes, driver, "A step", _MOST_BYTES, limit=None
            ),
            Endpoint(
                "POST", "/planes", self._next_planes, NextPlanes, Planes, exchange, "Encrypted shares", limit=None
            ),
            Endpoint("GET", "/state", self._state, None, MemberState, exchange, "Where it stands", limit=None),
            Endpoint("POST", "/told", self._be_told, None, None, exchange, "It knows all withdrawals", limit=None),
            Endpoint("POST", "/ceremony", self._begin_ceremony, None, None, exchange, "Make the key anew", limit=None),
            Endpoint("GET", "/key", self._key, None, CommitteeKey, driver, "The committee's public key", limit=None),
        ]

    def background(self) -> None:
        """Give up sessions that nobody goes on with."""
        while not self.stopping(30.0):
            with self.step():
                if self._has_key:
                    self.member.sessions.expire(_SESSION_SECONDS)

    @property
    def _has_key(self) -> bool:
        return self.member.committee_key is not None

    def _step(self, asked: Call) -> bytes:
        step = STEPS.get(asked.path["step"])
        if step is None:
            raise NotFound("there is no such step")
        with self.step(), threadpool_limits(1, user_api="blas"):
            self._check_ready(step.path)
            if step.path == "sessions.receive_results":
                self._check_room(asked.caller)
            try:
                return call(self.member, self.parties, self.identity, step, asked.caller, asked.message)
            except ProofRefused as refused:
                header = decode(decode(refused.evidence, SignedHeader).body, ScanHeader)
                signed = self.member.sessions.refuse(header.session, refused)
                self._refusals[header.session] = encode(signed)
                raise

    def _check_ready(self, path: str) -> None:
        in_ceremony = path.startswith("ceremony.") or path == "finish_ceremony"
        if in_ceremony and self._has_key:
            raise ReplayError("ceremony: the key of this epoch is made")
        if not in_ceremony and not self._has_key:
            raise Unavailable(f"{self.name} has no key yet: the exchange has to hold the ceremony first")
        if path == "sessions.receive_results" and not self._told:
            raise Unavailable(f"{self.name} has started anew: the exchange has to tell it first what was withdrawn")

    def _check_room(self, platform: str) -> None:
        if self.member.sessions.open_of(platform) >= self.settings.sessions:
            raise LimitReached(f"{platform} has {self.settings.sessions} batches under way at {self.name}", 5.0)

    def _next_planes(self, asked: Call) -> Planes:
        wanted: NextPlanes = asked.message
        with self.step():
            self._check_ready("planes")
            version = self.member.custody.version
            key = version, wanted.block, wanted.share
            self._planes = {begun: planes for begun, planes in self._planes.items() if begun[0] == version}
            if key not in self._planes:
                self._planes[key] = self.member.planes(wanted.block, wanted.share, max(1, min(wanted.step, 64)))
            try:
                planes = next(self._planes[key], None)
            except BaseException:
                del self._planes[key]
                raise
            if planes is None:
                del self._planes[key]
            return Planes(planes)

    def _state(self, asked: Call) -> MemberState:
        with self.step():
            refusals = [decode(body, SignedRefusal) for body in self._refusals.values()]
            custody, served = self.member.custody, sorted(self.member.served.items())
            return MemberState(self._has_key, custody.version, served, custody.entries, custody.withdrawals, refusals)

    def _be_told(self, asked: Call) -> None:
        self._told = True

    def _begin_ceremony(self, asked: Call) -> None:
        with self.step():
            if self._has_key:
                self.member.forget_unused_key()
            self.member.ceremony = Ceremony(self.member.number, self.identity, self.pinned, self.pinned.parameters)

    def _key(self, asked: Call) -> CommitteeKey:
        key = self.member.committee_key
        if key is None:
            raise Unavailable(f"{self.name} has no key yet")
        return key
