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
from hashing import Fingerprint, HashingError, hamming, open_image, pack, pack_margins, rule_for
from hashing.variants import Variants, fingerprints_to_enroll, fingerprints_to_query
from protocols import Capabilities, Match, Protocol, available, create
from protocols.base import Progress
from protocols.ledger import Ledger, MessageKind

ALGORITHM = "pdq"
RULE = rule_for(ALGORITHM)
EDITS = ("JPEG 50", "resize 50 %", "crop 2 % a side", "greyscale", "caption bar")
UNEDITED = "another photo"
PHOTOS = 8  # every other one becomes a case
SEED = 1


class NoPhotos(ExperimentError):
    """Not one photo that can be opened and has enough detail to be matched."""


class NotEnoughDetail(ExperimentError):
    """Not one fingerprint of the photo has the quality that the rule asks for."""


@dataclass(frozen=True)
class Upload:
    """photo: what it was made from. edit: what was done to it. queries: its fingerprints."""

    photo: str
    edit: str
    queries: list[Fingerprint] = field(repr=False)


@dataclass(frozen=True)
class Scene:
    """cases: case number -> its entries. photos: case number -> photo. uploads: what a platform
    checks. left_out: photo or upload -> why it cannot be matched. variants: the set that was enrolled and asked for.
    """

    cases: dict[str, list[Fingerprint]] = field(repr=False)
    photos: dict[str, str]
    uploads: list[Upload]
    left_out: dict[str, str]
    variants: str

    def nearest(self) -> list[int]:
        """For each upload, the smallest distance of a query of it to an entry of any case."""
        entries = pack(entry for entries in self.cases.values() for entry in entries)
        return [int(hamming(pack(upload.queries), entries).min()) for upload in self.uploads]

    def ask(self, protocol: Protocol) -> list[Match]:
        """(upload, case) of every match: an upload matches where one of its queries does."""
        rows = np.repeat(np.arange(len(self.uploads)), [len(upload.queries) for upload in self.uploads])
        queries = [query for upload in self.uploads for query in upload.queries]
        found = protocol.match(pack(queries), pack_margins(queries))
        return sorted({Match(int(rows[query]), case) for query, case in found})


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


def prepare(photos: Dataset, variants: str, progress: Progress) -> Scene:
    """Open cases for half of the first usable photos, edit copies of them, and upload the others as they are.

    variants: a set of `hashing.variants`. Raises NoPhotos, VariantsError.
    """
    usable: dict[str, Variants] = {}
    left_out: dict[str, str] = {}
    for name, path in photos.originals.items():
        if len(usable) == PHOTOS:
            break
        progress("hashing photos", len(usable), PHOTOS)
        try:
            usable[name] = _usable(fingerprints_to_enroll(path, variants))
        except (HashingError, NotEnoughDetail) as error:
            left_out[name] = f"{type(error).__name__}: {error}"
    if not usable:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
        raise NoPhotos(f"none of the {len(photos.originals)} photos can be matched ({reasons})")

    enrolled = list(usable)[::2]
    uploads = []
    for number, name in enumerate(usable):
        progress("editing copies", number, len(usable))
        image = open_image(photos.originals[name])
        for edit in EDITS if name in enrolled else (UNEDITED,):
            copy = image if edit == UNEDITED else edits.apply(edit, image, name, SEED)
            try:
                queries = _usable(fingerprints_to_query(copy, variants))
            except (HashingError, NotEnoughDetail) as error:
                left_out[f"{name}, {edit}"] = str(error)
            else:
                uploads.append(Upload(name, edit, queries.fingerprints))
    return Scene(
        cases={f"case-{number}": usable[name].padded() for number, name in enumerate(enrolled, start=1)},
        photos={f"case-{number}": name for number, name in enumerate(enrolled, start=1)},
        uploads=sorted(uploads, key=lambda upload: upload.edit == UNEDITED),
        left_out=left_out,
        variants=variants,
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
        protocol.enroll([case] * len(entries), pack(entries), pack_margins(entries))
    progress(f"{name}: checking uploads", 0, 1)
    found = scene.ask(protocol)
    protocol.withdraw(withdrawn)
    left = scene.ask(protocol)
    return Outcome(name, capabilities, type(protocol).messages, found, left, protocol.ledger)


def _kept(outcome: Outcome, said: list[Match], true: list[Match]) -> bool:
    return said == true if outcome.capabilities.exact else set(said) <= set(true)


def _usable(variants: Variants) -> Variants:
    if not len(variants):
        raise NotEnoughDetail(f"quality is below {RULE.min_quality}")
    return variants
