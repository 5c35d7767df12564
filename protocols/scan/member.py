"""A member of the committee: its identity, its part of the key, its custody of entries, its sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from protocols.base import ConfigurationError, IntegrityError, MessageError
from protocols.scan.audit import Auditor
from protocols.scan.blocks import BlockStore
from protocols.scan.ceremony import Ceremony, read_committee_key
from protocols.scan.custody import Custody
from protocols.scan.dealing import deal
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.keys import MEMBERS
from protocols.scan.manifest import Pinned, check_agreed, distinct
from protocols.scan.messages import (
    BlockDigest,
    CommitteeKey,
    Manifest,
    PlaneShares,
    SignedBlockDigest,
    SignedManifest,
    SignedManifestPart,
    TripleCorrection,
    TripleSeed,
)
from protocols.scan.parameters import Parameters
from protocols.scan.proof import check_parameters
from protocols.scan.sealing import Identity, digest
from protocols.scan.session import Sessions


class Member:
    """Member `number` (1, 2 or 3)."""

    ceremony: Ceremony
    custody: Custody
    sessions: Sessions

    bank: BlockStore
    auditor: Auditor

    def __init__(self, number: int, folder: Path | None = None) -> None:
        """folder: where published blocks are kept; needed where the manifest asks for proofs."""
        self.number = number
        self._folder = folder
        self.name = f"member-{number}"
        self.identity = Identity(self.name)
        self._signed_epoch = 0
        self._expected = b""
        self._before: Pinned | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def sign_manifest(self, manifest: Manifest, agreed: Manifest, before: Pinned | None = None) -> SignedManifestPart:
        """This member's signature of what was agreed on, for an epoch once.

        agreed: what the members told each other outside the exchange: every field, and the three members' keys.
        before: the manifest that this one replaces. Raises IntegrityError for anything else, or if the manifest does
        not name this member's keys; MessageError.
        """
        if self.identity.public not in distinct(manifest.parties):
            raise IntegrityError(f"manifest: {self.name}'s keys are not in it")
        check_agreed(manifest, agreed)
        if manifest.epoch <= max(self._signed_epoch, before.manifest.epoch if before else 0):
            raise IntegrityError(f"manifest: epoch {manifest.epoch} does not follow the one before; take a later one")
        signed = self.identity.under(b"").sign(manifest, SignedManifestPart)
        self._signed_epoch, self._before = manifest.epoch, before
        self._expected = digest("manifest", signed.body)
        return signed

    def pin(self, signed: SignedManifest, parameters: Parameters) -> None:
        """Pin the manifest that this member signed; ready for the ceremony.

        `parameters`: what this member agreed to, whether to an unsafe threshold too. Raises IntegrityError,
        MessageError, UnsafeThreshold.
        """
        if digest("manifest", signed.manifest) != self._expected:
            raise IntegrityError("manifest: not the one that this member signed")
        allowed = {
            "allow_insecure": parameters.insecure,
            "allow_unsafe_threshold": parameters.allow_unsafe_threshold,
        }
        pinned = Pinned(signed, self._expected, self._before, **allowed)
        if pinned.parameters != parameters:
            raise IntegrityError("manifest: its parameters are not the ones agreed on")
        self._pinned, self._parameters = pinned, parameters
        self.identity = self.identity.under(pinned.digest)
        self.ceremony = Ceremony(self.number, self.identity, pinned, parameters)
        self.custody = Custody(self.number, self.identity, pinned, parameters)
        self.sessions = Sessions(self.number, self.identity, pinned, parameters, self.custody)
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
        a = common_polynomial(self._parameters, self._pinned.manifest.epoch, self._pinned.raw)
        b = read_committee_key(committee_key, self._parameters)
        public_key = PublicKey(a, b)
        self.custody.use_keys(public_key, pair_keys)
        self.sessions.use_keys(key_share, pair_keys, public_key)
        del self.ceremony
        return committee_key

    def planes(self, block: int, share: int, step: int) -> Iterator[PlaneShares]:
        """Encryptions of a share's planes, `step` planes a message; kept for the audit. Raises as `custody.planes`."""
        for planes in self.custody.planes(block, share, step):
            if self._pinned.manifest.proofs:
                self.auditor.keep(planes)
            yield planes

    def deal(self, pair: tuple[int, int], lanes: int) -> tuple[TripleSeed, TripleCorrection]:
        """As the dealer: what members A and B of `pair` compare a batch with, against a block of `lanes` lanes.

        Raises MessageError if this member is of the pair.
        """
        if self.number in pair or not set(pair) <= set(MEMBERS) or not 1 <= lanes <= self._parameters.lanes:
            raise MessageError(f"deal: for {pair} and {lanes} lanes {self.name} deals nothing")
        manifest = self._pinned.manifest
        return deal(self._parameters, lanes, manifest.batch, manifest.proofs)

    def sign_block(self, message: BlockDigest) -> SignedBlockDigest:
        """Sign the digest of a block that passed its audit. Raises IntegrityError, StaleVersion, ReplayError."""
        if self._pinned.manifest.proofs:
            self.auditor.check_passed(message)
        return self.custody.sign_block(message)
