"""All roles in one process, talking through messages; see `protocols.bfv`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from protocols.base import Capabilities, Hashes, Protocol
from protocols.bfv import seal
from protocols.bfv.checker import Platform
from protocols.bfv.client import Client
from protocols.bfv.exchange import Exchange
from protocols.bfv.keyholder import KeyHolder
from protocols.bfv.messages import TABLE, Reservation, Withdrawal
from protocols.bfv.parameters import STANDARD

QUERIES_A_MESSAGE = 64  # about 2 MB of ciphertexts


class BFV(Protocol):
    """Bit-sliced BFV with one key holder. Each call of `enroll` is one client's; see the package."""

    capabilities = Capabilities(
        exact=True,
        reveals="the key holder sees every upload's distance to every entry",
        bits=(64, 256),
        max_threshold=256,
    )
    messages = TABLE

    def __init__(self, *, bits: int = 256, threshold: int = 31, **options: Any) -> None:
        super().__init__(bits=bits, threshold=threshold, **options)
        STANDARD.check(bits)
        with self.ledger.cpu("keyholder"):
            self._keyholder = KeyHolder(STANDARD, threshold)
            key = self._keyholder.encryption_key()
        received = self.ledger.send("keyholder", "platform", key)
        with self.ledger.cpu("platform"):
            self._platform = Platform(STANDARD, bits, received)
        with self.ledger.cpu("exchange"):
            self._exchange = Exchange(STANDARD, bits)

    @classmethod
    def why_not(cls) -> str | None:
        """None where TenSEAL can be imported."""
        return None if seal.sealapi is not None else "TenSEAL is missing; install it with `pip install tenseal`"

    def _enroll(self, cases: list[str], hashes: Hashes) -> None:
        send = self.ledger.send
        with self.ledger.cpu("keyholder"):
            key = self._keyholder.encryption_key()
        received = send("keyholder", "client", key)
        with self.ledger.cpu("client"):
            client = Client(STANDARD, received)
        wanted = send("client", "exchange", Reservation(len(hashes)))
        with self.ledger.cpu("exchange"):
            places = self._exchange.reserve(wanted)
        places = send("exchange", "client", places)
        with self.ledger.cpu("client"):
            deposit = client.encrypt(cases, hashes, places)
        deposit = send("client", "exchange", deposit)
        with self.ledger.cpu("exchange"):
            opened = self._exchange.add(deposit)
        opened = send("exchange", "keyholder", opened)
        with self.ledger.cpu("keyholder"):
            self._keyholder.open(opened)

    def _match(self, hashes: Hashes) -> Iterable[tuple[int, str]]:
        with self.ledger.phase("enroll"):
            self._update_platform()
        found = []
        blocks, starts = self._platform.blocks, range(0, len(hashes), QUERIES_A_MESSAGE)
        for done, (block, start) in enumerate(product(blocks, starts)):
            self._progress("bfv: scanning", done, len(blocks) * len(starts))
            found += [(start + row, case) for row, case in self._scan(block, hashes[start : start + QUERIES_A_MESSAGE])]
        return found

    def _withdraw(self, case: str) -> None:
        withdrawal = self.ledger.send("client", "exchange", Withdrawal(case))
        with self.ledger.cpu("exchange"):
            closed = self._exchange.withdraw(withdrawal)
        for name, role in (("keyholder", self._keyholder), ("platform", self._platform)):
            received = self.ledger.send("exchange", name, closed)
            with self.ledger.cpu(name):
                role.close(received)

    def _update_platform(self) -> None:
        for number in self._exchange.changed_blocks():
            with self.ledger.cpu("exchange"):
                block = self._exchange.block(number)
            block = self.ledger.send("exchange", "platform", block)
            with self.ledger.cpu("platform"):
                self._platform.update(block)

    def _scan(self, block: int, hashes: Hashes) -> list[tuple[int, str]]:
        with self.ledger.cpu("platform"):
            distances = self._platform.scan(block, hashes)
        distances = self.ledger.send("platform", "keyholder", distances)
        with self.ledger.cpu("keyholder"):
            answer, notice = self._keyholder.answer(distances)
        notice = self.ledger.send("keyholder", "exchange", notice)
        with self.ledger.cpu("exchange"):
            self._exchange.note(notice)
        answer = self.ledger.send("keyholder", "platform", answer)
        return [(row, self._exchange.case_of(handle)) for row, handle in zip(answer.rows, answer.handles, strict=True)]
