"""A member whose database is lost: from a new epoch on it deals and checks, and the other two match what was before."""

import shutil

import msgspec
import pytest

from protocols.base import ConfigurationError
from service import config, up
from service.client import Device
from service.exchange import ExchangeRole
from tests.service.roles import wait_for
from tests.service.test_rotation import new_epoch
from tests.service.village import village


def test_lost_shares_are_a_members(tmp_path, cheap_scrypt):
    up.create(tmp_path / "all", first_port=0, parameter_set="INSECURE_TINY", batch=8)
    home = tmp_path / "all" / "exchange"
    settings = msgspec.structs.replace(config.load(home, config.Settings), lost_shares="member-4")
    with pytest.raises(ConfigurationError, match="lost_shares is 'member-4'; expected a member"):
        ExchangeRole(home, settings)


@pytest.mark.slow
def test_a_member_whose_database_is_lost_is_replaced(tmp_path, monkeypatch, cheap_scrypt):
    folder = tmp_path / "village"
    with village(folder, monkeypatch) as place:
        kept, gone, reopened = place.open(0), place.open(1), place.open(2)
        for case in (kept, gone, reopened):
            place.becomes(case, "active")
        place.withdraw(gone)
        place.becomes(gone, "deleted")
        place.settle({0, 2})
        place.stop("member-3")
        for path in (folder / "member-3").glob("member-3.db*"):
            path.unlink()
        shutil.rmtree(folder / "member-3" / "blocks")
        place.start("member-3")  # in the same epoch it has no key, and nobody gives it one
        waiting = place.open(3)
        wait_for(lambda: "member-3" in place.roles["exchange"].steward.waiting_for)
        assert place.matching() == {0, 2}
        assert place.status(waiting).status == "received"
        place.withdraw(waiting)

    new_epoch(folder, 2)
    settings = folder / "exchange" / config.FILE
    settings.write_text('lost_shares = "member-3"\n' + settings.read_text())
    with village(folder, monkeypatch) as place:
        exchange, third = place.roles["exchange"], place.roles["member-3"]
        wait_for(exchange.exchange.published.all)
        place.settle({0, 2})
        assert exchange.steward.lacking == {3}
        assert exchange._waits() == {"member-1": 0, "member-2": 0, "member-3": 1, "other": 0}
        assert third.member.custody.entries == 0
        for _ in range(2 * place.roles[up.PLATFORM].settings.stock + 1):
            assert place.matching() == {0, 2}  # it deals

        place.becomes(waiting, "deleted")
        fresh = place.open(1)  # and checks what is new
        place.becomes(fresh, "active")
        assert len(place.status(fresh).receipts) == 3
        place.settle({0, 1, 2})
        assert third.member.custody.entries == 1

        device = Device(config.load(folder / up.CLIENT, config.Client))  # pins the first manifest
        place.withdraw(kept)
        place.withdraw(reopened)
        for case in (gone, waiting, kept, reopened):  # withdrawn before, while it was lost, and afterwards
            place.becomes(case, "deleted")
            assert len(device.check_erasure(place.status(case)).receipts) == 3
        again = place.open(2)
        place.becomes(again, "active")
        place.settle({1, 2})
        wait_for(lambda: exchange.steward.lacking == set())  # nothing is left that it lacks
        wait_for(lambda: third.member.served == place.roles["member-1"].member.served)
        place.stop("member-1")
        assert place.matching() == {1, 2}  # with it
