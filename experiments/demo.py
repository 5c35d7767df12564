"""The whole job on real photos: cases opened, copies edited, uploads checked in the clear and under encryption.

Every protocol that can run here takes the same cases and the same uploads; what each says stands beside what the
plaintext matcher says, with what crossed between roles and what it cost. Then one case is withdrawn everywhere.
`demo_tables` prints what `run` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from experiments import ExperimentError, edits
from experiments.datasets import Dataset
from hashing import Fingerprint, HashingError, hamming, hash_image, open_image, pack, rule_for
from protocols import Capabilities, Match, available, create
from protocols.base import Hashes, Progress
from protocols.ledger import Ledger, MessageKind

ALGORITHM = "pdq"
RULE = rule_for(ALGORITHM)
EDITS = ("JPEG 50", "resize 50 %", "crop 2 % a side", "greyscale", "caption bar")
UNEDITED = "none: another photo"
PHOTOS = 8  # every other one becomes a case
SEED = 1


class NoPhotos(ExperimentError):
    """Not one photo that can be opened and has enough detail to be matched."""


@dataclass(frozen=True)
class Upload:
    """photo: what it was made from. edit: what was done to it. fingerprint: of the upload as it is."""

    photo: str
    edit: str
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Scene:
    """cases: case number -> its entries, uint8 (N, bits/8). photos: case number -> photo. uploads: what a platform
    checks. left_out: photo or upload -> why it cannot be matched.
    """

    cases: dict[str, Hashes] = field(repr=False)
    photos: dict[str, str]
    uploads: list[Upload]
    left_out: dict[str, str]

    @property
    def queries(self) -> Hashes:
        """One row an upload, uint8 (Q, bits/8)."""
        return pack(upload.fingerprint for upload in self.uploads)

    def nearest(self) -> list[int]:
        """Each upload's distance to the nearest entry of any case."""
        return hamming(self.queries, np.concatenate(list(self.cases.values()))).min(axis=1).tolist()


@dataclass(frozen=True)
class Outcome:
    """What one protocol said before the withdrawal (`found`) and after (`left`), and all that crossed."""

    name: str
    capabilities: Capabilities
    table: tuple[MessageKind, ...]
    found: list[Match]
    left: list[Match]
    ledger: Ledger

    def seen_by(self) -> dict[str, str]:
        """Role -> what the messages that it received are a function of, in the words of the protocol's own table."""
        crossed = self.ledger.bytes_by_kind()
        seen: dict[str, list[str]] = {}
        for row in self.table:
            if (row.kind.__name__, row.sender, row.receiver) in crossed:
                received = seen.setdefault(row.receiver, [])
                if row.function_of not in received:
                    received.append(row.function_of)
        return {role: "; ".join(received) for role, received in seen.items()}


@dataclass(frozen=True)
class Report:
    """outcomes: plaintext first. unavailable: protocol -> what is missing. withdrawn: the case that was taken back."""

    scene: Scene
    outcomes: list[Outcome]
    unavailable: dict[str, str]
    withdrawn: str

    @property
    def wrong(self) -> list[str]:
        """Protocols that broke their promise: an exact one that differs from plaintext, or any that invents pairs."""
        truth = self.outcomes[0]
        return [
            outcome.name
            for outcome in self.outcomes
            if not _kept(outcome, outcome.found, truth.found) or not _kept(outcome, outcome.left, truth.left)
        ]


def prepare(photos: Dataset, progress: Progress) -> Scene:
    """Open cases for half of the first usable photos, edit copies of them, and upload the others as they are.

    Raises NoPhotos.
    """
    usable: dict[str, Fingerprint] = {}
    left_out: dict[str, str] = {}
    for name, path in photos.originals.items():
        if len(usable) == PHOTOS:
            break
        progress("hashing photos", len(usable), PHOTOS)
        try:
            fingerprint = hash_image(path, ALGORITHM)
        except HashingError as error:
            left_out[name] = f"{type(error).__name__}: {error}"
            continue
        if fingerprint.usable:
            usable[name] = fingerprint
        else:
            left_out[name] = _too_plain(fingerprint)
    if not usable:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
        raise NoPhotos(f"none of the {len(photos.originals)} photos can be matched ({reasons})")

    enrolled = list(usable)[::2]
    uploads = []
    for number, name in enumerate(enrolled):
        progress("editing copies", number, len(enrolled))
        image = open_image(photos.originals[name])
        uploads += [Upload(name, edit, hash_image(edits.apply(edit, image, name, SEED), ALGORITHM)) for edit in EDITS]
    uploads += [Upload(name, UNEDITED, usable[name]) for name in usable if name not in enrolled]
    for upload in uploads:
        if not upload.fingerprint.usable:
            left_out[f"{upload.photo}, {upload.edit}"] = _too_plain(upload.fingerprint)
    return Scene(
        cases={f"case-{number}": pack([usable[name]]) for number, name in enumerate(enrolled, start=1)},
        photos={f"case-{number}": name for number, name in enumerate(enrolled, start=1)},
        uploads=[upload for upload in uploads if upload.fingerprint.usable],
        left_out=left_out,
    )


def run(scene: Scene, progress: Progress) -> Report:
    """Ask every protocol that can run here, withdraw the first case, and ask again."""
    withdrawn = next(iter(scene.cases))
    outcomes, unavailable = [], {}
    for name, capabilities in available().items():
        if capabilities.why_not:
            unavailable[name] = capabilities.why_not
        elif RULE.bits not in capabilities.bits or RULE.threshold > capabilities.max_threshold:
            unavailable[name] = f"does not take {RULE.bits} bits at threshold {RULE.threshold}"
        else:
            outcomes.append(_ask(name, capabilities, scene, withdrawn, progress))
    return Report(scene, outcomes, unavailable, withdrawn)


def _ask(name: str, capabilities: Capabilities, scene: Scene, withdrawn: str, progress: Progress) -> Outcome:
    progress(f"{name}: setting up", 0, 1)
    protocol = create(name, bits=RULE.bits, threshold=RULE.threshold, progress=progress)
    for number, (case, entries) in enumerate(scene.cases.items()):
        progress(f"{name}: opening cases", number, len(scene.cases))
        protocol.enroll([case] * len(entries), entries)
    progress(f"{name}: checking uploads", 0, 1)
    found = protocol.match(scene.queries)
    protocol.withdraw(withdrawn)
    left = protocol.match(scene.queries)
    return Outcome(name, capabilities, type(protocol).messages, found, left, protocol.ledger)


def _kept(outcome: Outcome, said: list[Match], true: list[Match]) -> bool:
    return said == true if outcome.capabilities.exact else set(said) <= set(true)


def _too_plain(fingerprint: Fingerprint) -> str:
    return f"quality {fingerprint.quality}, the rule asks for {RULE.min_quality}: not enough detail"
