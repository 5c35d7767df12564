"""A member's limits on what a platform may ask: (query, block) results a day, and the share of queries that match."""

from __future__ import annotations

import time
from collections import defaultdict, deque

from protocols.base import BudgetExceeded
from protocols.scan.messages import Manifest

# The platform picks the pair, and every result takes two members. If each admits two thirds of the manifest's limit,
# all three together admit twice the limit, which two members a result make once the limit, over any mix of pairs.

_DAY = 86_400.0


class Budgets:
    """What each platform asked for in the last day, in memory only."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._day: dict[str, deque[tuple[float, int, int]]] = defaultdict(deque)

    def spend(self, platform: str, batch: int) -> None:
        """Count a batch of results. Raises BudgetExceeded."""
        day, now, manifest = self._day[platform], time.time(), self._manifest
        while day and day[0][0] < now - _DAY:
            day.popleft()
        asked, matched = sum(row[1] for row in day), sum(row[2] for row in day)
        wait = day[0][0] + _DAY - now if day else _DAY
        if manifest.daily_results is not None and asked + batch > manifest.daily_results * 2 // 3:
            raise BudgetExceeded(
                f"{platform} has used its day's {manifest.daily_results} results: each member admits two thirds",
                wait,
            )
        share = manifest.daily_match_share
        if share is not None and asked >= 1000 and matched > share * asked:
            raise BudgetExceeded(f"{platform} is stopped: more than {share:.1%} of its day's queries match", wait)
        day.append((now, batch, 0))

    def note_matches(self, platform: str, queries: int) -> None:
        """Count queries that matched."""
        self._day[platform].append((time.time(), 0, queries))
