"""The tables of THREAT_MODEL.md, made from the protocols' own tables of messages.

`python -m experiments.threat_tables` writes them anew, each between `<!-- messages: NAME -->` and `<!-- end -->`. A
protocol without one gets a section at the end. The prose around them is written by people.
"""

from __future__ import annotations

from pathlib import Path

from protocols import available, create
from protocols.ledger import MessageKind

THREAT_MODEL = Path(__file__).parent.parent / "THREAT_MODEL.md"


def with_tables(text: str) -> str:
    """The threat model's text with the tables of all protocols that can run here."""
    for name, capabilities in available().items():
        if capabilities.why_not is None:
            start, end = f"<!-- messages: {name} -->\n", "<!-- end -->"
            if start not in text:
                text += f"\n## {name}\n\nBeyond the matches, it reveals: {capabilities.reveals}.\n\n{start}{end}\n"
            before, _, rest = text.partition(start)
            text = before + start + _table(type(create(name)).messages) + end + rest.partition(end)[2]
    return text


def _table(messages: tuple[MessageKind, ...]) -> str:
    rows = [f"| {row.kind.__name__} | {row.sender} | {row.receiver} | {row.function_of} |\n" for row in messages]
    return "| message | from | to | function of |\n|---|---|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    THREAT_MODEL.write_text(with_tables(THREAT_MODEL.read_text(encoding="utf-8")), encoding="utf-8")
