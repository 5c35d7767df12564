"""The platform: holds the encrypted bank, scans it with its uploads' fingerprints, learns which of them match.

A result is the scan plus a fresh encryption of zero; the platform prepares those ahead, in a pool, and each serves
once. Batches are padded to the manifest's size with random queries, so that nobody sees how many uploads there were.

Where the manifest asks for proofs (docs/prove.md), a batch carries shares of what its results were made from. Without,
a platform that sends something other than the published scan is not detected (docs/scan.md).
"""

from __future__ import annotations

import secrets
import threading
from collections import defaultdict
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.scan.blocks import BlockStore, InstalledBlock
from protocols.scan.encryption import PublicKey, Randomness
from protocols.scan.enrolling_messages import BlockPlanes, BlockSignatures
from protocols.scan.manifest import Pinned
from protocols.scan.matching_messages import (
    MatchCounts,
    MatchHandles,
    ScanHeader,
    ScanResults,
    SignedHeader,
    SignedMatchCounts,
)
from protocols.scan.packing import Words
from protocols.scan.parameters import Parameters
from protocols.scan.product import scan_block, scan_file
from protocols.scan.proof import length, split, statements
from protocols.scan.ring import Residues
from protocols.scan.sampling import Stream, fresh_seed
from protocols.scan.sealing import Identity, digest
from protocols.scan.store import Store, Table, Tables
from protocols.scan.verification import results_digest, share_info


@dataclass(frozen=True, repr=False)
class Zeros:
    """Fresh encryptions of zero for one batch, (batch, 2, lanes+1, n), and what each was made from."""

    number: bytes
    ciphertexts: Residues
    randomness: list[Randomness]


class ZeroPool:
    """Encryptions of zero prepared ahead, by batches; each serves once.

    Kept in memory only: whoever starts anew starts with none. Which ones were taken is kept in a table.
    """

    def __init__(self, public_key: PublicKey, batch: int, n: int, spent: Table | None = None) -> None:
        self._public_key = public_key
        self._batch, self._n = batch, n
        self._stock: dict[int, list[Zeros]] = defaultdict(list)
        self._spent = {} if spent is None else spent
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<ZeroPool>"

    def prepare(self, lanes: int) -> None:
        """Add encryptions of zero for one batch against a block of `lanes` lanes."""
        stream = Stream()
        ciphertexts = np.empty((self._batch, 2, lanes + 1, self._n))
        randomness = []
        for row in ciphertexts:
            randomness.append(self._public_key.encrypt_zero(row, stream))
        with self._lock:
            self._stock[lanes].append(Zeros(secrets.token_bytes(16), ciphertexts, randomness))

    def take(self, lanes: int) -> Zeros:
        """Those of one batch; made now if none is in stock. Raises ReplayError if they were taken before."""
        while True:
            with self._lock:
                if self._stock[lanes]:
                    zeros = self._stock[lanes].pop()
                    self._spend(zeros.number)
                    return zeros
            self.prepare(lanes)

    def _spend(self, number: bytes) -> None:
        if number in self._spent:
            raise ReplayError("an encryption of zero serves once: this one was taken before")
        self._spent[number] = b""


@dataclass(frozen=True, repr=False)
class OpenScan:
    """What the platform keeps of a batch until it is answered."""

    block: int
    version: int
    pair: tuple[int, int]
    hashes: NDArray[np.uint8]
    randomness: list[Randomness]


@dataclass(frozen=True, repr=False)
class Scanned:
    """A batch of results before it is sent. c1: (batch, 2, 45, n/64). c0: (batch, 2*lanes, 45, n/64).

    elsewhere: CPU seconds that an executor's worker took.
    """

    session: bytes
    installed: InstalledBlock
    c1: Words
    c0: Words
    elsewhere: float


