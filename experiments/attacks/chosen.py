"""Attack 5: a platform that sends something other than the published scan reads the bank and the key.

Decryption answers with match bits, and nobody can tell from a ciphertext what it was computed from. So:

- `weights`: send 2^kappa times plane i instead of the scan. An entry matches exactly if its bit i is 0: with the
  exchange, which sees slots, 256 results read every entry of a block.
- `alone`: with the counts that the platform is told anyway. Offsets keep all slots but one from matching; 128
  results find a slot in use, 256 more read the fingerprint in it.
- `key`: c1 = a multiple of X^j puts key coefficient j into that slot: equal to v or not, so at most six results for
  each of the n coefficients, which are sums of three ternaries. The key then opens everything offline.

Without proofs it succeeds; caps and daily budgets only set the pace. With proofs every such batch is refused before
anything is decrypted, however often it is tried, even if members went on serving a platform whose proof failed: what
the attacker then holds is a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import Config, case_at, random_hashes, remember, runnable, verdict
from experiments.attacks.malformed import SMALL
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from protocols import create
from protocols.base import ProofRefused

ENTRIES = 100
BATCH = 64
BITS = 256
KEY_IS_ZERO = 7 / 27  # the likeliest value of a sum of three ternaries


def run(config: Config, lab: Lab) -> Findings:
    """All three without proofs, then with, on the small ring; results needed on the real one stand beside."""
    findings = Findings(tables={"chosen": [], "verdicts": []})
    if "scan" not in runnable():
        return findings
    bank = random_hashes(np.random.default_rng(config.seed), ENTRIES)
    truth = np.unpackbits(bank, axis=1)
    for proofs in (False, True):
        protocol: Any = create("scan", record=not proofs, proofs=proofs, **SMALL)
        protocol.enroll([f"case-{number}" for number in range(ENTRIES)], bank)
        platform = CheatingPlatform(protocol)
        tries = config.chosen // BITS if proofs else 1
        right, asked = max(platform.read_bank_with_the_exchange(truth) for _ in range(tries))
        _note(findings, proofs, platform, "weights", "platform and exchange", "bits of the whole bank right", right,
              asked * tries, 256, 0.5)  # fmt: skip
        slot, right, asked = platform.read_one_entry(truth)
        _note(
            findings, proofs, platform, "alone", "platform alone", "bits of one entry right", right, asked, asked, 0.5
        )
        right, asked = platform.read_key(slot)
        _note(findings, proofs, platform, "key", "platform alone", "key coefficients right", right, asked,
              asked * 4096 // 256, KEY_IS_ZERO)  # fmt: skip
        if not proofs:
            rows = findings.tables["chosen"]
            findings.headline = {f"chosen_{row['way']}_results": row["results"] for row in rows}
        else:
            findings.headline["chosen_results_answered_with_proofs"] = platform.answered
    return findings


class CheatingPlatform:
    """A platform that keeps to the protocol but for the ciphertexts of its results."""

    def __init__(self, protocol: Any) -> None:
        from protocols.scan.ring import ring_of

        self._protocol = protocol
        self._parameters = protocol.parameters
        self._ring = ring_of(self._parameters.n)
        self._block = protocol._checker.blocks[0]
        self._answers = remember(protocol._checker, "receive_answer")
        self.answered = 0  # results

    def read_bank_with_the_exchange(self, truth: NDArray[np.uint8]) -> tuple[float, int]:
        """Every entry's bits from which slots match 2^kappa * plane i. (share right, results asked)"""
        before = len(self._protocol.ledger.messages)
        self._ask([self._plane(bit) for bit in range(BITS)])
        found = np.ones((len(truth), BITS), dtype=np.uint8)
        for number, told in enumerate(self._match_lists(before)):
            for query, slot in zip(told.queries, told.slots, strict=True):
                found[self._row_of(slot), number * BATCH + query] = 0
        return float(np.mean(found == truth)), BITS

    def read_one_entry(self, truth: NDArray[np.uint8]) -> tuple[int, float, int]:
        """A slot in use, and its entry's bits, from match counts alone. (slot, share right, results asked)

        One who is answered nothing is told a slot that is in use.
        """
        sets = np.array_split(np.arange(self._parameters.slots_per_lane), BATCH)
        used = int(np.argmax(self._ask([self._only(slots) for slots in sets])))
        slots = sets[used]
        slot = int(slots[np.argmax(self._ask([self._only(slots[index : index + 1]) for index in range(len(slots))]))])
        if not self.answered:
            slot = int(self._protocol._exchange.blocks[0].slots[0])
        only = self._only(np.array([slot]))
        counts = self._ask([self._ring.add(self._plane(bit), only) for bit in range(BITS)])
        found = (counts == 0).astype(np.uint8)
        return slot, float(np.mean(found == truth[self._row_of(slot)])), 2 * BATCH + BITS

    def read_key(self, slot: int) -> tuple[float, int]:
        """Lane 0's secret, coefficient by coefficient, in a slot that is in use. (share right, results asked)"""
        n, (place, field) = self._parameters.n, divmod(slot, 5)
        step = 2 << (self._parameters.kappa + 10 * field)
        secret = np.full(n, -3)
        asked = 0
        for guess in (0, 1, -1, 2, -2, 3):
            open_ = np.flatnonzero(secret == -3)
            sent = []
            for j in open_:
                shift = (place - int(j)) % (2 * n)  # X^shift * s has s_j at `place`; X^n = -1
                message = np.zeros((1, n), dtype=np.uint64)
                message[0, shift % n] = step
                ciphertext = self._only(np.array([slot]))
                ciphertext[:, 0] = self._ring.scale_up(message)[:, 0] * (1 if shift < n else -1)
                offset = np.zeros((1, n), dtype=np.uint64)
                offset[0, place] = (-guess * step) % (1 << 50)
                ciphertext[:, 1:] = self._ring.add(ciphertext[:, 1:].copy(), self._ring.scale_up(offset))
                sent.append(ciphertext)
            secret[open_[self._ask(sent) > 0]] = guess
            asked += len(sent)
        if not self.answered:
            secret[:] = 0
        return float(np.mean(secret == self._true_secret())), asked

    def _plane(self, bit: int) -> NDArray[np.float64]:
        """2^kappa times a plane of the bank, (2, lanes+1, n)."""
        from protocols.scan.packing import unpack

        packed = self._block.planes[bit]
        plane = unpack(np.asarray(packed).reshape(2, -1, *packed.shape[1:]), "plane")
        for _ in range(self._parameters.kappa):
            plane = self._ring.add(plane, plane.copy())
        return plane

    def _only(self, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """A ciphertext that lifts all slots but these over the threshold, so far that no key coefficient undoes it."""
        p = self._parameters
        far = np.ones(p.slots_per_lane, dtype=np.uint64)
        far[slots] = 0
        message = (far.reshape(p.n, 5) << np.arange(0, 50, 10, dtype=np.uint64)).sum(axis=1) << np.uint64(3 + p.kappa)
        out = np.zeros((2, 2, p.n))
        out[:, 1:] = self._ring.scale_up(message[None])
        return out

    def _ask(self, ciphertexts: list[NDArray[np.float64]]) -> NDArray[np.int64]:
        """How many matches the platform is told of each ciphertext, sent as the results of a batch."""
        counts = np.zeros(len(ciphertexts), dtype=np.int64)
        for first in range(0, len(ciphertexts), BATCH):
            chosen = ciphertexts[first : first + BATCH]
            with _instead_of_the_scan(chosen, self._ring):
                try:
                    self._protocol.match(np.zeros((BATCH, BITS // 8), dtype=np.uint8))
                except ProofRefused as refused:
                    for member in self._protocol._members.values():
                        member.sessions.reinstate(refused.party)
                    continue
            self.answered += len(chosen)
            for query, _ in self._answers[-1]:
                if query < len(chosen):
                    counts[first + query] += 1
        return counts

    def _match_lists(self, start: int) -> Iterator[Any]:
        """What the exchange is told from message `start` on."""
        from protocols.ledger import decode
        from protocols.scan.matching_messages import MatchList, SignedMatchList

        for message in self._protocol.ledger.messages[start:]:
            if message.kind == "SignedMatchList" and message.sender == "member-1":
                yield decode(decode(message.payload, SignedMatchList).body, MatchList)

    def _row_of(self, slot: int) -> int:
        return int(case_at(self._protocol, [slot])[0].removeprefix("case-"))

    def _true_secret(self) -> NDArray[np.int64]:
        """Lane 0's secret, from two members' shares: only to check the attack."""
        shares = [self._protocol._members[m].sessions._key_share._keys[3 - m][:, 0] for m in (1, 2)]
        return self._ring.inverse(self._ring.add(shares[0].copy(), shares[1].copy()))[0].astype(np.int64)


@contextmanager
def _instead_of_the_scan(chosen: list[NDArray[np.float64]], ring: Any) -> Iterator[None]:
    """While inside, a platform's results are these ciphertexts, each with a fresh encryption of zero added."""
    from protocols.scan import checker
    from protocols.scan.packing import pack

    honest = checker.scan_block

    def cheat(planes: Any, hashes: Any, zeros: Any, parameters: Any) -> tuple[Any, Any]:
        packed = []
        for number, zero in enumerate(zeros):
            zero = np.ascontiguousarray(zero)
            packed.append(pack(ring.add(zero, chosen[number].copy()) if number < len(chosen) else zero))
        words = np.stack(packed)
        c1, c0 = words[:, :, 0], words[:, :, 1:]
        return np.ascontiguousarray(c1), np.ascontiguousarray(c0).reshape(len(words), -1, *words.shape[3:])

    checker.scan_block = cheat
    try:
        yield
    finally:
        checker.scan_block = honest


def _note(
    findings: Findings,
    proofs: bool,
    platform: CheatingPlatform,
    way: str,
    who: str,
    measure: str,
    right: float,
    asked: int,
    asked_on_the_real_ring: int,
    chance: float,
) -> None:
    row: Row = {"way": way, "proofs": proofs, "who": who, "measure": measure, "right": right, "results": asked}
    row |= {"results_answered": platform.answered, "results_at_n_4096": asked_on_the_real_ring}
    findings.tables["chosen"].append(row)
    defence = f"proofs: {platform.answered} results answered" if proofs else "none: budgets set the pace only"
    findings.tables["verdicts"].append(
        verdict(f"5 chosen results ({way})", "scan", defence, measure, right, right > 0.99, chance)
    )


def figure(result: Result) -> Figure:
    """How many results each way needs, and what share it gets right."""
    figure, axes = plots.new(size=(6.4, 2.4))
    rows = result.rows("chosen", proofs=False)
    names = [f"{row['way']}: {row['who']}" for row in rows]
    bars = axes.barh(names, [row["results_at_n_4096"] for row in rows], color=plots.RED)
    axes.bar_label(
        bars, [f" {row['right']:.0%} of {row['measure'].removesuffix(' right')}" for row in rows], fontsize=8
    )
    axes.set(xscale="log", xlim=(10, 1e7), xlabel="results that it needs without proofs (n = 4096)")
    axes.invert_yaxis()
    return figure
