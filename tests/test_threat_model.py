"""THREAT_MODEL.md lists every message that a protocol declares, in the words of the protocol's own table."""

from pathlib import Path

import pytest

from protocols import available, create

TEXT = (Path(__file__).parent.parent / "THREAT_MODEL.md").read_text()
NAMES = [name for name, capabilities in available().items() if capabilities.why_not is None]


@pytest.mark.parametrize("name", NAMES)
def test_every_declared_message_stands_in_the_threat_model(name):
    section = TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    rows = [
        f"| {row.kind.__name__} | {row.sender} | {row.receiver} | {row.function_of} |"
        for row in type(create(name)).messages
    ]
    missing = [row for row in rows if row not in section]
    assert not missing, f"THREAT_MODEL.md, section '## {name}', lacks these rows:\n" + "\n".join(missing)
