"""A member of the committee: its identity, its part of the key, its custody of entries, its sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from protocols.base import ConfigurationError, IntegrityError, MessageError, ReplayError
from protocols.ledger import decode, encode
from protocols.scan.audit import Auditor
from protocols.scan.blocks import BlockStore
from protocols.scan.ceremony import Ceremony, read_committee_key
from protocols.scan.custody import Custody
from protocols.scan.dealing import deal
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.enrolling_messages import BlockDigest, PlaneShares, SignedBlockDigest
from protocols.scan.founding_messages import CommitteeKey, Manifest, SignedManifest, SignedManifestPart
from protocols.scan.keys import MEMBERS, KeyShare, read_key_share
from protocols.scan.manifest import Pinned, check_agreed, distinct
from protocols.scan.matching_messages import TripleCorrection, TripleSeed
from protocols.scan.parameters import Parameters
from protocols.scan.proof import check_parameters
from protocols.scan.sealing import Identity, digest, same
from protocols.scan.sessions import Sessions
from protocols.scan.store import Store, Tables, number_key, read_number


class Member:
    """Member `number` (1, 2 or 3)."""

    ceremony: Ceremony
    custody: Custody
    sessions: Sessions

    bank: BlockStore
    auditor: Auditor

    def __init__(
        self,
        number: int,
        folder: Path | None = None,
        store: Tables | None = None,
        identity: Identity | None = None,
        unfinished: int = 0,
    ) -> None:
        """folder: where published blocks are kept; needed where the manifest asks for proofs. store: what outlives the
        process. identity: this member's keys, if it has some. unfinished: see `Sessions`.
        """
        self.number = number
        self._folder = folder
        self.name = f"member-{number}"
        self.identity = identity or Identity(self.name)
        self._store: Tables = store or Store()
        self._kept = self._store.table("member")
        self._unfinished = unfinished
        self._before: Pinned | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def sign_manifest(self, manifest: Manifest, agreed: Manifest, before: Pinned | None = None) -> SignedManifestPart:
        """This member's signature of what was agreed on: of one manifest an epoch, the same again for the same one.

        agreed: what the members told each other outside the exchange: every field, and the three members' keys.
        before: the manifest that this one replaces. Raises IntegrityError for anything else, or if the manifest does
        not name this member's keys; MessageError.
        """
        if self.identity.public not in distinct(manifest.parties):
            raise IntegrityError(f"manifest: {self.name}'s keys are not in it")
        check_agreed(manifest, agreed)
        signed = self.identity.under(b"").sign(manifest, SignedManifestPart)
        last, expected = read_number(self._kept, b"epoch"), digest("manifest", signed.body)
        again = manifest.epoch == last and self._kept.get(b"expected") == expected
        if manifest.epoch <= max(0 if again else last, before.manifest.epoch if before else 0):
            raise IntegrityError(f"manifest: epoch {manifest.epoch} does not follow the one before; take a later one")
        self._before = before
        self._kept.update({b"epoch": number_key(manifest.epoch), b"expected": expected})
        return signed

    def pin(self, signed: SignedManifest, parameters: Parameters) -> None:
        """Pin the manifest that this member signed; ready for the ceremony.

        `parameters`: what this member agreed to, whether to an unsafe threshold too. Raises IntegrityError,
        MessageError, UnsafeThreshold.
        """
        expected = self._kept.get(b"expected", b"")
        if digest("manifest", signed.manifest) != expected:
            raise IntegrityError("manifest: not the one that this member signed")
        allowed = {
            "allow_insecure": parameters.insecure,
            "allow_unsafe_threshold": parameters.allow_unsafe_threshold,
        }
        pinned = Pinned(signed, expected, self._before, **allowed)
        if pinned.parameters != parameters:
            raise IntegrityError("manifest: its parameters are not the ones agreed on")
        self.adopt(signed, pinned)

    def adopt(self, signed: SignedManifest, pinned: Pinned) -> None:
        """Use a manifest that is pinned already, by a digest that people compared; ready for the ceremony.

        The key share of the epoch before is forgotten: what was encrypted then, nobody can decrypt any more. Entries
        outlive it. Raises IntegrityError for an epoch that does not follow.
        """
        if b"manifest" in self._kept:
            earlier = decode(decode(self._kept[b"manifest"], SignedManifest).manifest, Manifest).epoch
            if pinned.manifest.epoch <= earlier:
                raise IntegrityError(f"manifest: epoch {pinned.manifest.epoch} does not follow {earlier}, in use here")
            for name in (f"key {earlier}", f"maps {earlier}", f"signed {earlier}", "sessions", "deals"):
                self._store.table(name).clear()
        self._use(pinned)
        self._kept[b"manifest"] = encode(signed)
        self.ceremony = Ceremony(self.number, self.identity, pinned, pinned.parameters)

    def restore(self, *, allow_insecure: bool = False, allow_unsafe_threshold: bool = False) -> bool:
        """Go on where an earlier process of this member was, with its store. Whether it had pinned a manifest.

        One that had no key yet makes it anew, from the ceremony's first step. Raises IntegrityError, MessageError.
        """
        if b"manifest" not in self._kept:
            return False
        signed = decode(self._kept[b"manifest"], SignedManifest)
        pinned = Pinned(
            signed,
            digest("manifest", signed.manifest),
            allow_insecure=allow_insecure,
            allow_unsafe_threshold=allow_unsafe_threshold,
        )
        self._use(pinned)
        keys = self._store.table(f"key {pinned.manifest.epoch}")
        if keys:
            pair_keys = {other: keys[b"pair %d" % other] for other in MEMBERS if other != self.number}
            key_share = read_key_share(self.number, keys[b"share"], pinned.parameters)
            self._use_keys(key_share, decode(keys[b"public"], CommitteeKey), pair_keys)
        else:
            self.ceremony = Ceremony(self.number, self.identity, pinned, pinned.parameters)
        return True

    @property
    def pinned(self) -> Pinned:
        """The manifest in force."""
        return self._pinned

    @property
    def committee_key(self) -> CommitteeKey | None:
        """The public key, once it is made."""
        body = self._store.table(f"key {self._pinned.manifest.epoch}").get(b"public")
        return None if body is None else decode(body, CommitteeKey)

    def _use(self, pinned: Pinned) -> None:
        parameters = pinned.parameters
        self._pinned, self._parameters = pinned, parameters
        self.identity = self.identity.under(pinned.digest)
        self.custody = Custody(self.number, self.identity, pinned, parameters, self._store)
        self.sessions = Sessions(
            self.number, self.identity, pinned, parameters, self.custody, self._store, self._unfinished
        )
        if pinned.manifest.proofs:
            if self._folder is None:
                raise ConfigurationError(f"{self.name} needs a folder: with proofs it keeps the published blocks")
            check_parameters(parameters)
            self.bank = BlockStore(pinned, parameters, self._folder)
            self.auditor = Auditor(self.number, parameters, self.bank, self._folder, self.custody)
            self.sessions.use_bank(self.bank)

    def finish_ceremony(self) -> CommitteeKey:
        """Use the key that was made; the public key. Raises IntegrityError that names who is at fault."""
        key_share, committee_key, pair_keys = self.ceremony.conclude()
        self._use_keys(key_share, committee_key, pair_keys)
        keys = self._store.table(f"key {self._pinned.manifest.epoch}")
        keys.update({b"share": key_share.secret_bytes(), b"public": encode(committee_key)})
        keys.update({b"pair %d" % other: key for other, key in pair_keys.items()})
        del self.ceremony
        return committee_key

    def forget_unused_key(self) -> None:
        """Drop a key of a ceremony that broke off before all had concluded it: it is made anew, from the first step.

        Raises ReplayError once a block was begun under it.
        """
        if self.custody.used:
            raise ReplayError("ceremony: the key of this epoch is made, and in use")
        self._store.table(f"key {self._pinned.manifest.epoch}").clear()
        self._use(self._pinned)

    @property
    def served(self) -> dict[int, int]:
        """The version of each block that batches are answered about here."""
        signed = self.custody.block_digests
        return {
            block: slots.version
            for block, slots in self.custody.blocks.items()
            if block in signed and (not self._pinned.manifest.proofs or self._has(block, signed[block]))
        }

    def _has(self, block: int, block_digest: bytes) -> bool:
        installed = self.bank.blocks.get(block)
        return installed is not None and same(installed.digest, block_digest)

    def _use_keys(self, key_share: KeyShare, committee_key: CommitteeKey, pair_keys: dict[int, bytes]) -> None:
        a = common_polynomial(self._parameters, self._pinned.manifest.epoch, self._pinned.raw)
        b = read_committee_key(committee_key, self._parameters)
        public_key = PublicKey(a, b)
        self.custody.use_keys(public_key, pair_keys)
        self.sessions.use_keys(key_share, pair_keys, public_key)

    def planes(self, block: int, share: int, step: int) -> Iterator[PlaneShares]:
        """Encryptions of a share's planes, `step` planes a message; kept for the audit. Raises as `custody.planes`."""
        for planes in self.custody.planes(block, share, step):
            if self._pinned.manifest.proofs:
                self.auditor.keep(planes)
            yield planes

    def deal(self, pair: tuple[int, int], lanes: int) -> tuple[bytes, TripleSeed, TripleCorrection]:
        """As the dealer: what members A and B of `pair` compare a batch with, against a block of `lanes` lanes.

        Returns the deal's id, what goes to A and what goes to B. Raises MessageError if this member is of the pair.
        """
        if self.number in pair or not set(pair) <= set(MEMBERS) or not 1 <= lanes <= self._parameters.lanes:
            raise MessageError(f"deal: for {pair} and {lanes} lanes {self.name} deals nothing")
        manifest = self._pinned.manifest
        seed, correction = deal(self._parameters, lanes, manifest.batch, manifest.proofs)
        return seed.deal, seed, correction

    def sign_block(self, message: BlockDigest) -> SignedBlockDigest:
        """Sign the digest of a block that passed its audit. Raises IntegrityError, StaleVersion, ReplayError."""
        if self._pinned.manifest.proofs:
            self.auditor.check_passed(message)
        return self.custody.sign_block(message)
