"""Keep THREAT_MODEL.md's tables true: messages from the protocols' own tables, attacks from the result file.

`python -m experiments.threat_model` rewrites what stands between `<!-- messages: NAME -->` or `<!-- attacks -->` and
the next `<!-- end -->`; everything else is a person's prose. A test fails when the file is out of date.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer

from experiments.lab import REPOSITORY_RESULTS
from experiments.results import Result, load, write_whole
from protocols import available, create

FILE = Path(__file__).resolve().parent.parent / "THREAT_MODEL.md"
_BLOCK = re.compile(r"<!-- (messages: (?P<protocol>[\w-]+)|attacks) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str, attacks: Result) -> str:
    """`text` with its generated tables made anew. Tables of protocols that cannot run here stay as they are."""

    def table(found: re.Match[str]) -> str:
        protocol = found["protocol"]
        if protocol is None:
            return f"<!-- attacks -->\n{attack_table(attacks)}<!-- end -->"
        if protocol not in available():
            return found[0]
        return f"<!-- messages: {protocol} -->\n{message_table(protocol)}<!-- end -->"

    return _BLOCK.sub(table, text)


def message_table(protocol: str) -> str:
    """A protocol's declared messages as a Markdown table."""
    lines = ["| message | from | to | function of |", "|---|---|---|---|"]
    for row in create(protocol).messages:
        lines.append(f"| {row.kind.__name__} | {row.sender} | {row.receiver} | {row.function_of} |")
    return "\n".join(lines) + "\n"


def attack_table(result: Result) -> str:
    """Every attack's verdict as a Markdown table, with the command that measured it."""
    lines = [f"Measured by `{result.command}`.", ""]
    lines += ["| attack | against | defence | reached | guessing | succeeds |", "|---|---|---|---|---|---|"]
    for row in result.rows("verdicts"):
        reached = f"{row['measure']}: {row['value']:.3g}"
        verdict = "**yes**" if row["succeeds"] else "no"
        lines.append(
            f"| {row['attack']} | {row['against']} | {row['defence']} | {reached} | {row['chance']:.2g} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the generated tables of THREAT_MODEL.md."""
    write_whole(FILE, filled(FILE.read_text(), load(REPOSITORY_RESULTS / "attacks.json")).encode())


if __name__ == "__main__":
    typer.run(main)
