"""THREAT_MODEL.md lists every message that a protocol declares, in the words of the protocol's own table."""

from experiments.threat_tables import THREAT_MODEL, with_tables
from protocols import available, create

TEXT = THREAT_MODEL.read_text(encoding="utf-8")
HELP = "THREAT_MODEL.md does not show the protocols' messages as they are; run `make tables`"


def test_the_threat_model_is_up_to_date():
    assert with_tables(TEXT) == TEXT, HELP


def test_an_outdated_table_is_replaced_and_the_prose_kept():
    row = type(create("bfv")).messages[-1].function_of
    assert row in TEXT
    outdated = TEXT.replace(row, "something else")
    assert with_tables(outdated) == TEXT


def test_a_protocol_without_a_section_gets_one():
    text = with_tables("# Nothing yet\n")
    for name, capabilities in available().items():
        if capabilities.why_not is None:
            assert f"\n## {name}\n" in text
            assert capabilities.reveals in text
