"""Published blocks of the bank as a receiver keeps them: memory-mapped files, put to use once members have signed.

`block-B-V-*.part` is on its way; `block-B-V.bin` is whole, and installed once `block-B-V.signed` stands beside it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from blake3 import blake3

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode, encode
from protocols.scan.enrolling_messages import BlockDigest, BlockPlanes, BlockSignatures
from protocols.scan.manifest import Pinned
from protocols.scan.packing import Words
from protocols.scan.parameters import RESIDUE_BITS, Parameters
from protocols.scan.sealing import same


def block_hasher() -> blake3:
    """The hash whose digest members sign, over a block's planes in order."""
    return blake3(b"hushmatch-scan block\0")


@dataclass(frozen=True)
class InstalledBlock:
    """A verified block. planes: (bits, 2*(lanes+1), 45, n/64), memory-mapped."""

    version: int
    lanes: int
    digest: bytes
    planes: Words


@dataclass
class _Arriving:
    """A block on its way: its file, and the hash of what has come. planes: once all have, mapped once for all."""

    version: int
    path: Path
    planes: Words | None = None
    next_plane: int = 0
    hasher: blake3 = field(default_factory=block_hasher)


class BlockStore:
    """Blocks of one receiver."""

    def __init__(self, pinned: Pinned, parameters: Parameters, folder: Path) -> None:
        """folder: where the files are kept; it must exist. Blocks that were installed there before are used again."""
        self.blocks: dict[int, InstalledBlock] = {}
        self._pinned = pinned
        self._parameters = parameters
        self._folder = folder
        self._arriving: dict[int, _Arriving] = {}
        for path in sorted(folder.glob("block-*.signed")):
            self._reinstall(decode(path.read_bytes(), BlockSignatures))

    def receive_planes(self, message: BlockPlanes) -> None:
        """Planes of a new version of a block, in order; plane 0 starts it anew, in a file of its own.

        What is under audit is not sent again: members sign what they audited. Raises ReplayError for that,
        MessageError, StaleVersion.
        """
        installed = self.blocks.get(message.block)
        if installed is not None and message.version <= installed.version:
            raise StaleVersion(f"block {message.block}: version {message.version} is not above {installed.version}")
        arriving = self._arriving.get(message.block)
        if arriving is not None and arriving.planes is not None and arriving.version == message.version:
            raise ReplayError(f"block {message.block}: version {message.version} has come and is under audit")
        if message.first == 0:
            self.drop(message.block)
            for left in self._folder.glob(f"block-{message.block}-*.part"):
                left.unlink()
            handle, name = tempfile.mkstemp(".part", f"block-{message.block}-{message.version}-", self._folder)
            os.close(handle)
            arriving = self._arriving[message.block] = _Arriving(message.version, Path(name))
        if arriving is None or (arriving.version, arriving.next_plane) != (message.version, message.first):
            raise MessageError(f"block {message.block}: plane {message.first} is not due")
        if not 0 < message.count <= self._parameters.bits - message.first or len(message.planes) % message.count:
            raise MessageError(f"block {message.block}: planes have the wrong length")
        with arriving.path.open("ab") as file:
            file.write(message.planes)
        arriving.hasher.update(message.planes)
        arriving.next_plane = message.first + message.count

    def arrived(self, block: int, version: int, lanes: int) -> tuple[bytes, Words]:
        """Digest and planes of a block whose planes have all come, before it is signed. Raises MessageError."""
        arriving = self._arriving.get(block)
        if arriving is None or arriving.version != version:
            raise MessageError(f"block {block}: no planes of version {version} came")
        p = self._parameters
        size = p.bits * 2 * (lanes + 1) * RESIDUE_BITS * p.n // 8
        if arriving.next_plane != p.bits or arriving.path.stat().st_size != size:
            raise MessageError(f"block {block}: {arriving.path.stat().st_size} bytes do not fit {lanes} lanes")
        if arriving.planes is None:
            arriving.planes = self._mapped(arriving.path, lanes)
        return arriving.hasher.digest(), arriving.planes

    def install(self, message: BlockSignatures) -> None:
        """Put a block that has arrived to use, once two members' signatures of its digest verify.

        Raises IntegrityError, MessageError; the block that was there stays.
        """
        arriving = self._arriving.get(message.block)
        if arriving is None or arriving.version != message.version:
            raise MessageError(f"block {message.block}: no planes of version {message.version} came")
        lanes = self._signed_lanes(message, arriving.hasher.digest())
        block_digest, _ = self.arrived(message.block, message.version, lanes)
        path = self._path(message)
        arriving.path.replace(path)
        signed = path.with_suffix(".signed")
        signed.with_suffix(".new").write_bytes(encode(message))
        signed.with_suffix(".new").replace(signed)
        before = self.blocks.get(message.block)
        self.blocks[message.block] = InstalledBlock(message.version, lanes, block_digest, self._mapped(path, lanes))
        del self._arriving[message.block]
        if before is not None:
            old = Path(str(before.planes.filename))  # type: ignore[attr-defined]
            old.with_suffix(".signed").unlink()
            old.unlink()

    def _reinstall(self, message: BlockSignatures) -> None:
        """A block that was installed by an earlier process; one that does not verify any more is fetched anew."""
        path = self._path(message)
        newer = self.blocks.get(message.block)
        try:
            hasher = block_hasher()
            with path.open("rb") as file:
                while part := file.read(1 << 24):
                    hasher.update(part)
            lanes = self._signed_lanes(message, hasher.digest())
        except (OSError, IntegrityError):
            lanes = 0
        if not lanes or (newer is not None and newer.version > message.version):
            path.with_suffix(".signed").unlink()
            path.unlink(missing_ok=True)
            return
        self.blocks[message.block] = InstalledBlock(message.version, lanes, hasher.digest(), self._mapped(path, lanes))

    def resume(self, block: int, version: int, lanes: int) -> int:
        """The plane to go on with where an earlier process was interrupted; 0 to start anew."""
        known = self._arriving.get(block)
        if known is not None and known.version == version:
            return known.next_plane
        left = list(self._folder.glob(f"block-{block}-{version}-*.part"))
        if not left:
            return 0
        row = 2 * (lanes + 1) * RESIDUE_BITS * self._parameters.n // 8
        whole = left[0].stat().st_size // row
        arriving = _Arriving(version, left[0], next_plane=whole)
        with left[0].open("r+b") as file:
            file.truncate(whole * row)
            while part := file.read(1 << 24):
                arriving.hasher.update(part)
        self._arriving[block] = arriving
        return whole

    def _path(self, message: BlockSignatures) -> Path:
        return self._folder / f"block-{message.block}-{message.version}.bin"

    def _mapped(self, path: Path, lanes: int) -> Words:
        p = self._parameters
        return np.memmap(path, dtype=np.uint64, mode="r", shape=(p.bits, 2 * (lanes + 1), RESIDUE_BITS, p.n // 64))

    def drop(self, block: int) -> None:
        """Forget what is on its way; an audit that has it mapped keeps it."""
        arriving = self._arriving.pop(block, None)
        if arriving is not None:
            arriving.path.unlink()

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
