"""The tables of THREAT_MODEL.md, made from protocols' tables of messages, roles' endpoints and the attacks' results.

`python -m experiments.threat_tables` writes them anew, each between `<!-- messages: NAME -->`, `<!-- service -->` or
`<!-- attacks -->`, and `<!-- end -->`. A protocol without one gets a section at the end. The prose around them is
written by people.
"""

from __future__ import annotations

from pathlib import Path

from experiments.lab import REPOSITORY_RESULTS
from experiments.results import Result, load
from experiments.service_tables import service_table
from protocols import available, create
from protocols.ledger import MessageKind

ATTACKS = "<!-- attacks -->\n"
SERVICE = "<!-- service -->\n"
THREAT_MODEL = Path(__file__).parent.parent / "THREAT_MODEL.md"


def with_tables(text: str) -> str:
    """The threat model's text with the tables of all protocols that can run here, and of the attacks."""
    for name, capabilities in available().items():
        if capabilities.why_not is None:
            start, end = f"<!-- messages: {name} -->\n", "<!-- end -->"
            if start not in text:
                text += f"\n## {name}\n\nBeyond the matches, it reveals: {capabilities.reveals}.\n\n{start}{end}\n"
            text = _replaced(text, start, _table(type(create(name)).messages), end)
    if SERVICE in text:
        text = _replaced(text, SERVICE, service_table(), "<!-- end -->")
    if ATTACKS in text:
        text = _replaced(text, ATTACKS, attack_table(load(REPOSITORY_RESULTS / "attacks.json")), "<!-- end -->")
    return text


def attack_table(result: Result) -> str:
    """Every attack's verdict, and the command that measured it."""
    lines = ["| attack | against | defence | reached | guessing | succeeds |", "|---|---|---|---|---|---|"]
    for row in result.rows("verdicts"):
        reached = f"{row['measure']}: {row['value']:.3g}"
        succeeds = "**yes**" if row["succeeds"] else "no"
        lines.append(
            f"| {row['attack']} | {row['against']} | {row['defence']} | {reached} | {row['chance']:.2g} | {succeeds} |"
        )
    return "\n".join(lines) + f"\n\nMeasured by `{result.command}`.\n"


def _replaced(text: str, start: str, table: str, end: str) -> str:
    before, _, rest = text.partition(start)
    return before + start + table + end + rest.partition(end)[2]


def _table(messages: tuple[MessageKind, ...]) -> str:
    rows = [f"| {row.kind.__name__} | {row.sender} | {row.receiver} | {row.function_of} |\n" for row in messages]
    return "| message | from | to | function of |\n|---|---|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    THREAT_MODEL.write_text(with_tables(THREAT_MODEL.read_text(encoding="utf-8")), encoding="utf-8")
