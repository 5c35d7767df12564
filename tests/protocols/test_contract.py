"""One test body over every registered protocol: the same answers as plaintext, the same errors for bad input."""

import numpy as np
import pytest

from protocols import available, create
from protocols.base import ConfigurationError, InputError, Protocol, UnknownCase
from protocols.blind import Blind
from protocols.scan import Scan

NAMES = [name for name, capabilities in available().items() if capabilities.why_not is None]


def near(rng, row, distance):
    """A copy of a packed row with exactly `distance` bits flipped."""
    bits = np.unpackbits(row)
    bits[rng.choice(len(bits), distance, replace=False)] ^= 1
    return np.packbits(bits)


def planted(rng, bits, threshold, entries=40):
    """Entries and queries with pairs at every distance that could go wrong by one."""
    bank = rng.integers(0, 256, (entries, bits // 8), dtype=np.uint8)
    bank[0], bank[1], bank[3] = 0, 255, bank[2]
    queries = [bank[0], bank[1], ~bank[4], rng.integers(0, 256, bits // 8, dtype=np.uint8)]
    for row, distance in enumerate({0, max(0, threshold - 1), threshold, min(bits, threshold + 1)}):
        queries += [near(rng, bank[entry], distance) for entry in (0, 1, 2, 5 + row)]
    cases = [f"case-{entry // 2}" for entry in range(entries)]
    return cases, bank, np.array(queries)


def compare(name, found, truth):
    if available()[name].exact:
        assert found == truth
    else:
        assert set(found) <= set(truth)


def thresholds(name, bits):
    wanted = [0, 1, 31, 32, 63, 64, 71] if bits == 256 else [0, 1, 5]
    return [t for t in wanted if t <= available()[name].max_threshold]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.parametrize("bits", [64, 256])
def test_same_pairs_as_plaintext_at_every_threshold(name, bits):
    if bits not in available()[name].bits:
        pytest.skip(f"{name} does not take {bits}-bit hashes")
    for threshold in thresholds(name, bits):
        rng = np.random.default_rng(threshold)
        cases, bank, queries = planted(rng, bits, threshold)
        protocol, oracle = (create(n, bits=bits, threshold=threshold) for n in (name, "plaintext"))
        for p in (protocol, oracle):
            p.enroll(cases, bank)
        compare(name, protocol.match(queries), oracle.match(queries))


def test_adding_and_withdrawing(name):
    rng = np.random.default_rng(7)
    cases, bank, queries = planted(rng, 256, 31)
    protocol, oracle = create(name), create("plaintext")
    for p in (protocol, oracle):
        p.enroll(cases[:10], bank[:10])
        p.enroll(cases[10:], bank[10:])
        p.enroll(["case-0"], queries[3:4])
    compare(name, protocol.match(queries), oracle.match(queries))
    for case in ("case-0", "case-2"):
        for p in (protocol, oracle):
            p.withdraw(case)
        compare(name, protocol.match(queries), oracle.match(queries))
        with pytest.raises(UnknownCase):
            protocol.withdraw(case)
    for p in (protocol, oracle):
        p.enroll(["case-0"], bank[:1])
    compare(name, protocol.match(queries), oracle.match(queries))


def test_batches_number_on_and_empty_input_gives_nothing(name):
    rng = np.random.default_rng(8)
    cases, bank, queries = planted(rng, 256, 31)
    protocol = create(name)
    assert protocol.match(queries) == []
    protocol.enroll([], np.empty((0, 32), np.uint8))
    protocol.enroll(cases, bank)
    assert protocol.match(np.empty((0, 32), np.uint8)) == []
    whole = protocol.match(queries)
    assert protocol.match(part for part in np.array_split(queries, 3)) == whole
    assert whole == sorted(set(whole))


def test_margins_change_no_exact_answer_and_invent_no_pair(name):
    rng = np.random.default_rng(11)
    cases, bank, queries = planted(rng, 256, 31, entries=12)
    protocol, oracle = create(name), create("plaintext")
    for p in (protocol, oracle):
        p.enroll(cases, bank, rng.standard_normal((len(bank), 256)))
    compare(name, protocol.match(queries, rng.standard_normal((len(queries), 256))), oracle.match(queries))


def test_bad_input_is_refused_by_name_and_changes_nothing(name):
    rng = np.random.default_rng(9)
    cases, bank, queries = planted(rng, 256, 31)
    protocol = create(name)
    protocol.enroll(cases, bank)
    before = protocol.match(queries)
    for bad_cases, bad_hashes, word in [
        (cases[:3], bank[:2], "cases"),
        (["a", 7], bank[:2], "cases"),
        (["", "b"], bank[:2], "cases"),
        (["\ud800", "b"], bank[:2], "printable"),
        (["a\n\0", "b"], bank[:2], "printable"),
        (7, bank[:2], "cases"),
        ("ab", bank[:2], "cases"),
        (["a", "b"], bank[:2, :31], "hashes"),
        (["a", "b"], bank[:2].astype(np.float64) * np.nan, "hashes"),
        (["a", "b"], bank[:2].tolist(), "hashes"),
        (["a", "b"], bank[0], "hashes"),
    ]:
        with pytest.raises(InputError, match=word):
            protocol.enroll(bad_cases, bad_hashes)
    for bad in (queries[:, :8], queries.astype(np.int64), None, "text", [None]):
        with pytest.raises(InputError, match="hashes"):
            protocol.match(bad)
    with pytest.raises(UnknownCase):
        protocol.withdraw("a")
    for bad in (
        np.zeros((2, 255)),
        np.zeros((3, 256)),
        np.zeros((2, 256), int),
        [[0.0] * 256] * 2,
        np.full((2, 256), np.nan),
    ):
        with pytest.raises(InputError, match="margins"):
            protocol.enroll(["a", "b"], bank[:2], bad)
        with pytest.raises(InputError, match="margins"):
            protocol.match(queries[:2], bad)
    with pytest.raises(InputError, match="one array"):
        protocol.match(iter([queries[:2]]), np.zeros((2, 256)))
    assert protocol.match(queries) == before


@pytest.mark.parametrize(
    "options", [{"bits": 100}, {"threshold": -1}, {"threshold": 257}, {"threshold": 3.5}, {"x": 1}]
)
def test_bad_configuration_is_refused_by_name(name, options):
    with pytest.raises(ConfigurationError):
        create(name, **options)


def test_refusals_name_what_was_given_and_what_is_taken(name):
    largest = available()[name].max_threshold
    for options, words in [
        ({"bits": "256"}, "bits is '256'"),
        ({"threshold": -1}, rf"from 0 to {largest}\b"),
        ({"nonsense": 1}, rf"{name} has no option nonsense; it takes .*progress.*record"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            create(name, **options)


def test_every_option_that_a_refusal_lists_is_known():
    assert {"record", "progress", "k", "proofs", "threads"} <= Blind.options()
    assert {"record", "progress", "batch", "proofs", "executor"} <= Scan.options()


def test_every_message_is_declared_and_recorded_only_where_asked(name):
    rng = np.random.default_rng(10)
    cases, bank, queries = planted(rng, 256, 31)
    for record in (False, True):
        protocol = create(name, record=record)
        protocol.enroll(cases, bank)
        protocol.match(queries)
        protocol.withdraw(cases[0])
        declared = {(row.kind.__name__, row.sender, row.receiver) for row in type(protocol).messages}
        assert set(protocol.ledger.bytes_by_kind()) <= declared
        assert all((message.payload is not None) == record for message in protocol.ledger.messages)
        assert {"enroll", "withdraw"} <= {message.phase for message in protocol.ledger.messages}
        assert all(seconds >= 0 for seconds in protocol.ledger.cpu_seconds.values())


def test_is_a_protocol(name):
    assert isinstance(create(name), Protocol)
