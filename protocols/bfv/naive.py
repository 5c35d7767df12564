"""One pair at a time: the first thing one writes with TenSEAL, for the cost ladder.

An entry is one ciphertext with its bits in `bits` slots; most slots stay empty. For each pair the platform computes
|y - x| = |y| + <1 - 2y, x> with TenSEAL's own dot product, a plaintext multiplication and log2(bits) rotations, and the
key holder decrypts one number. Exact. NOT protected: all that `protocols.bfv` does not protect either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.base import Hashes, ProtocolUnavailable
from protocols.ledger import Ledger, Message, MessageKind

try:
    import tenseal as ts
except ImportError:  # no wheel for this machine
    ts = None

_N, _T = 4096, 40961  # rotations need a second prime in the modulus, and so this ring; T = 1 mod 2N


class PublicContext(Message, frozen=True):
    """Parameters, public key and rotation keys, as TenSEAL writes them."""

    context: bytes


class SealedEntry(Message, frozen=True):
    """One entry under the key holder's public key."""

    ciphertext: bytes


class SealedDistance(Message, frozen=True):
    """One pair's encrypted distance."""

    ciphertext: bytes


TABLE = (
    MessageKind(PublicContext, "keyholder", "client", "the key holder's public key"),
    MessageKind(PublicContext, "keyholder", "platform", "the key holder's public key"),
    MessageKind(SealedEntry, "client", "platform", "an entry under the key holder's public key"),
    MessageKind(SealedDistance, "platform", "keyholder", "the pair's distance: it can decrypt this"),
)


def one_pair_at_a_time(queries: Hashes, entries: Hashes) -> tuple[NDArray[np.uint16], Ledger]:
    """Distances (Q, N) uint16 of packed hashes (Q, B) and (N, B) uint8, and the ledger of what it took.

    About 10 ms and 90 kB a pair: for a handful of each. Raises ProtocolUnavailable without TenSEAL.
    """
    if ts is None:
        raise ProtocolUnavailable("TenSEAL is missing; install it with `pip install tenseal`")
    ledger = Ledger(TABLE)
    with ledger.cpu("keyholder"):
        secret = ts.context(ts.SCHEME_TYPE.BFV, _N, _T)
        secret.generate_galois_keys()
        public = PublicContext(secret.serialize(save_secret_key=False))
    client, platform = (
        ts.context_from(ledger.send("keyholder", role, public).context) for role in ("client", "platform")
    )

    with ledger.phase("enroll"):
        bank = [_encrypt(ledger, client, platform, bits) for bits in np.unpackbits(entries, axis=1)]
    distances = np.empty((len(queries), len(bank)), dtype=np.uint16)
    with ledger.phase("match"):
        for row, query in enumerate(np.unpackbits(queries, axis=1).astype(np.int64)):
            for column, entry in enumerate(bank):
                with ledger.cpu("platform"):
                    distance = entry.dot((1 - 2 * query).tolist())
                    distance.add_([int(query.sum())])
                    result = SealedDistance(distance.serialize())
                received = ledger.send("platform", "keyholder", result)
                with ledger.cpu("keyholder"):
                    distances[row, column] = ts.bfv_vector_from(secret, received.ciphertext).decrypt()[0]
    return distances, ledger


def _encrypt(ledger: Ledger, client: Any, platform: Any, bits: NDArray[np.uint8]) -> Any:
    with ledger.cpu("client"):
        sealed = SealedEntry(ts.bfv_vector(client, bits.tolist()).serialize())
    received = ledger.send("client", "platform", sealed)
    with ledger.cpu("platform"):
        return ts.bfv_vector_from(platform, received.ciphertext)
