"""The platform: holds the encrypted bank, scans it with its uploads' fingerprints, learns which of them match.

A result is the scan plus a fresh encryption of zero; the platform prepares those ahead, in a pool, and each serves
once. Batches are padded to the manifest's size with random queries, so that nobody sees how many uploads there were.

NOT protected: nothing here proves that a result is the published scan; a platform that sends something else is not
detected (docs/scan.md).
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.scan.encryption import PublicKey, Randomness
from protocols.scan.manifest import Pinned
from protocols.scan.messages import (
    BlockDigest,
    BlockPlanes,
    BlockSignatures,
    MatchCounts,
    MatchHandles,
    ScanHeader,
    ScanResults,
    SignedHeader,
    SignedMatchCounts,
)
from protocols.scan.packing import Words
from protocols.scan.parameters import RESIDUE_BITS, Parameters
from protocols.scan.product import scan_block
from protocols.scan.ring import Residues
from protocols.scan.sampling import Stream
from protocols.scan.sealing import Identity, digest, same


@dataclass(frozen=True, repr=False)
class Zeros:
    """Fresh encryptions of zero for one batch, (batch, 2, lanes+1, n), and what each was made from."""

    number: int
    ciphertexts: Residues
    randomness: list[Randomness]


class ZeroPool:
    """Encryptions of zero prepared ahead, by batches; each serves once.

    Kept in memory only: whoever starts anew starts with none.
    """

    def __init__(self, public_key: PublicKey, batch: int, n: int) -> None:
        self._public_key = public_key
        self._batch, self._n = batch, n
        self._stock: dict[int, list[Zeros]] = defaultdict(list)
        self._spent: set[int] = set()
        self._made = itertools.count()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<ZeroPool>"

    def prepare(self, lanes: int) -> None:
        """Add encryptions of zero for one batch against a block of `lanes` lanes."""
        stream = Stream()
        ciphertexts = np.empty((self._batch, 2, lanes + 1, self._n))
        randomness = []
        for row in ciphertexts:
            row[:], random = self._public_key.encrypt_zero(lanes, stream)
            randomness.append(random)
        with self._lock:
            self._stock[lanes].append(Zeros(next(self._made), ciphertexts, randomness))

    def take(self, lanes: int) -> Zeros:
        """Those of one batch; made now if none is in stock. Raises ReplayError if they were taken before."""
        with self._lock:
            ready = bool(self._stock[lanes])
        if not ready:
            self.prepare(lanes)
        with self._lock:
            zeros = self._stock[lanes].pop()
            self._spend(zeros.number)
        return zeros

    def _spend(self, number: int) -> None:
        if number in self._spent:
            raise ReplayError("an encryption of zero serves once: this one was taken before")
        self._spent.add(number)


@dataclass(frozen=True)
class InstalledBlock:
    """A block of the bank at this platform, verified. planes: (bits, 2*(lanes+1), 45, n/64), memory-mapped."""

    version: int
    lanes: int
    digest: bytes
    planes: Words


@dataclass
class _Arriving:
    """A block on its way: its file, and the hash of what has come."""

    version: int
    path: Path
    next_plane: int = 0
    hasher: hashlib._Hash = field(default_factory=lambda: hashlib.sha256(b"hushmatch-scan block\0"))


@dataclass(frozen=True, repr=False)
class OpenScan:
    """What the platform keeps of a batch until it is answered."""

    block: int
    version: int
    pair: tuple[int, int]
    hashes: NDArray[np.uint8]
    randomness: list[Randomness]


class Checker:
    """One platform."""

    def __init__(
        self, identity: Identity, pinned: Pinned, parameters: Parameters, public_key: PublicKey, folder: Path
    ) -> None:
        """folder: where blocks are kept."""
        self.zeros = ZeroPool(public_key, pinned.manifest.batch, parameters.n)
        self.blocks: dict[int, InstalledBlock] = {}
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._folder = folder
        self._arriving: dict[int, _Arriving] = {}
        self._open: dict[bytes, OpenScan] = {}

    # The bank ----------------------------------------------------------------------------------------------------

    def receive_planes(self, message: BlockPlanes) -> None:
        """Planes of a new version of a block, in order; plane 0 starts it anew. Raises MessageError, StaleVersion."""
        installed = self.blocks.get(message.block)
        if installed is not None and message.version <= installed.version:
            raise StaleVersion(f"block {message.block}: version {message.version} is not above {installed.version}")
        if message.first == 0:
            path = self._folder / f"block-{message.block}-{message.version}.bin"
            path.write_bytes(b"")
            self._arriving[message.block] = _Arriving(message.version, path)
        arriving = self._arriving.get(message.block)
        if arriving is None or (arriving.version, arriving.next_plane) != (message.version, message.first):
            raise MessageError(f"block {message.block}: plane {message.first} is not due")
        if not 0 < message.count <= self._parameters.bits - message.first or len(message.planes) % message.count:
            raise MessageError(f"block {message.block}: planes have the wrong length")
        with arriving.path.open("ab") as file:
            file.write(message.planes)
        arriving.hasher.update(message.planes)
        arriving.next_plane = message.first + message.count

    def _plane_bytes(self, lanes: int) -> int:
        return 2 * (lanes + 1) * RESIDUE_BITS * self._parameters.n // 8

    def install(self, message: BlockSignatures) -> None:
        """Put a block that has arrived to use, once two members' signatures of its digest verify.

        Raises IntegrityError, MessageError; the block that was there stays.
        """
        arriving = self._arriving.get(message.block)
        if arriving is None or arriving.version != message.version:
            raise MessageError(f"block {message.block}: no planes of version {message.version} came")
        lanes = self._signed_lanes(message, arriving.hasher.digest())
        p = self._parameters
        shape = (p.bits, 2 * (lanes + 1), RESIDUE_BITS, p.n // 64)
        if arriving.path.stat().st_size != p.bits * self._plane_bytes(lanes):
            raise MessageError(f"block {message.block}: {arriving.path.stat().st_size} bytes do not fit {lanes} lanes")
        planes = np.memmap(arriving.path, dtype=np.uint64, mode="r", shape=shape)
        before = self.blocks.get(message.block)
        self.blocks[message.block] = InstalledBlock(message.version, lanes, arriving.hasher.digest(), planes)
        del self._arriving[message.block]
        if before is not None:
            Path(str(before.planes.filename)).unlink()  # type: ignore[attr-defined]

    def _signed_lanes(self, message: BlockSignatures, block_digest: bytes) -> int:
        signers, lanes = set(), set()
        wanted = (self._pinned.manifest.epoch, message.version, message.block)
        for signed in message.signatures:
            member, told = self._pinned.verify_member(signed, BlockDigest)
            if (told.epoch, told.version, told.block) != wanted or not same(told.digest, block_digest):
                raise IntegrityError(f"block {message.block}: member-{member} signed another block or version")
            signers.add(member)
            lanes.add(told.lanes)
        if len(signers) < 2 or len(lanes) != 1:
            raise IntegrityError(f"block {message.block}: {len(signers)} members' signatures verify; two are needed")
        return lanes.pop()

    # Scanning ----------------------------------------------------------------------------------------------------

    def scan(
        self, hashes: NDArray[np.uint8], block: int, pair: tuple[int, int]
    ) -> tuple[bytes, ScanResults, ScanResults]:
        """Compare a batch (Q, bits/8), Q at most the manifest's batch, with a block.

        Returns the session's id and what to send to members A and B of `pair`. Raises StaleVersion if the block is not
        installed, MessageError for too many queries.
        """
        installed = self.blocks.get(block)
        if installed is None:
            raise StaleVersion(f"block {block} is not installed; sync first")
        hashes = self._padded(hashes)
        zeros = self.zeros.take(installed.lanes)
        c1, c0 = scan_block(installed.planes, hashes, zeros.ciphertexts, self._parameters)
        session = secrets.token_bytes(16)
        header = ScanHeader(
            session,
            self._pinned.manifest.epoch,
            installed.version,
            block,
            installed.digest,
            list(pair),
            len(hashes),
            self._identity.name,
            digest("c0", c0.data.cast("B")),
            digest("c1", c1.data.cast("B")),
        )
        signed = self._identity.sign(header, SignedHeader)
        self._open[session] = OpenScan(block, installed.version, pair, hashes, zeros.randomness)
        return session, ScanResults(signed, c1.data, c0.data), ScanResults(signed, c1.data, memoryview(b""))

    def _padded(self, hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        batch, width = self._pinned.manifest.batch, self._parameters.bits // 8
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
