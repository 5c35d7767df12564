"""Published blocks of the bank as a receiver keeps them: memory-mapped files, put to use once members have signed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from blake3 import blake3

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.scan.manifest import Pinned
from protocols.scan.messages import BlockDigest, BlockPlanes, BlockSignatures
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
        """folder: where the files are kept; it must exist."""
        self.blocks: dict[int, InstalledBlock] = {}
        self._pinned = pinned
        self._parameters = parameters
        self._folder = folder
        self._arriving: dict[int, _Arriving] = {}

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
            self._drop(message.block)
            handle, name = tempfile.mkstemp(".bin", f"block-{message.block}-{message.version}-", self._folder)
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
        shape = (p.bits, 2 * (lanes + 1), RESIDUE_BITS, p.n // 64)
        if arriving.next_plane != p.bits or arriving.path.stat().st_size != 8 * np.prod(shape):
            raise MessageError(f"block {block}: {arriving.path.stat().st_size} bytes do not fit {lanes} lanes")
        if arriving.planes is None:
            arriving.planes = np.memmap(arriving.path, dtype=np.uint64, mode="r", shape=shape)
        return arriving.hasher.digest(), arriving.planes

    def install(self, message: BlockSignatures) -> None:
        """Put a block that has arrived to use, once two members' signatures of its digest verify.

        Raises IntegrityError, MessageError; the block that was there stays.
        """
        arriving = self._arriving.get(message.block)
        if arriving is None or arriving.version != message.version:
            raise MessageError(f"block {message.block}: no planes of version {message.version} came")
        lanes = self._signed_lanes(message, arriving.hasher.digest())
        block_digest, planes = self.arrived(message.block, message.version, lanes)
        before = self.blocks.get(message.block)
        self.blocks[message.block] = InstalledBlock(message.version, lanes, block_digest, planes)
        del self._arriving[message.block]
        if before is not None:
            Path(str(before.planes.filename)).unlink()  # type: ignore[attr-defined]

    def _drop(self, block: int) -> None:
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
