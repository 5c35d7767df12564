"""The blinded index, all roles in one process: a query costs the same against a thousand entries or a hundred million.

    enroll     client -> 2 members -> client: tokens; client -> exchange -> platform: rows that only the tokens open
    match      platform -> 2 members -> platform: tokens; the platform looks them up, opens what it finds and compares
    withdraw   the exchange stops resolving the slots, platforms delete their rows

See docs/blind.md for why no reported pair is false, what each role sees, and the recall measured. NOT protected: a
platform that holds a near-duplicate of an entry learns its fingerprint; near-identical entries are seen to be so;
withdrawal is not enforceable at a platform that keeps old tables; not post-quantum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from protocols.base import Capabilities, ConfigurationError, Hashes, Margins, Match, Protocol
from protocols.blind.checker import Checker
from protocols.blind.client import Client
from protocols.blind.exchange import Exchange
from protocols.blind.keys import NUMBERS
from protocols.blind.member import Member
from protocols.blind.messages import (
    TABLE,
    BlindedElements,
    EvaluatedElements,
    Manifest,
    SealedEntries,
    Withdrawal,
)
from protocols.blind.parameters import MAX_THRESHOLD, Parameters
from protocols.ledger import M

Answer = TypeVar("Answer")


class Blind(Protocol):
    """The blinded index; see the module. `margins` tell how reliable each bit is; without them recall is lower."""

    capabilities = Capabilities(
        exact=False,
        reveals="to a platform, the fingerprint of an entry that agrees with an upload of its own on 62 or more "
        "chosen bits, fewer if it spends evaluations on guessing the others; to exchange and platforms, which entries "
        "are near-identical",
        bits=(256,),
        max_threshold=MAX_THRESHOLD,
    )
    messages = TABLE

    def __init__(
        self,
        *,
        bits: int = 256,
        threshold: int = 31,
        record: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
        threads: int | None = None,
        **parameters: Any,
    ) -> None:
        """threads: that requests are spread over; None is one a core. parameters: see `Parameters`.

        Raises ConfigurationError.
        """
        super().__init__(bits=bits, threshold=threshold, record=record, progress=progress)
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ConfigurationError(f"threads is {threads!r}; expected a whole number above 0, or None")
        self._threads = threads or os.cpu_count() or 1
        self.parameters = Parameters(bits=bits, threshold=threshold, **parameters)
        self._margins: Margins | None = None
        self._exchange = Exchange(self.parameters)
        self._members = {number: Member(number, self.parameters) for number in NUMBERS}
        with self.ledger.phase("setup"):
            heard = self._hold_ceremony()
            with self.ledger.cpu("exchange"):
                self._exchange.pin(heard["exchange"])
            with self.ledger.cpu("client"):
                self._client = Client(self.parameters, heard["client"])
            with self.ledger.cpu("platform"):
                self._platform = Checker(self.parameters, heard["platform"])

    @classmethod
    def options(cls) -> set[str]:
        """Its own, and the fields of `Parameters`."""
        return super().options() | {field.name for field in fields(Parameters)} - {"bits", "threshold"}

    def enroll(self, cases: Sequence[str], hashes: Hashes, margins: Margins | None = None) -> None:
        """As every protocol's. What is enrolled without margins is found less often."""
        with self._knowing(margins):
            super().enroll(cases, hashes, margins)

    def match(self, hashes: Hashes | Iterable[Hashes], margins: Margins | None = None) -> list[Match]:
        """As every protocol's. What is asked without margins finds less."""
        with self._knowing(margins):
            return super().match(hashes, margins)

    @contextmanager
    def _knowing(self, margins: Margins | None) -> Iterator[None]:
        self._margins = margins
        try:
            yield
        finally:
            self._margins = None

    def _enroll(self, cases: list[str], hashes: Hashes) -> None:
        def seal(start: int, stop: int) -> SealedEntries:
            with self.ledger.cpu("client"):
                state, request = self._client.request(hashes[start:stop], self._margins_of(start, stop))
            answers = self._ask("client", request)
            with self.ledger.cpu("client"):
                sealed = self._client.seal(state, answers, cases[start:stop])
            return self.ledger.send("client", "exchange", sealed)

        received = self._spread("enroll", seal, len(hashes))
        with self.ledger.cpu("exchange"):
            update = self._exchange.add(received)
        delivered = self.ledger.send("exchange", "platform", update)
        with self.ledger.cpu("platform"):
            self._platform.update(delivered)

    def _match(self, hashes: Hashes) -> Iterable[tuple[int, str]]:
        def search(start: int, stop: int) -> list[tuple[int, str]]:
            with self.ledger.cpu("platform"):
                state, request = self._platform.request(hashes[start:stop], self._margins_of(start, stop))
            answers = self._ask("platform", request)
            with self.ledger.cpu("platform"):
                rows, report = self._platform.finish(state, answers)
            delivered = self.ledger.send("platform", "exchange", report)
            with self.ledger.cpu("exchange"):
                cases = self._exchange.resolve(delivered)
            return [(start + row, case) for row, case in zip(rows, cases, strict=True) if case is not None]

        return [pair for found in self._spread("match", search, len(hashes)) for pair in found]

    def _withdraw(self, case: str) -> None:
        request = self.ledger.send("client", "exchange", Withdrawal(case))
        with self.ledger.cpu("exchange"):
            removal = self._exchange.withdraw(request)
        delivered = self.ledger.send("exchange", "platform", removal)
        with self.ledger.cpu("platform"):
            self._platform.remove(delivered)

    def _margins_of(self, start: int, stop: int) -> Margins | None:
        return None if self._margins is None else self._margins[start:stop]

    def _ask(self, role: str, request: BlindedElements) -> dict[int, EvaluatedElements]:
        answers = {}
        for number in request.members:
            received = self.ledger.send(role, f"member-{number}", request)
            with self.ledger.cpu(f"member-{number}"):
                answer = self._members[number].evaluate(role, received)
            answers[number] = self.ledger.send(f"member-{number}", role, answer)
        return answers

    def _spread(self, what: str, work: Callable[[int, int], Answer], rows: int) -> list[Answer]:
        """work(start, stop) of every piece of the rows, over threads; the answers in order."""
        step = self.parameters.rows_per_request
        bounds = [(start, min(start + step, rows)) for start in range(0, rows, step)]
        with ThreadPoolExecutor(min(self._threads, len(bounds))) as pool:
            futures = {pool.submit(work, *piece): piece for piece in bounds}
            done = 0
            try:
                for future in as_completed(futures):
                    future.result()
                    done += futures[future][1] - futures[future][0]
                    self._progress(what, done, rows)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _hold_ceremony(self) -> dict[str, dict[int, Manifest]]:
        """What every role that needs the public keys has heard of them, by member."""
        digests = self._among_members(lambda member, _: member.ceremony.digest)
        commitments = self._among_members(lambda member, _: member.ceremony.commitments(digests[member.number]))
        shares = self._among_members(lambda member, other: member.ceremony.share_for(other))
        heard: dict[str, dict[int, Manifest]] = {"exchange": {}, "client": {}, "platform": {}}
        for number, member in self._members.items():
            with self.ledger.cpu(f"member-{number}"):
                manifest = member.finish_ceremony(commitments[number], shares[number])
            for role, manifests in heard.items():
                manifests[number] = self.ledger.send(f"member-{number}", role, manifest)
        return heard

    def _among_members(self, tell: Callable[[Member, int], M]) -> dict[int, dict[int, M]]:
        """tell(member, other) from every member to every other; what each received, by sender."""
        received: dict[int, dict[int, M]] = {number: {} for number in self._members}
        for number, member in self._members.items():
            for other in received.keys() - {number}:
                with self.ledger.cpu(f"member-{number}"):
                    message = tell(member, other)
                received[other][number] = self.ledger.send(f"member-{number}", f"member-{other}", message)
        return received
