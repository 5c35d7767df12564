"""The audit of a block: does the exchange publish the sum of what the members encrypted, and nothing else?

Members hold the published block before they sign it. They compare its digest, the slot map that each encrypted and
which shares each contributed: every one of the three exactly once, or slots would not hold bits. Then they toss a seed
(commit, reveal) for weights rho on a ciphertext's coefficients and tau on the planes; each opens

    sum_i tau_i * <rho, plane i that it contributed>   mod p0 and p1,

and the values must add up to the block's. The exchange fixed the block before the toss, so planes that were swapped,
scaled, mixed or replaced pass with probability at most 2/p < 2^-43. A failed audit is an incident: the same version
of a block is never audited again.

NOT protected: a member that encrypts something other than its shares; members are semi-honest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from protocols.base import IntegrityError, ReplayError, StaleVersion
from protocols.ledger import as_array
from protocols.scan.blocks import BlockStore
from protocols.scan.custody import Building, Custody
from protocols.scan.enrolling_messages import BlockDigest, PlaneShares
from protocols.scan.entries import shares_due
from protocols.scan.functional import functional
from protocols.scan.keys import MEMBERS
from protocols.scan.packing import Words
from protocols.scan.parameters import PRIMES, RESIDUE_BITS, Parameters
from protocols.scan.proof_messages import AuditCommitment, AuditOpening, AuditToss
from protocols.scan.sampling import Stream, derive, fresh_seed
from protocols.scan.sealing import digest, same


@dataclass
class _Contribution:
    """A share's planes as this member encrypted them, and how many there are."""

    path: Path
    planes: int = 0


@dataclass(repr=False)
class _Audit:
    """One block version under audit."""

    digest: bytes
    lanes: int
    planes: Words
    toss: bytes
    building: Building
    parties: frozenset[int]
    commitments: dict[int, AuditCommitment] = field(default_factory=dict)
    tosses: dict[int, bytes] = field(default_factory=dict)
    values: dict[int, tuple[int, int]] = field(default_factory=dict)


