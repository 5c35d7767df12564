"""The platform: adds and subtracts the bank's ciphertexts as its query's bits say."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.base import Hashes
from protocols.bfv import seal
from protocols.bfv.messages import Block, Closed, Distances, EncryptionKey
from protocols.bfv.parameters import Parameters
from protocols.bfv.slots import LiveSlots


class Platform:
    """Holds the encrypted bank, and its queries in the clear."""

    def __init__(self, parameters: Parameters, bits: int, key: EncryptionKey) -> None:
        self._parameters = parameters
        self._bits = bits
        context = seal.context(parameters)
        self._encoder = seal.sealapi.BatchEncoder(context)
        self._encryptor = seal.sealapi.Encryptor(context, seal.public_key(parameters, key.key))
        self._evaluator = seal.sealapi.Evaluator(context)
        self._blocks: dict[int, list[Any]] = {}
        self._totals: dict[int, Any] = {}
        self._live = LiveSlots(parameters.n)

    @property
    def blocks(self) -> list[int]:
        """Numbers of the blocks held."""
        return list(self._blocks)

    def update(self, block: Block) -> None:
        """Take a new version of a block. Raises MessageError, and then keeps the old one."""
        sealed = seal.ciphertexts(self._parameters, block.ciphertexts, self._bits, "exchange's ciphertexts")
        self._live.replace(block.block, block.live)
        self._blocks[block.block] = sealed
        self._totals[block.block] = self._sum(sealed)

    def close(self, closed: Closed) -> None:
        """Mask slots from now on."""
        self._live.close(closed.slots)

    def scan(self, block: int, hashes: Hashes) -> Distances:
        """Encrypted distances of the hashes, uint8 (Q, bits/8), to the entries of a block."""
        queries = np.unpackbits(hashes, axis=1).astype(bool)
        return Distances(block, seal.to_bytes([self._distance(block, query) for query in queries]))

    def _distance(self, block: int, query: NDArray[np.bool_]) -> Any:
        ones = [sealed for sealed, bit in zip(self._blocks[block], query, strict=True) if bit]
        result = seal.sealapi.Ciphertext()
        self._encryptor.encrypt_zero(result)
        self._evaluator.add_inplace(result, self._totals[block])
        if ones:  # sum over y_i = 0 minus sum over y_i = 1, as the total minus twice the latter
            twice = self._sum(ones)
            self._evaluator.add_inplace(twice, twice)
            self._evaluator.sub_inplace(result, twice)
        self._evaluator.add_plain_inplace(result, self._offset(block, len(ones)))
        return result

    def _sum(self, sealed: list[Any]) -> Any:
        total = seal.sealapi.Ciphertext()
        self._evaluator.add_many(sealed, total)
        return total

    def _offset(self, block: int, weight: int) -> Any:
        n, t = self._parameters.n, self._parameters.t
        mask = np.frombuffer(os.urandom(8 * n), dtype=np.uint64) % t  # within 2^-50 of uniform
        plain = seal.sealapi.Plaintext()
        self._encoder.encode(np.where(self._live.of(block), weight, mask.astype(np.int64)).tolist(), plain)
        return plain
