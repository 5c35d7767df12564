"""The tables of THREAT_MODEL.md, made from the protocols' own tables of messages.

`python -m experiments.threat_tables` writes them anew: in each section that has a protocol's name, the table of
messages. A protocol without a section gets one at the end. The prose around them is written by people.
"""

from __future__ import annotations

import re
from pathlib import Path

from protocols import available, create
from protocols.ledger import MessageKind

THREAT_MODEL = Path(__file__).parent.parent / "THREAT_MODEL.md"

_HEAD = "| message | from | to | function of |\n|---|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(\|.*\n)*")


def with_tables(text: str) -> str:
    """The threat model's text with the tables of all protocols that can run here."""
    for name, capabilities in available().items():
        if capabilities.why_not is None:
            text = _replace(text, name, _table(type(create(name)).messages), capabilities.reveals)
    return text


def _table(messages: tuple[MessageKind, ...]) -> str:
    rows = [f"| {row.kind.__name__} | {row.sender} | {row.receiver} | {row.function_of} |\n" for row in messages]
    return _HEAD + "".join(rows)


def _replace(text: str, name: str, table: str, reveals: str) -> str:
    before, heading, rest = text.partition(f"\n## {name}\n")
    if not heading:
        return f"{text}\n## {name}\n\nBeyond the matches, it reveals: {reveals}.\n\n{table}"
    section, next_heading, after = rest.partition("\n## ")
    if not _TABLE.search(section):
        section = f"{section}\n{table}"
    return before + heading + _TABLE.sub(lambda _: table, section, count=1) + next_heading + after


if __name__ == "__main__":
    THREAT_MODEL.write_text(with_tables(THREAT_MODEL.read_text(encoding="utf-8")), encoding="utf-8")
