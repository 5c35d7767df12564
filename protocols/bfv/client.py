"""The client: encrypts its entries' bits into the slots that it was given."""

from __future__ import annotations

import numpy as np

from protocols.base import Hashes, MessageError
from protocols.bfv import seal
from protocols.bfv.messages import Deposit, EncryptionKey, Places
from protocols.bfv.parameters import Parameters


class Client:
    """One person's device, for one enrolment. Encryption randomness is SEAL's, seeded by the operating system."""

    def __init__(self, parameters: Parameters, key: EncryptionKey) -> None:
        self._parameters = parameters
        context = seal.context(parameters)
        self._encoder = seal.sealapi.BatchEncoder(context)
        self._encryptor = seal.sealapi.Encryptor(context, seal.public_key(parameters, key.key))

    def encrypt(self, cases: list[str], hashes: Hashes, places: Places) -> Deposit:
        """The entries, uint8 (N, bits/8), in their slots: `bits` ciphertexts for each block they lie in.

        Raises MessageError if the places are not for N entries.
        """
        if places.entries != len(hashes):
            raise MessageError(f"exchange gave {places.entries} places from {places.first} for {len(hashes)} entries")
        n = self._parameters.n
        slots = np.arange(places.first, places.first + len(hashes))
        bits = np.unpackbits(hashes, axis=1)
        sealed = []
        for block in np.unique(slots // n):
            mine = slots // n == block
            vectors = np.zeros((bits.shape[1], n), dtype=np.int64)
            vectors[:, slots[mine] % n] = bits[mine].T
            sealed += [self._encrypt(vector) for vector in vectors.tolist()]
        return Deposit(places.first, cases, seal.to_bytes(sealed))

    def _encrypt(self, vector: list[int]) -> object:
        plain, out = seal.sealapi.Plaintext(), seal.sealapi.Ciphertext()
        self._encoder.encode(vector, plain)
        self._encryptor.encrypt(plain, out)
        return out
