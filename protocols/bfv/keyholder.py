"""The key holder: has the key, sees every distance, answers with matches only."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.bfv import seal
from protocols.bfv.messages import HANDLE_BYTES, Answer, Closed, Distances, EncryptionKey, Notice, Opened
from protocols.bfv.parameters import Parameters
from protocols.bfv.slots import LiveSlots


class KeyHolder:
    """Holds the secret key and its own list of live slots. Keeps nothing that it decrypts."""

    def __init__(self, parameters: Parameters, threshold: int) -> None:
        self._parameters = parameters
        self._threshold = threshold
        context = seal.context(parameters)
        generator = seal.sealapi.KeyGenerator(context)
        self._public_key = seal.sealapi.PublicKey()
        generator.create_public_key(self._public_key)
        self._decryptor = seal.sealapi.Decryptor(context, generator.secret_key())
        self._encoder = seal.sealapi.BatchEncoder(context)
        self._live = LiveSlots(parameters.n)

    def encryption_key(self) -> EncryptionKey:
        """The public key, for clients and platforms."""
        return EncryptionKey(seal.to_bytes([self._public_key])[0])

    def open(self, opened: Opened) -> None:
        """Answer for these slots from now on."""
        self._live.open(range(opened.first, opened.first + opened.entries))

    def close(self, closed: Closed) -> None:
        """Answer for these slots no more."""
        self._live.close(closed.slots)

    def answer(self, distances: Distances) -> tuple[Answer, Notice]:
        """Matches for the platform, and the slots of their handles for the exchange. Raises MessageError."""
        near = self.decrypt(distances) <= self._threshold
        rows, places = np.nonzero(near & self._live.of(distances.block))
        handles = [secrets.token_bytes(HANDLE_BYTES) for _ in rows]
        slots = places + distances.block * self._parameters.n
        return Answer(rows.tolist(), handles), Notice(handles, slots.tolist())

    def decrypt(self, distances: Distances) -> NDArray[np.uint64]:
        """(Q, n) uint64: what the key holder sees. Distances in live slots, noise elsewhere. Raises MessageError."""
        sealed: list[Any] = seal.ciphertexts(
            self._parameters, distances.ciphertexts, len(distances.ciphertexts), "platform's ciphertexts"
        )
        values = np.empty((len(sealed), self._parameters.n), dtype=np.uint64)
        plain = seal.sealapi.Plaintext()
        for row, item in enumerate(sealed):
            self._decryptor.decrypt(item, plain)
            values[row] = self._encoder.decode_uint64(plain)
        return values
