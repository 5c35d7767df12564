"""The blocks that the exchange builds out of the members' encryptions and publishes: files, digests, signatures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, StaleVersion
from protocols.ledger import decode, encode
from protocols.scan.blocks import block_hasher
from protocols.scan.enrolling_messages import BlockDigest, BlockPlanes, BlockSignatures, PlaneShares, SignedBlockDigest
from protocols.scan.entries import SHARES
from protocols.scan.keys import read_residues
from protocols.scan.manifest import Pinned
from protocols.scan.packing import pack
from protocols.scan.parameters import RESIDUE_BITS, Parameters
from protocols.scan.ring import ring_of
from protocols.scan.store import Table, number_key

_SERVED = 16  # planes a message


class PublishedBlocks:
    """A file a block; one that is being built, or was built and is not signed, is a `.part`."""

    def __init__(self, pinned: Pinned, parameters: Parameters, folder: Path, signatures: Table) -> None:
        """signatures: of each published block."""
        self._pinned = pinned
        self._parameters = parameters
        self._folder = folder
        self._signatures = signatures
        self._digests: dict[int, bytes] = {}
        self._published = {int.from_bytes(key): decode(body, BlockSignatures) for key, body in signatures.items()}
        self.drop_replaced()

    def build(
        self, block: int, version: int, lanes: int, parts: list[Iterator[PlaneShares]]
    ) -> Iterator[BlockPlanes | BlockDigest]:
        """Add the members' encryptions of a block's three shares: its planes as they come, then what members sign.

        Raises MessageError if a part is not what is due.
        """
        p = self._parameters
        hasher = block_hasher()
        path = self._path(block, version).with_suffix(".part")
        first = 0
        with path.open("wb") as file:
            for messages in zip_longest(*parts):
                if None in messages or {m.share for m in messages} != set(SHARES):
                    raise MessageError(f"block {block}: a share's planes are missing")
                due = (version, block, first, messages[0].count)
                if any((m.version, m.block, m.first, m.count) != due for m in messages):
                    raise MessageError(f"block {block}: planes of another version or place")
                packed = self._sum([m.planes for m in messages], messages[0].count, lanes)
                hasher.update(packed.data.cast("B"))
                file.write(packed.data)
                yield BlockPlanes(version, block, first, len(packed), packed.data)
                first += len(packed)
        if first != p.bits:
            raise MessageError(f"block {block}: {first} planes of {p.bits} came")
        self._digests[block] = hasher.digest()
        yield BlockDigest(self._pinned.manifest.epoch, version, block, lanes, hasher.digest())

    def _sum(self, planes: list[memoryview], count: int, lanes: int) -> NDArray[np.uint64]:
        p, ring = self._parameters, ring_of(self._parameters.n)
        row = 2 * (lanes + 1) * RESIDUE_BITS * p.n // 8
        packed = []
        for plane in range(count):
            parts = (read_residues(one[plane * row : (plane + 1) * row], (lanes + 1,), p.n, "planes") for one in planes)
            packed.append(pack(reduce(ring.add, parts)))
        return np.stack(packed)

    def publish(self, block: int, version: int, signatures: list[SignedBlockDigest]) -> BlockSignatures:
        """What makes a built block valid. Raises IntegrityError for a signature of another digest."""
        for signed in signatures:
            member, told = self._pinned.verify_member(signed, BlockDigest)
            if told.digest != self._digests[block]:
                raise IntegrityError(f"block {block}: member-{member} signed another digest")
        published = self._published[block] = BlockSignatures(version, block, signatures)
        self._path(block, version).with_suffix(".part").replace(self._path(block, version))
        self._signatures[number_key(block)] = encode(published)
        return published

    def drop_replaced(self) -> None:
        """Remove the files of blocks that are not published any more, once it is on disk that others are."""
        current = {self._path(block, published.version) for block, published in self._published.items()}
        for path in set(self._folder.glob("block-*")) - current:
            path.unlink()

    def _path(self, block: int, version: int) -> Path:
        return self._folder / f"block-{block}-{version}.bin"

    def all(self) -> list[BlockSignatures]:
        """What platforms can fetch."""
        return [self._published[block] for block in sorted(self._published)]

    def serve(self, block: int, version: int) -> Iterator[BlockPlanes | BlockSignatures]:
        """A published block again, unless it is of this version or older: for a member that was away."""
        published = self._published.get(block)
        if published is None or published.version <= version:
            return
        for first in range(0, self._parameters.bits, _SERVED):
            yield self.planes(block, published.version, first)
        yield published

    def planes(self, block: int, version: int, first: int) -> BlockPlanes:
        """Some planes of a published block, from plane `first` on. Raises StaleVersion, MessageError."""
        published, bits = self._published.get(block), self._parameters.bits
        if published is None or published.version != version:
            raise StaleVersion(f"block {block}, version {version} is not published; ask for the list anew")
        if not 0 <= first < bits:
            raise MessageError(f"block {block}: there is no plane {first}; expected 0 to {bits - 1}")
        planes = np.memmap(self._path(block, version), dtype=np.uint8, mode="r").reshape(bits, -1)[
            first : first + _SERVED
        ]
        return BlockPlanes(version, block, first, len(planes), planes.reshape(-1).data)
