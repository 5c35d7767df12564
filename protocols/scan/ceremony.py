"""Making the committee's key: one member's steps, in the order in which they may be taken.

    commit -> contribute -> test -> conclude

Commitments before contributions, so that nobody chooses a part of the key after seeing the others'. Then, for each
dealer's part of the key by itself, each pair decrypts a test vector to which every member added an encryption of a
secret random plaintext; shares are opened, then the plaintexts; so a member that dealt wrongly, or decrypts wrongly, is
named before the key is used.

Two members also end up with a common PRF key, from 32 bytes of each, for masks that cancel between them.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.ledger import as_array
from protocols.scan.encryption import common_polynomial
from protocols.scan.founding_messages import (
    CommitteeKey,
    KeyCommitment,
    KeyContribution,
    TestPlaintext,
    TestShare,
    TestVector,
)
from protocols.scan.keys import (
    MEMBERS,
    KeyDealing,
    KeyShare,
    blame,
    check_test_shares,
    half_unit,
    read_residues,
    test_ciphertexts,
)
from protocols.scan.manifest import Pinned
from protocols.scan.matching_messages import PartialDecryption
from protocols.scan.packing import pack
from protocols.scan.parameters import Parameters
from protocols.scan.ring import Residues, ring_of
from protocols.scan.sampling import SEED_BYTES, Stream, derive, fresh_seed
from protocols.scan.sealing import Identity, digest, same

PAIRS = tuple(permutations(MEMBERS, 2))


class Ceremony:
    """Member `member`'s part in making the key of `pinned`'s epoch."""

    def __init__(self, member: int, identity: Identity, pinned: Pinned, parameters: Parameters) -> None:
        self._member = member
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._others = [other for other in MEMBERS if other != member]
        self._a = common_polynomial(parameters, pinned.manifest.epoch, pinned.raw)
        dealing = KeyDealing(parameters, self._a, Stream())
        self._dealing = dealing
        self._parts: dict[int, Residues] = {member: dealing.b}
        self._dealt: dict[int, Residues] = {member: dealing.share(member)}
        self._commitments: dict[int, bytes] = {}
        self._halves: dict[int, tuple[bytes, bytes]] = {other: (fresh_seed(), b"") for other in self._others}
        self._keys: dict[int, KeyShare] = {}
        self._vectors: dict[int, Residues] = {}
        self._plaintexts: dict[int, NDArray[np.uint64]] = {}
        self._shares: dict[tuple[int, tuple[int, int], int], NDArray[np.uint64]] = {}

    def __repr__(self) -> str:
        return f"<Ceremony of member-{self._member}>"

    def _commitment(self, member: int, b: bytes) -> bytes:
        name = self._parameters.name.encode()
        return digest("key commitment", self._pinned.digest, bytes([member]), name, b)

    def _info(self, dealer: int, receiver: int) -> bytes:
        return b"key contribution " + bytes([dealer, receiver]) + self._pinned.digest

    def commit(self) -> KeyCommitment:
        """Step 1, to both others."""
        return KeyCommitment(self._commitment(self._member, pack(self._dealing.b).tobytes()))

    def receive_commitment(self, sender: int, message: KeyCommitment) -> None:
        """Raises ReplayError for a second one."""
        if sender in self._commitments:
            raise ReplayError(f"ceremony: member-{sender} has committed already")
        self._commitments[sender] = message.commitment

    def contribute(self, receiver: int) -> KeyContribution:
        """Step 2, to each other member. Raises ReplayError before all have committed, MessageError for no other one."""
        if receiver not in self._others:
            raise MessageError(f"ceremony: there is no other member {receiver}")
        if len(self._commitments) < len(self._others):
            raise ReplayError("ceremony: contributions come after all commitments")
        plain = pack(self._dealing.share(receiver)).tobytes() + self._halves[receiver][0]
        sealed = self._pinned.members[receiver - 1].seal(plain, self._info(self._member, receiver))
        return KeyContribution(pack(self._dealing.b).data, sealed)

    def receive_contribution(self, sender: int, message: KeyContribution) -> None:
        """Raises IntegrityError if it is not what was committed to; MessageError; ReplayError."""
        if sender in self._parts or len(self._commitments) < len(self._others):
            raise ReplayError(f"ceremony: a contribution of member-{sender} is not due")
        if not same(self._commitment(sender, bytes(message.b)), self._commitments[sender]):
            raise IntegrityError(f"ceremony: member-{sender} contributes something else than it committed to")
        p = self._parameters
        b = read_residues(message.b, (p.lanes,), p.n, "b")
        plain = self._identity.open(message.sealed, self._info(sender, self._member))
        if len(plain) <= SEED_BYTES:
            raise MessageError(f"ceremony: what member-{sender} sealed is too short")
        dealt = read_residues(memoryview(plain)[:-SEED_BYTES], (p.lanes,), p.n, "key share")
        self._parts[sender], self._dealt[sender] = b, dealt
        self._halves[sender] = (self._halves[sender][0], plain[-SEED_BYTES:])

    def test_vector(self) -> TestVector:
        """Step 3, to both others. Raises ReplayError before all contributions have come, or a second time."""
        if len(self._parts) < len(MEMBERS) or self._keys:
            raise ReplayError("ceremony: test vectors come once, after all contributions")
        parts = [self._parts[member] for member in MEMBERS]
        self._keys = {dealer: KeyShare(self._member, self._dealt[dealer]) for dealer in MEMBERS}
        ciphertexts, self._plaintexts[self._member] = test_ciphertexts(self._parameters, self._a, parts, Stream())
        self._vectors[self._member] = np.ascontiguousarray(np.moveaxis(ciphertexts, 1, 0))
        return TestVector(pack(self._vectors[self._member]).data)

    def receive_test_vector(self, sender: int, message: TestVector) -> None:
        """Raises ReplayError for a second one, MessageError."""
        if sender in self._vectors or sender not in self._parts:
            raise ReplayError(f"ceremony: a test vector of member-{sender} is not due")
        p = self._parameters
        self._vectors[sender] = read_residues(message.ciphertexts, (3, p.lanes + 1), p.n, "test vector")

    def _vector(self, dealer: int) -> tuple[Residues, Residues]:
        """c1 (2, n) and c0 (2, R, n) of the sum of everybody's test ciphertexts under one dealer's part."""
        if len(self._vectors) < len(MEMBERS):
            raise ReplayError("ceremony: test decryptions come after all test vectors")
        ring = ring_of(self._parameters.n)
        total = np.ascontiguousarray(self._vectors[1][:, dealer - 1])
        for member in (2, 3):
            ring.add(total, np.ascontiguousarray(self._vectors[member][:, dealer - 1]))
        return np.ascontiguousarray(total[:, 0]), np.ascontiguousarray(total[:, 1:])

    def _session(self, dealer: int, pair: tuple[int, int]) -> bytes:
        return derive(self._pinned.digest, "test decryption", bytes([dealer, *pair]))[:16]

    def mask(self, dealer: int, pair: tuple[int, int]) -> PartialDecryption:
        """As the second of `pair`: its part of a test decryption, to the first."""
        c1, _ = self._vector(dealer)
        lanes = self._parameters.lanes
        masked, share = self._keys[dealer].mask(pair[0], c1, lanes, Stream())
        self._shares[dealer, pair, self._member] = share
        return PartialDecryption(self._session(dealer, pair), pack(masked).data)

    def unmask(self, sender: int, dealer: int, message: PartialDecryption) -> None:
        """As the first of a pair: finish a test decryption with what the second says. Raises MessageError."""
        p, pair = self._parameters, (self._member, sender)
        if message.session != self._session(dealer, pair):
            raise MessageError("ceremony: a partial decryption of another test")
        masked = read_residues(message.partial, (p.lanes,), p.n, "partial decryption")
        c1, c0 = self._vector(dealer)
        ring_of(p.n).add(c0, half_unit(p.n, p.lanes))
        self._shares[dealer, pair, self._member] = self._keys[dealer].unmask(pair[1], c1, c0, masked)

    def open_share(self, dealer: int, pair: tuple[int, int]) -> TestShare:
        """This member's share of a test decryption that it took part in, to both others. Raises ReplayError before."""
        share = self._shares.get((dealer, pair, self._member))
        if share is None:
            raise ReplayError("ceremony: a share is opened after its test decryption")
        return TestShare(dealer, list(pair), share.data)

    def receive_share(self, sender: int, message: TestShare) -> None:
        """Raises ReplayError for a second one, MessageError."""
        shape = (self._parameters.lanes, self._parameters.n)
        pair = (message.pair[0], message.pair[1]) if len(message.pair) == 2 else (0, 0)
        if pair not in PAIRS or sender not in pair or message.dealer not in MEMBERS:
            raise MessageError(f"ceremony: member-{sender} opens a share that it does not have")
        if (message.dealer, pair, sender) in self._shares:
            raise ReplayError(f"ceremony: member-{sender} has opened its share already")
        self._shares[message.dealer, pair, sender] = as_array(message.share, np.uint64, shape, "test share")

    def tell_plaintext(self) -> TestPlaintext:
        """Step 4, to both others, once every share is open. Raises ReplayError before."""
        self._need_all_shares()
        return TestPlaintext(self._plaintexts[self._member].data)

    def receive_plaintext(self, sender: int, message: TestPlaintext) -> None:
        """Raises ReplayError before all shares are open or for a second one, MessageError."""
        self._need_all_shares()
        if sender in self._plaintexts:
            raise ReplayError(f"ceremony: member-{sender} has told its plaintexts already")
        shape = (3, self._parameters.lanes, self._parameters.n)
        self._plaintexts[sender] = as_array(message.plaintexts, np.uint64, shape, "test plaintext")

    def _need_all_shares(self) -> None:
        if len(self._shares) < 2 * len(PAIRS) * len(MEMBERS):
            raise ReplayError("ceremony: plaintexts are told after all shares are open")

    def conclude(self) -> tuple[KeyShare, CommitteeKey, dict[int, bytes]]:
        """The key share, the public key, and a PRF key with each other member.

        Raises IntegrityError that names who is at fault if any test decryption failed; ReplayError before all
        plaintexts are told.
        """
        if len(self._plaintexts) < len(MEMBERS):
            raise ReplayError("ceremony: it is concluded after all plaintexts are told")
        total = np.stack([self._plaintexts[member] for member in MEMBERS]).sum(axis=0, dtype=np.uint64)
        failures = set()
        for dealer in MEMBERS:
            for pair in PAIRS:
                shares = [self._shares[dealer, pair, member] for member in pair]
                if not check_test_shares(shares[0], shares[1], total[dealer - 1]):
                    failures.add((dealer, pair))
        if failures:
            raise IntegrityError(f"ceremony: {blame(failures)}")
        ring = ring_of(self._parameters.n)
        b, dealt = self._parts[1].copy(), self._dealt[1].copy()
        for member in (2, 3):
            ring.add(b, self._parts[member])
            ring.add(dealt, self._dealt[member])
        pair_keys = {}
        for other, (mine, theirs) in self._halves.items():
            halves = (mine, theirs) if self._member < other else (theirs, mine)
            pair_keys[other] = derive(self._pinned.digest, "pair key", *halves)
        return KeyShare(self._member, dealt), CommitteeKey(memoryview(pack(b).tobytes())), pair_keys


def read_committee_key(message: CommitteeKey, parameters: Parameters) -> Residues:
    """b_1..b_R, (2, R, n). Raises MessageError."""
    return read_residues(message.b, (parameters.lanes,), parameters.n, "committee key")
