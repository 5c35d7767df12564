"""Parties elsewhere, with the methods of the roles that they are: what the order of messages runs over in a network.

`protocols.scan.founding`, `enrolling` and `matching` call them as they call roles of the same process. Where one
party's result is for another, what comes back is letters, and `Carrier` hands each to whom it is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

from protocols.base import HushmatchError, ProofRefused
from protocols.scan.enrolling_messages import PlaneShares
from protocols.scan.matching_messages import MatchHandles
from service.messages import Answered, NextPlanes, Planes
from service.peer import Peer
from service.steps import STEPS, Letters, arguments, result


class Carrier:
    """A `Wire` whose messages are letters: it picks the receiver's; what is not a letter is for whoever has it."""

    def send(self, sender: str, receiver: str, message: Any) -> Any:
        """What to give to the receiver's method."""
        return message[receiver] if isinstance(message, Letters) else message

    def cpu(self, role: str, stage: str = "other") -> nullcontext[None]:
        """Each party counts its own."""
        return nullcontext()


class _Part:
    """Methods of one part of a member."""

    def __init__(self, peer: Peer, path: str) -> None:
        self._peer, self._path = peer, path

    def __getattr__(self, method: str) -> Any:
        step = STEPS.get(f"{self._path}.{method}".strip(".").replace(".", "-"))
        if step is None:
            raise AttributeError(f"{self._path}.{method} cannot be called over the network")

        def call(*given: Any) -> Any:
            return result(
                step, self._peer.call("POST", f"/steps/{step.name}", arguments(step, given), kind=bytes), given
            )

        return call


class _RemoteSessions(_Part):
    def __init__(self, peer: Peer) -> None:
        super().__init__(peer, "sessions")
        self.stock = _Part(peer, "sessions.stock")

    def abandon(self, session: bytes) -> None:
        """Tell the member; one that is away, or does not know the session, has nothing to give up."""
        with suppress(HushmatchError):
            super().__getattr__("abandon")(session)

    def refuse(self, session: bytes, refused: ProofRefused) -> None:
        """Nothing: the member has refused already, and keeps its word for the exchange."""


class RemoteMember(_Part):
    """A member, for the exchange or a platform to drive."""

    def __init__(self, number: int, peer: Peer) -> None:
        super().__init__(peer, "")
        self.number, self.name = number, f"member-{number}"
        self.ceremony, self.custody = _Part(peer, "ceremony"), _Part(peer, "custody")
        self.bank, self.auditor = _Part(peer, "bank"), _Part(peer, "auditor")
        self.sessions = _RemoteSessions(peer)

    def __repr__(self) -> str:
        return f"<RemoteMember {self.number}>"

    def planes(self, block: int, share: int, step: int) -> Iterator[PlaneShares]:
        """As `Member.planes`."""
        while True:
            came = self._peer.call("POST", "/planes", NextPlanes(block, share, step), kind=Planes)
            if came.planes is None:
                return
            yield came.planes


class RemoteExchange:
    """The exchange, for a platform."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def resolve(self, lists: tuple[bytes, bytes], pair: tuple[int, int]) -> MatchHandles:
        """Handles for the matches that both members' letters list alike."""
        return self._peer.call("POST", "/matches", Answered(list(lists), list(pair)), kind=MatchHandles)

    def receive_refusal(self, told: None) -> None:
        """Nothing: the exchange gets it from the member, as a platform would rather not bring it."""
