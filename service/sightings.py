"""What platforms find: matches, the uploads that they belong to, what platforms do about them, how far they searched.

A platform learns of each match an opaque handle. It says which handles belong to one upload, and gets a sighting handle
for each case that the upload shows: a photo by any match, a video if a set share of its compared frames match entries
of one case. What it does about a sighting it tells by that handle. Matches that no upload claims are dropped after a
day or two.

NOT protected: a platform may group handles as it likes, and need not tell what it found or did. One that says that two
uploads are one learns from the number of sightings whether they show the same case.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from protocols.base import InputError
from service.messages import MOST_HANDLES, PlatformStatus, Sighted, Sightings, Upload, Verdicts
from service.models import Entry, Match, Searched, Sighting
from service.storage import SqlStore, insert_if_new, lock_cases, transaction

HANDLE_BYTES = 16


class UnknownSighting(InputError):
    """No sighting of this platform has this handle."""


class Finds:
    """Matches, sightings and searches in the exchange's database. Safe to use from several threads."""

    def __init__(self, engine: Engine, *, video_share: float, clock: Callable[[], float] = time.time) -> None:
        """video_share: of a video's compared frames, how many have to match one case. clock: unix seconds."""
        self._engine, self._clock = engine, clock
        self._video_share = video_share

    def searched(self, platform: str, block: int, version: int, store: SqlStore | None = None) -> None:
        """A platform has just compared uploads with this version of a block."""
        with transaction(self._engine, store) as session:
            insert_if_new(session, Searched, [{"platform": platform, "block": block, "version": version, "at": 0}])
            row = session.get_one(Searched, (platform, block), with_for_update=True)
            row.version, row.at = max(row.version, version), int(self._clock())

    def matched(self, platform: str, handles: Mapping[bytes, bytes], store: SqlStore | None = None) -> list[bytes]:
        """Note matches of a scan: handle -> case id. Returns the handles that may be answered: none of a case that is
        withdrawn meanwhile.
        """
        with transaction(self._engine, store) as session:
            active = _active(session, set(handles.values()))
            kept = [handle for handle, case in handles.items() if case in active]
            found = {"platform": platform, "found_on": self._today(), "sighting": None}
            insert_if_new(session, Match, [{"handle": handle, "case": handles[handle], **found} for handle in kept])
            return kept

    def sighted(self, platform: str, message: Sighted) -> Sightings:
        """For each upload the handles of its sightings. The same handles again give the same sightings.

        A handle counts for nothing if it is not this platform's, too old, or of a case that is withdrawn. Raises
        InputError.
        """
        handles = [handle for upload in message.uploads for frame in upload.matched for handle in frame]
        _check(message.uploads, handles)
        with transaction(self._engine) as session:
            cases = select(Match.case).where(Match.platform == platform, Match.handle.in_(handles))
            active = _active(session, set(session.scalars(cases)))
            known = {match.handle: match for match in _matches(session, platform, handles) if match.case in active}
            return Sightings([self._sightings(session, upload, known) for upload in message.uploads])

    def _sightings(self, session: Session, upload: Upload, known: Mapping[bytes, Match]) -> list[bytes]:
        frames: Counter[bytes] = Counter()
        matches: dict[bytes, list[Match]] = defaultdict(list)
        for frame in upload.matched:
            found = [known[handle] for handle in frame if handle in known]
            frames.update({match.case for match in found})
            for match in found:
                matches[match.case].append(match)
        least = 0.0 if upload.kind == "photo" else self._video_share
        shown = [case for case in sorted(frames) if frames[case] / upload.frames >= least]
        return [self._sighting(session, upload.kind, matches[case]) for case in shown]

    def _sighting(self, session: Session, kind: str, matches: Sequence[Match]) -> bytes:
        handle = next((match.sighting for match in matches if match.sighting is not None), None)
        if handle is None:
            handle, first = secrets.token_bytes(HANDLE_BYTES), matches[0]
            found = first.found_on
            session.add(Sighting(handle=handle, case=first.case, platform=first.platform, kind=kind, found_on=found))
        for match in matches:
            match.sighting = match.sighting or handle
        return handle

    def feedback(self, platform: str, message: Verdicts) -> None:
        """What a platform did about its sightings; the last word counts. All or nothing. Raises UnknownSighting."""
        verdicts = dict(message.sightings)
        if len(verdicts) > MOST_HANDLES:
            raise InputError(f"sightings: {len(verdicts)} came; at most {MOST_HANDLES} at once")
        mine = select(Sighting).where(Sighting.platform == platform, Sighting.handle.in_(verdicts))
        with transaction(self._engine) as session:
            rows = session.scalars(mine.order_by(Sighting.handle).with_for_update()).all()
            if len(rows) != len(verdicts):
                raise UnknownSighting(
                    f"sightings: {len(verdicts) - len(rows)} of these handles are none of {platform}'s"
                )
            for row in rows:
                row.verdict = verdicts[row.handle]

    def tidy(self) -> None:
        """Once a day: forget old matches that no upload claimed, and round since when entries stand to days gone by.

        After that, an entry counts as searched from the last version of its first day on.
        """
        with transaction(self._engine) as session:
            session.execute(delete(Match).where(Match.found_on < self._today() - timedelta(days=1)))
        days = select(Entry.block, Entry.placed_on, func.max(Entry.version)).where(Entry.placed_on < self._today())
        uneven = days.group_by(Entry.block, Entry.placed_on).having(func.max(Entry.version) > func.min(Entry.version))
        with transaction(self._engine) as session:
            for block, placed_on, version in session.execute(uneven).all():
                that_day = (Entry.block == block) & (Entry.placed_on == placed_on)
                session.execute(update(Entry).where(that_day).values(version=version))

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()