class Auditor:
    """Member `member`'s part in audits. Keeps what it contributed to a block until the block is audited."""

    def __init__(self, member: int, parameters: Parameters, store: BlockStore, folder: Path, custody: Custody) -> None:
        self._member = member
        self._parameters = parameters
        self._store = store
        self._folder = folder
        self._custody = custody
        self._contributed: dict[tuple[int, int], dict[int, _Contribution]] = {}
        self._audits: dict[tuple[int, int], _Audit] = {}
        self._passed: dict[tuple[int, int], bytes] = {}
        for left in folder.glob("contributed-*.bin"):  # an earlier process did not get to its audit, and none will
            left.unlink()

    def __repr__(self) -> str:
        return f"<Auditor of member-{self._member}>"

    def keep(self, message: PlaneShares) -> None:
        """Remember planes that this member contributes, in order. Raises ReplayError."""
        contributed = self._contributed.setdefault((message.block, message.version), {})
        path = self._folder / f"contributed-{message.block}-{message.version}-{message.share}.bin"
        one = contributed.setdefault(message.share, _Contribution(path))
        if message.first != one.planes:
            raise ReplayError(f"audit: plane {message.first} of share {message.share} is not due")
        with path.open("ab" if message.first else "wb") as file:
            file.write(message.planes)
        one.planes += message.count

    def commit(self, message: BlockDigest) -> AuditCommitment:
        """Start auditing what the exchange published.

        Raises IntegrityError if the planes that came are not the ones of this digest, or if the exchange did not ask
        this member for all that it should encrypt; ReplayError for a second audit, StaleVersion.
        """
        building = self._custody.building(message.block, message.version)
        key = message.block, message.version
        if key in self._audits or key in self._passed:
            raise ReplayError(f"audit: block {message.block}, version {message.version} was audited before")
        arrived, planes = self._store.arrived(message.block, message.version, message.lanes)
        if not same(arrived, message.digest):
            raise IntegrityError(f"audit: the exchange asks to sign another block {message.block} than it published")
        contributed = self._contributed.get(key, {})
        complete = {share for share, one in contributed.items() if one.planes == self._parameters.bits}
        if complete != building.due or contributed.keys() != building.due:
            raise IntegrityError(
                f"audit: the exchange did not take all of member-{self._member}'s encryptions of block {message.block}"
            )
        parties = frozenset(member for member in MEMBERS if member != building.away)
        audit = _Audit(arrived, message.lanes, planes, fresh_seed(), building, parties)
        audit.commitments[self._member] = AuditCommitment(
            message.version,
            message.block,
            arrived,
            building.map_digest,
            sorted(complete),
            self._commitment(key, self._member, audit.toss),
        )
        self._audits[key] = audit
        return audit.commitments[self._member]

    def _commitment(self, key: tuple[int, int], member: int, seed: bytes) -> bytes:
        return digest("audit toss", *(number.to_bytes(8) for number in (*key, member)), seed)

    def receive_commitment(self, sender: int, message: AuditCommitment) -> None:
        """Raises IntegrityError if the sender has another block or slot map, or contributed other shares than due."""
        audit = self._audit(message.block, message.version)
        if sender in audit.commitments or sender not in audit.parties:
            raise ReplayError(f"audit: member-{sender} has committed already, or takes no part")
        if not same(message.digest, audit.digest):
            raise IntegrityError(
                f"audit: the exchange gave member-{sender} and member-{self._member} different blocks {message.block}"
            )
        if not same(message.map_digest, audit.building.map_digest):
            raise IntegrityError(f"audit: member-{sender} encrypted another slot map of block {message.block}")
        if message.shares != shares_due(sender, audit.building.away):
            raise IntegrityError(f"audit: member-{sender} contributed shares {message.shares}; not the ones due")
        audit.commitments[sender] = message

    def toss(self, block: int, version: int) -> AuditToss:
        """Tell the seed, once all have committed. Raises ReplayError before."""
        audit = self._audit(block, version)
        if audit.commitments.keys() != audit.parties:
            raise ReplayError("audit: seeds are told after all have committed")
        audit.tosses[self._member] = audit.toss
        return AuditToss(version, block, audit.toss)

    def receive_toss(self, sender: int, message: AuditToss) -> None:
        """Raises IntegrityError if it is not what was committed to."""
        audit = self._audit(message.block, message.version)
        committed = audit.commitments.get(sender)
        expected = self._commitment((message.block, message.version), sender, message.seed)
        if committed is None or not same(committed.toss, expected):
            raise IntegrityError(f"audit: member-{sender} tells another seed than it committed to")
        audit.tosses[sender] = message.seed

    def opening(self, block: int, version: int) -> AuditOpening:
        """The functional of what this member contributed. Raises ReplayError, MessageError."""
        audit = self._audit(block, version)
        if audit.tosses.keys() != audit.parties:
            raise ReplayError("audit: values are opened after all seeds are told")
        total = (0, 0)
        shape = (self._parameters.bits, 2 * (audit.lanes + 1), RESIDUE_BITS, self._parameters.n // 64)
        for _, one in sorted(self._contributed.get((block, version), {}).items()):
            planes = np.memmap(one.path, dtype=np.uint64, mode="r", shape=shape)
            total = _add(total, self._value(audit, planes))
        audit.values[self._member] = total
        return AuditOpening(version, block, np.array(total, dtype="<i8").tobytes())

    def receive_opening(self, sender: int, message: AuditOpening) -> None:
        """Raises MessageError, ReplayError."""
        audit = self._audit(message.block, message.version)
        if sender in audit.values or sender not in audit.tosses:
            raise ReplayError(f"audit: no value of member-{sender} is due")
        first, second = as_array(message.value, "<i8", (2,), "audit value")
        audit.values[sender] = int(first), int(second)

    def conclude(self, block: int, version: int) -> None:
        """Whether block and contributions agree. Raises IntegrityError if not, ReplayError out of turn."""
        audit = self._audit(block, version)
        if audit.values.keys() != audit.parties:
            raise ReplayError("audit: a member's value is missing")
        total = (0, 0)
        for value in audit.values.values():
            total = _add(total, value)
        published = self._value(audit, audit.planes)
        if any((x - y) % p for x, y, p in zip(total, published, PRIMES, strict=True)):
            raise IntegrityError(
                f"audit: the exchange published a block {block}, version {version}, that is not the sum of the"
                " members' encryptions; this is an incident: do not audit it again, find out what happened"
            )
        self._passed[block, version] = audit.digest
        del self._audits[block, version]
        for one in self._contributed.pop((block, version), {}).values():
            one.path.unlink()

    def check_passed(self, message: BlockDigest) -> None:
        """Raises IntegrityError for a block that did not pass its audit here."""
        passed = self._passed.get((message.block, message.version))
        if passed is None or not same(passed, message.digest):
            raise IntegrityError(f"block {message.block}, version {message.version} has not passed its audit")

    def _value(self, audit: _Audit, planes: Words) -> tuple[int, int]:
        p = self._parameters
        seed = derive(b"".join(audit.tosses[member] for member in sorted(audit.tosses)), "audit", audit.digest)
        rho = Stream(derive(seed, "rho")).uniform(audit.lanes + 1, p.n)
        tau = Stream(derive(seed, "tau")).uniform(p.bits)
        values = functional(planes, rho, "audited planes")
        rows = zip(tau, values, PRIMES, strict=True)
        first, second = (sum(int(t) * int(v) for t, v in zip(ts, vs, strict=True)) % prime for ts, vs, prime in rows)
        return first, second

    def _audit(self, block: int, version: int) -> _Audit:
        if (block, version) not in self._audits:
            raise StaleVersion(f"audit: block {block}, version {version} is not under audit")
        return self._audits[block, version]


def _add(x: tuple[int, int], y: tuple[int, int]) -> tuple[int, int]:
    return (x[0] + y[0]) % PRIMES[0], (x[1] + y[1]) % PRIMES[1]
