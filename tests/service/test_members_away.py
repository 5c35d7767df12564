"""Members that stop, come back, or come back as they once were: what goes on, what waits, what they are told first."""

import io
import shutil

import pytest
from PIL import Image
from skimage import data

from service import up
from service.errors import Unavailable
from service.running import Running
from tests.service.roles import wait_for
from tests.service.village import village


def _astronaut():
    file = io.BytesIO()
    Image.fromarray(data.astronaut()).save(file, "jpeg")
    return file.getvalue()


@pytest.mark.slow
def test_what_goes_on_and_what_waits_while_members_are_away(tmp_path, monkeypatch, cheap_scrypt):
    with village(tmp_path / "village", monkeypatch) as place:
        first, second = place.open(0), place.open(1)
        place.becomes(first, "active")
        place.becomes(second, "active")
        place.settle({0, 1})

        place.stop("member-3")
        third = place.open(2)
        wait_for(lambda: place.status(third).awaiting == [3])
        assert place.status(third).status == "received"
        assert place.status(third).received == 1
        assert place.withdraw(first).awaiting == [3]
        assert place.matching() == {1}  # at once, from dealt stock
        used_up = pytest.raises(Unavailable, match=r"member-3 .* is used up")
        with used_up:
            while True:
                place.matching()

        back = place.start("member-3")
        assert back._told or "started anew" in _refusal(back)
        place.becomes(first, "deleted")
        place.becomes(third, "active")
        place.settle({1, 2})

        place.stop("member-1")
        assert place.matching() == {1, 2}  # members 2 and 3, from what 1 dealt ahead
        place.stop("member-2")
        with pytest.raises(Unavailable, match=r"no two members answer: member-1 .*member-2 "):
            place.matching()
        platform = place.roles[up.PLATFORM]
        tool = Running(platform.folder, platform.settings)
        with pytest.raises(Unavailable, match=r"platform-1: no two members answer: member-1 .*member-2 "):
            tool.upload("post 1", _astronaut())  # it says so to who asks over HTTP
        fourth = place.open(3)
        wait_for(lambda: place.status(fourth).awaiting == [1, 2])
        place.start("member-1")
        place.start("member-2")
        place.becomes(fourth, "active")
        place.settle({1, 2, 3})


def _refusal(member):
    with pytest.raises(Unavailable) as caught:
        member._check_ready("sessions.receive_results")
    return str(caught.value)


@pytest.mark.slow
def test_a_member_restored_from_an_old_copy_is_told_what_it_forgot_before_it_answers(
    tmp_path, monkeypatch, cheap_scrypt
):
    with village(tmp_path / "village", monkeypatch) as place:
        first, second = place.open(0), place.open(1)
        place.becomes(second, "active")
        place.becomes(first, "active")
        place.settle({0, 1})
        old, home = tmp_path / "old", place.folder / "member-2"
        place.stop("member-2")
        shutil.copytree(home, old)
        place.start("member-2")
        place.withdraw(first)
        place.becomes(first, "deleted")  # the exchange keeps nothing of its entries but the members' word
        place.settle({1})

        place.stop("member-2")
        shutil.rmtree(home)
        shutil.copytree(old, home)
        restored = place.start("member-2")
        assert not restored.member.sessions.stock._deals
        wait_for(lambda: restored._told)
        assert restored.member.custody.entries == 1
        wait_for(lambda: restored.member.served == place.roles["member-1"].member.served)
        place.settle({1})  # and deals ahead what the restored one does not have any more
        place.stop("member-3")  # every pair that is left takes it
        assert place.matching() == {1}

        place.start("member-3")
        third = place.open(2)
        place.becomes(third, "active")
        place.settle({1, 2})


@pytest.mark.slow
def test_a_member_that_lacks_entries_is_named_and_the_others_go_on(tmp_path, monkeypatch, cheap_scrypt):
    with village(tmp_path / "village", monkeypatch) as place:
        first = place.open(0)
        place.becomes(first, "active")
        place.settle({0})
        old, home = tmp_path / "old", place.folder / "member-3"
        place.stop("member-3")
        shutil.copytree(home, old)
        place.start("member-3")
        second = place.open(1)
        place.becomes(second, "active")
        place.settle({0, 1})
        place.stop("member-3")
        shutil.rmtree(home)
        shutil.copytree(old, home)
        place.start("member-3")
        steward = place.roles["exchange"].steward
        wait_for(lambda: "member-3 lacks entries" in steward.waiting_for)
        assert place.matching() == {0, 1}
        third = place.open(2)
        wait_for(lambda: place.status(third).awaiting == [3])