def platform_rows(session: Session, case: bytes) -> list[PlatformStatus]:
    """What each platform did for a case, by name."""
    told: dict[str, Counter[str]] = defaultdict(Counter)
    counted = select(Sighting.platform, Sighting.verdict, func.count()).where(Sighting.case == case)
    for platform, verdict, count in session.execute(counted.group_by(Sighting.platform, Sighting.verdict)):
        told[platform][verdict or ""] = count
    until = _searched_until(session, case)
    return [
        PlatformStatus(
            platform,
            until.get(platform),
            told[platform].total(),
            told[platform]["blocked"],
            told[platform]["not blocked"],
            told[platform]["pending review"],
        )
        for platform in sorted(told.keys() | until.keys())
    ]


def _searched_until(session: Session, case: bytes) -> dict[str, datetime | None]:
    """For each platform its last search of the block where it searched least; None if it has not searched them all."""
    standing = select(Entry.block, func.max(Entry.version)).where(Entry.case == case, Entry.status == "accepted")
    needed = dict(session.execute(standing.group_by(Entry.block)).all())
    searches: dict[str, dict[int, int]] = defaultdict(dict)
    for row in session.scalars(select(Searched)):
        found = searches[row.platform]
        if row.block in needed and row.version >= (needed[row.block] or 0):
            found[row.block] = row.at
    return {
        platform: datetime.fromtimestamp(min(found.values()), UTC) if needed and found.keys() == needed.keys() else None
        for platform, found in searches.items()
    }


def _active(session: Session, cases: set[bytes]) -> set[bytes]:
    """Which of the cases match, locked so that none is withdrawn before this transaction ends."""
    return {case.id for case in lock_cases(session, cases) if case.status == "active"}


def _matches(session: Session, platform: str, handles: Sequence[bytes]) -> Sequence[Match]:
    mine = select(Match).where(Match.platform == platform, Match.handle.in_(handles)).order_by(Match.handle)
    return session.scalars(mine.with_for_update()).all()


def _check(uploads: Sequence[Upload], handles: Sequence[bytes]) -> None:
    if len(handles) > MOST_HANDLES:
        raise InputError(f"uploads: {len(handles)} handles came; at most {MOST_HANDLES} at once")
    for upload in uploads:
        if upload.frames < max(1, len(upload.matched)):
            raise InputError(f"upload: {len(upload.matched)} frames match of {upload.frames} compared")
