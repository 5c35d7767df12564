"""A member's limits on what a platform may ask: (query, block) results a day, and the share of queries that match."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import msgspec

from protocols.base import BudgetExceeded
from protocols.ledger import decoder
from protocols.scan.founding_messages import Manifest
from protocols.scan.store import Table, number_key

# The platform picks the pair, and every result takes two members. If each admits two thirds of the manifest's limit,
# all three together admit twice the limit, which two members a result make once the limit, over any mix of pairs.

_HOUR = 3600.0
_HOURS = 24


@dataclass
class _Hour:
    """What a platform did in one hour: results asked for, queries that matched, challenged batches left unfinished."""

    asked: int = 0
    matched: int = 0
    unfinished: int = 0


class Budgets:
    """What each platform asked for in the last day, in a table that outlives the process."""

    def __init__(self, manifest: Manifest, kept: Table, unfinished: int = 0) -> None:
        """unfinished: challenged batches that a platform may leave unfinished a day."""
        self._manifest = manifest
        self._kept = kept
        self._allowed = unfinished
        self._hours: dict[str, dict[int, _Hour]] = defaultdict(dict)
        for key, body in kept.items():
            self._hours[key[8:].decode()][int.from_bytes(key[:8])] = decoder(_Hour).decode(body)

    def spend(self, platform: str, batch: int) -> None:
        """Count a batch of results. Raises BudgetExceeded."""
        now, manifest = time.time(), self._manifest
        hours = self._day(platform, now)
        asked = sum(hour.asked for hour in hours.values())
        matched = sum(hour.matched for hour in hours.values())
        wait = (min(hours, default=int(now // _HOUR)) + _HOURS + 1) * _HOUR - now
        if manifest.daily_results is not None and asked + batch > manifest.daily_results * 2 // 3:
            raise BudgetExceeded(
                f"{platform} has used its day's {manifest.daily_results} results: each member admits two thirds",
                wait,
            )
        share = manifest.daily_match_share
        if share is not None and asked >= 1000 and matched > share * asked:
            raise BudgetExceeded(f"{platform} is stopped: more than {share:.1%} of its day's queries match", wait)
        self._add(platform, now, asked=batch)

    def note_matches(self, platform: str, queries: int) -> None:
        """Count queries that matched."""
        self._add(platform, time.time(), matched=queries)

    def note_unfinished(self, platform: str) -> bool:
        """Count a challenged batch that was left unfinished. Whether that many are allowed a day."""
        now = time.time()
        self._add(platform, now, unfinished=1)
        return sum(hour.unfinished for hour in self._day(platform, now).values()) <= self._allowed

    def _day(self, platform: str, now: float) -> dict[int, _Hour]:
        """The platform's last 24 whole hours and the one that runs; older ones are dropped."""
        hours = self._hours[platform]
        for hour in [hour for hour in hours if hour < now // _HOUR - _HOURS]:
            del hours[hour]
            self._kept.pop(number_key(hour) + platform.encode(), None)
        return hours

    def _add(self, platform: str, now: float, asked: int = 0, matched: int = 0, unfinished: int = 0) -> None:
        hour = self._hours[platform].setdefault(int(now // _HOUR), _Hour())
        hour.asked, hour.matched, hour.unfinished = (
            hour.asked + asked,
            hour.matched + matched,
            hour.unfinished + unfinished,
        )
        self._kept[number_key(int(now // _HOUR)) + platform.encode()] = msgspec.msgpack.encode(hour)
