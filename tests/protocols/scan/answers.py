"""Sessions that are taken to where a test begins: the steps of members 1 and 2, one by one."""

from types import SimpleNamespace

import numpy as np

from protocols.ledger import decode
from protocols.scan.comparison import rounds
from protocols.scan.dealing import chunks, deal
from protocols.scan.matching_messages import MatchList, ScanHeader, SignedHeader
from tests.protocols.scan.parties import changed, crossed, planted, twins

ZERO = np.zeros((1, 32), np.uint8)


def with_entries(rng):
    """A scan and its plaintext twin with entries, and queries for them."""
    protocol, oracle = twins()
    cases, entries, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, entries)
    return SimpleNamespace(protocol=protocol, oracle=oracle, entries=entries, queries=queries[:8], rng=rng)


def sessions(protocol):
    return [protocol._members[number].sessions for number in (1, 2)]


def start(protocol, hashes=ZERO, **fields):
    """A batch of results for members 1 and 2, its header signed with other fields if given."""
    scanned = protocol._checker.scan(hashes, 0, (1, 2))
    session, (to_a, to_b) = scanned.session, protocol._checker.results(scanned)
    if fields:
        header = changed(decode(to_a.header.body, ScanHeader), **fields)
        signed = protocol._checker._identity.sign(header, SignedHeader)
        to_a, to_b = changed(to_a, header=signed), changed(to_b, header=signed)
    return session, crossed(to_a), crossed(to_b)


def agree(protocol, hashes=ZERO):
    """A session that both members were given alike."""
    session, to_a, to_b = start(protocol, hashes)
    a, b = sessions(protocol)
    one, two = a.receive_results("platform-1", to_a), b.receive_results("platform-1", to_b)
    a.receive_header(2, two)
    b.receive_header(1, one)
    return session, a, b


def share(protocol, hashes=ZERO):
    """A session whose shares are ready."""
    session, a, b = agree(protocol, hashes)
    a.receive_partial(2, crossed(b.partial(session)))
    return session, a, b


def stock(protocol, dealer=3):
    seed, correction = map(crossed, deal(protocol.parameters, 1, protocol._batch, False))
    a, b = sessions(protocol)
    a.stock.receive(dealer, seed)
    b.stock.receive(dealer, correction)
    return seed, correction


def compare(protocol, session, a, b, watch=None):
    """The gates of a session whose comparison was started; `watch` is told what A receives."""
    for chunk in range(len(chunks(protocol.parameters, 1, protocol._batch))):
        mine, theirs = (side.gate_opening(session, chunk, 0) for side in (a, b))
        for _ in rounds(protocol.parameters):
            mine, theirs = crossed(mine), crossed(theirs)
            if watch is not None:
                watch.append(np.frombuffer(theirs.masked, dtype=np.uint64))
            mine, theirs = a.next_gates(2, theirs), b.next_gates(1, mine)
        assert mine is theirs is None


def finish(protocol, session, a, b):
    one, two = (crossed(side.match_bits(session)) for side in (a, b))
    a.receive_match_bits(2, two)
    b.receive_match_bits(1, one)
    return [decode(side.answer(session)[0].body, MatchList) for side in (a, b)]


def whole(protocol, hashes=ZERO, watch=None):
    """A session from start to end: what A and B list."""
    session, a, b = share(protocol, hashes)
    seed, _ = stock(protocol)
    for side in (a, b):
        side.start_comparison(session, seed.deal)
    compare(protocol, session, a, b, watch)
    return finish(protocol, session, a, b)
