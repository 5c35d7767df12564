"""The demo's report on a terminal: what was said, what crossed, what each role saw, and the withdrawal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from experiments.demo import RULE, UNEDITED, Outcome, Report, Upload
from protocols.base import Match
from protocols.ledger import Ledger, role_of


def show(report: Report, console: Console) -> None:
    """Print everything."""
    for part in (said(report), cost(report), saw(report), withdrawal(report)):
        console.print(part, "")
    for what, why in (report.scene.left_out | report.unavailable).items():
        console.print(f"left out: {escape(what)} ({escape(why)})")
    console.print(*verdict(report), sep="\n")


def said(report: Report) -> Table:
    """One row an upload."""
    table = _table("What each protocol says", "upload", "edit")
    table.add_column("distance", justify="right")
    for outcome in report.outcomes:
        table.add_column(outcome.name, no_wrap=True)
    nearest = report.scene.nearest()
    for index, upload in enumerate(report.scene.uploads):
        edit = _edit(upload, nearest[index])
        cells = [_cases(outcome.found, index) for outcome in report.outcomes]
        last = index + 1 == len(nearest) or report.scene.uploads[index + 1].photo != upload.photo
        section = last and (upload.edit != UNEDITED)
        table.add_row(escape(upload.photo), edit, str(nearest[index]), *cells, end_section=section)
    entries = max(len(entries) for entries in report.scene.cases.values())
    queries = max(len(upload.queries) for upload in report.scene.uploads)
    table.caption = (
        f"distance: bits of {RULE.bits} that differ from the nearest case; up to {RULE.threshold} is a match\n"
        f"variants: {report.scene.variants}; fingerprints: {entries} a case, up to {queries} an upload"
    )
    return table


def cost(report: Report) -> Table:
    """One row a protocol and role."""
    table = _table("Messages, bytes and CPU by role", "protocol", "role")
    for name in ("sent", "bytes", "received", "bytes", "CPU s"):
        table.add_column(name, justify="right")
    for outcome in report.outcomes:
        roles = list(_roles(outcome.ledger))
        for role in roles:
            table.add_row(
                outcome.name if role == roles[0] else "",
                role,
                *_traffic(outcome.ledger, role),
                f"{sum(spent for (who, _), spent in outcome.ledger.cpu_seconds.items() if role_of(who) == role):.3f}",
                end_section=role == roles[-1],
            )
    return table


def saw(report: Report) -> Table:
    """One sentence a role."""
    table = _table("What each role saw", "protocol", "role", "saw")
    for outcome in report.outcomes:
        seen = outcome.seen_by()
        for role, what in seen.items():
            first, last = role == next(iter(seen)), role == list(seen)[-1]
            table.add_row(outcome.name if first else "", role, f"{what[0].upper()}{what[1:]}.", end_section=last)
    return table


def withdrawal(report: Report) -> Table:
    """The uploads that matched the withdrawn case, before and after."""
    case = report.withdrawn
    table = _table(f"After {case} was withdrawn", "upload", "edit")
    for outcome in report.outcomes:
        table.add_column(outcome.name, no_wrap=True)
    nearest = report.scene.nearest()
    for index in sorted({query for outcome in report.outcomes for query, found in outcome.found if found == case}):
        upload = report.scene.uploads[index]
        says = [_cases(outcome.left, index) for outcome in report.outcomes]
        table.add_row(escape(upload.photo), _edit(upload, nearest[index]), *says)
    return table


def verdict(report: Report) -> Iterator[RenderableType]:
    """A sentence a protocol: whether it kept its promise, and what it gives away."""
    for outcome in report.outcomes[1:]:
        if outcome.name in report.wrong:
            yield f"[bold red]{outcome.name} broke its promise: it disagrees with plaintext[/]"
        else:
            agreement = _agreement(report.outcomes[0], outcome)
            yield f"[green]{outcome.name} {agreement}[/]. Beyond the matches: {outcome.capabilities.reveals}."


def _table(title: str, *headings: str) -> Table:
    """Narrow, so that four protocols fit beside each other into 80 characters."""
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _edit(upload: Upload, nearest: int) -> str:
    duplicate = upload.edit == UNEDITED and nearest <= RULE.threshold
    return f"{upload.edit}, nearly the same" if duplicate else upload.edit


def _agreement(truth: Outcome, outcome: Outcome) -> str:
    pairs = len(truth.found) + len(truth.left)
    if outcome.capabilities.exact:
        return f"agrees with plaintext on every upload ({pairs} matches, none more, none less)"
    return f"reports {len(outcome.found) + len(outcome.left)} of plaintext's {pairs} matches and no other"


def _cases(matches: list[Match], upload: int) -> str:
    cases = [case for query, case in matches if query == upload]
    return f"[bold]{escape(', '.join(cases))}[/]" if cases else "[dim]no match[/]"


def _roles(ledger: Ledger) -> dict[str, None]:
    parties = [message.sender for message in ledger.messages] + [message.receiver for message in ledger.messages]
    return {role_of(party): None for party in [*parties, *(party for party, _ in ledger.cpu_seconds)]}


def _traffic(ledger: Ledger, role: str) -> Iterator[str]:
    for name in ("sender", "receiver"):
        sizes = [message.size for message in ledger.messages if role_of(getattr(message, name)) == role]
        yield str(len(sizes))
        yield f"{sum(sizes):,}"