class Checker:
    """One platform."""

    def __init__(
        self,
        identity: Identity,
        pinned: Pinned,
        parameters: Parameters,
        public_key: PublicKey,
        folder: Path,
        executor: Executor | None = None,
        store: Tables | None = None,
    ) -> None:
        """folder: where blocks are kept. executor: whose workers multiply, if not this process; they read `folder`."""
        store = store or Store()
        self.name = identity.name
        self.batch = pinned.manifest.batch
        self.proofs = pinned.manifest.proofs
        self.parameters = parameters
        self.zeros = ZeroPool(public_key, self.batch, parameters.n, store.table("zeros"))
        self.bank = BlockStore(pinned, parameters, folder)
        self._identity = identity.under(pinned.digest)
        self._pinned = pinned
        self._executor = executor
        self._open: dict[bytes, OpenScan] = {}

    # The bank ----------------------------------------------------------------------------------------------------

    @property
    def blocks(self) -> dict[int, InstalledBlock]:
        """The blocks installed here, by number."""
        return self.bank.blocks

    def receive_planes(self, message: BlockPlanes) -> None:
        """Planes of a new version of a block, in order. Raises MessageError, StaleVersion."""
        self.bank.receive_planes(message)

    def install(self, message: BlockSignatures) -> None:
        """Put a block that has arrived to use. Raises IntegrityError, MessageError."""
        self.bank.install(message)

    # Scanning ----------------------------------------------------------------------------------------------------

    def scan(self, hashes: NDArray[np.uint8], block: int, pair: tuple[int, int]) -> Scanned:
        """Compare a batch (Q, bits/8), Q at most the manifest's batch, with a block, for members A and B of `pair`.

        Raises StaleVersion if the block is not installed, MessageError for too many queries.
        """
        installed = self.blocks.get(block)
        if installed is None:
            raise StaleVersion(f"block {block} is not installed; sync first")
        hashes = self._padded(hashes)
        zeros = self.zeros.take(installed.lanes)
        if self._executor is None:
            c1, c0 = scan_block(installed.planes, hashes, zeros.ciphertexts, self.parameters)
            elsewhere = 0.0
        else:
            path = Path(str(installed.planes.filename))  # type: ignore[attr-defined]
            work = self._executor.submit(scan_file, path, hashes, zeros.ciphertexts, self.parameters)
            c1, c0, elsewhere = work.result()
        scanned = Scanned(secrets.token_bytes(16), installed, c1, c0, elsewhere)
        self._open[scanned.session] = OpenScan(block, installed.version, pair, hashes, zeros.randomness)
        return scanned

    def results(self, scanned: Scanned) -> tuple[ScanResults, ScanResults]:
        """What to send to members A and B of the pair, with the proof where the manifest asks for one."""
        scan, manifest, session = self._open[scanned.session], self._pinned.manifest, scanned.session
        c1_digest, c0_digest = (digest("c1", scanned.c1.data.cast("B")), digest("c0", scanned.c0.data.cast("B")))
        sealed, shares_digest, nothing = [b"", b""], [], memoryview(b"")
        masked = nothing
        if self.proofs:
            seeds = fresh_seed(), fresh_seed()
            size = length(self.parameters, scanned.installed.lanes)
            shares = np.empty((len(scan.hashes), size), dtype=np.uint64)
            split(statements(scan.hashes, scan.randomness), *seeds, shares)
            fields = session, manifest.epoch, scan.version, scan.block
            results = results_digest(c1_digest, c0_digest)
            for index, (member, seed) in enumerate(zip(scan.pair, seeds, strict=True)):
                info = share_info(fields, self.name, member, results)
                sealed[index] = self._pinned.parties[f"member-{member}"].seal(seed, info)
            masked = shares.data.cast("B")
            shares_digest = [digest("shares", sealed[0], masked), digest("shares", sealed[1], nothing)]
        header = ScanHeader(
            session,
            manifest.epoch,
            scan.version,
            scan.block,
            scanned.installed.digest,
            list(scan.pair),
            len(scan.hashes),
            self.name,
            c0_digest,
            c1_digest,
            shares_digest,
        )
        signed = self._identity.sign(header, SignedHeader)
        c1, c0 = scanned.c1.data, scanned.c0.data
        return ScanResults(signed, c1, c0, sealed[0], masked), ScanResults(signed, c1, nothing, sealed[1], nothing)

    def _padded(self, hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        batch, width = self._pinned.manifest.batch, self.parameters.bits // 8
        if len(hashes) > batch:
            raise MessageError(f"{len(hashes)} queries do not fit a batch of {batch}")
        filler = np.frombuffer(secrets.token_bytes((batch - len(hashes)) * width), dtype=np.uint8)
        return np.concatenate([hashes, filler.reshape(-1, width)])

    def abandon(self, session: bytes) -> None:
        """Forget a scan that failed. What it was made from is never used again."""
        self._open.pop(session, None)

    def receive_answer(
        self, session: bytes, counts: list[SignedMatchCounts], handles: MatchHandles
    ) -> list[tuple[int, bytes]]:
        """(query, handle) of every match, checked against the counts that both members signed. Closes the scan.

        Raises, and leaves it open, IntegrityError if exchange and members disagree, MessageError; ReplayError for a
        session that is not open.
        """
        scan = self._open.get(session)
        if scan is None or handles.session != session or len(handles.queries) != len(handles.handles):
            raise ReplayError("the session is not open, or the answer is not about it")
        told = [0] * len(scan.hashes)
        for query in handles.queries:
            if not 0 <= query < len(told):
                raise MessageError(f"match handles: there is no query {query}")
            told[query] += 1
        if len(counts) != len(scan.pair):
            raise IntegrityError(f"match counts: {len(counts)} came; both members' are needed")
        for signed, member in zip(counts, scan.pair, strict=True):
            counted = self._pinned.parties[f"member-{member}"].verify(signed, MatchCounts)
            if (counted.session, counted.block, counted.counts) != (session, scan.block, told):
                raise IntegrityError(f"member-{member} counts other matches than the exchange tells")
        del self._open[session]
        return list(zip(handles.queries, handles.handles, strict=True))
