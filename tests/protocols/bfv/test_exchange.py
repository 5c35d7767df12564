"""The exchange takes a deposit once and into its own slots only, and forgets withdrawn cases everywhere."""

import numpy as np
import pytest

from protocols.base import MessageError
from protocols.bfv.client import Client
from protocols.bfv.exchange import Exchange
from protocols.bfv.keyholder import KeyHolder
from protocols.bfv.messages import Closed, Deposit, Notice, Opened, Places, Reservation, Withdrawal
from protocols.bfv.parameters import STANDARD

ENTRIES = np.random.default_rng(1).integers(0, 256, (2, 8), dtype=np.uint8)


@pytest.fixture
def exchange():
    return Exchange(STANDARD, 64)


@pytest.fixture(scope="module")
def client():
    return Client(STANDARD, KeyHolder(STANDARD, 31).encryption_key())


def enrolled(exchange, client, cases=("a", "b")):
    deposit = client.encrypt(list(cases), ENTRIES, exchange.reserve(Reservation(2)))
    return deposit, exchange.add(deposit)


def test_slots_are_given_out_in_order_and_once(exchange, client):
    assert exchange.reserve(Reservation(3)) == Places(0, 3)
    assert exchange.reserve(Reservation(2)) == Places(3, 2)
    _, opened = enrolled(exchange, client)
    assert opened == Opened(5, 2)
    exchange.withdraw(Withdrawal("a"))
    assert exchange.reserve(Reservation(1)) == Places(7, 1)


def test_the_client_refuses_places_for_another_number_of_entries(client):
    with pytest.raises(MessageError, match="gave 3 places"):
        client.encrypt(["a", "b"], ENTRIES, Places(0, 3))


def test_a_deposit_into_slots_not_given_or_twice_is_refused(exchange, client):
    deposit, _ = enrolled(exchange, client)
    for bad in (
        deposit,
        Deposit(2, deposit.cases, deposit.ciphertexts),
        Deposit(0, ["a"], deposit.ciphertexts),
        Deposit(0, [], []),
    ):
        with pytest.raises(MessageError, match="not given"):
            exchange.add(bad)


def test_a_bad_deposit_changes_nothing_and_can_be_sent_again(exchange, client):
    deposit = client.encrypt(["a", "b"], ENTRIES, exchange.reserve(Reservation(2)))
    for ciphertexts in (deposit.ciphertexts[1:], [*deposit.ciphertexts[1:], b"not a ciphertext"]):
        with pytest.raises(MessageError, match="client's ciphertexts"):
            exchange.add(Deposit(0, deposit.cases, ciphertexts))
        assert exchange.changed_blocks() == []
    assert exchange.add(deposit) == Opened(0, 2)
    assert exchange.changed_blocks() == [0]
    assert exchange.changed_blocks() == []


def test_a_withdrawn_case_is_dead_in_every_later_version_of_its_block(exchange, client):
    enrolled(exchange, client)
    assert exchange.withdraw(Withdrawal("a")) == Closed([0])
    enrolled(exchange, client, ("c", "b"))
    assert np.flatnonzero(np.frombuffer(exchange.block(0).live, dtype=bool)).tolist() == [1, 2, 3]
    assert exchange.withdraw(Withdrawal("b")) == Closed([1, 3])
    assert exchange.withdraw(Withdrawal("b")) == Closed([])


def test_notices_about_dead_slots_and_unknown_handles_are_refused(exchange, client):
    enrolled(exchange, client)
    exchange.withdraw(Withdrawal("b"))
    handle = bytes(16)
    for notice in (Notice([handle], [1]), Notice([handle], [7]), Notice([handle], [])):
        with pytest.raises(MessageError, match="notice"):
            exchange.note(notice)
    with pytest.raises(MessageError, match="handle"):
        exchange.case_of(handle)
    exchange.note(Notice([handle], [0]))
    assert exchange.case_of(handle) == "a"
