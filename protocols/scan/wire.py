"""What carries messages between parties, as the order of messages sees it.

`founding`, `enrolling` and `matching` say which party makes which message when, and who takes it. They run over the
roles themselves in one process, with a ledger that encodes, counts and decodes everything; and over the network, with
parties that stand for roles elsewhere and a wire that passes sealed messages on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import permutations
from typing import Any, Protocol, TypeVar

from protocols.ledger import Message
from protocols.scan.member import Member

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Wire(Protocol):
    """A `Ledger`, or what stands for one over a network."""

    def send(self, sender: str, receiver: str, message: M) -> M:
        """The message as its receiver gets it."""

    def cpu(self, role: str, stage: str = ...) -> AbstractContextManager[None]:
        """Inside, CPU time is `role`'s, in step `stage`."""


def swap(
    wire: Wire,
    members: Sequence[Member],
    make: Callable[[Member], Any],
    take: Callable[[Member, int, Any], None],
    stage: str = "other",
) -> None:
    """A round: each member makes one message, then all get each other's."""
    made = []
    for sender in members:
        with wire.cpu(sender.name, stage):
            made.append((sender, make(sender)))
    for (sender, message), (receiver, _) in permutations(made, 2):
        received = wire.send(sender.name, receiver.name, message)
        with wire.cpu(receiver.name, stage):
            take(receiver, sender.number, received)


def timed(wire: Wire, role: str, iterator: Iterator[T]) -> Iterator[T]:
    """The iterator's items, the CPU time of making them counted for `role`."""
    while True:
        with wire.cpu(role):
            item = next(iterator, None)
        if item is None:
            return
        yield item
