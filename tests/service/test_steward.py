"""What the exchange does by itself: a case whose check fails again and again does not hold up the others."""

import pytest
import skimage.data
from PIL import Image

from protocols.base import IntegrityError
from service import steward
from tests.service.deployment import Deployment


@pytest.fixture
def deployment(tmp_path):
    running = Deployment(tmp_path / "data")
    yield running
    running.close()


def test_a_case_whose_check_always_fails_is_refused_and_the_others_go_on(deployment, tmp_path, monkeypatch):
    photo = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    check, bad = steward.enrolling.check, []

    def failing(wire, members, parts):
        if not bad:
            bad.extend(parts[1].entries)
        if bad == parts[1].entries:
            raise IntegrityError("check: the members disagree")
        return check(wire, members, parts)

    monkeypatch.setattr(steward.enrolling, "check", failing)
    device = deployment.device()
    with pytest.raises(IntegrityError, match="receipts"):  # refused, and no member signs for that
        device.open_case([str(photo)], True)
    assert device.open_case([str(photo)], True).status.status == "active"
    with deployment.exchange.step():
        assert sorted(deployment.exchange.cases.counts().items()) == [("active", 1), ("refused", 1)]
        assert not set(bad) & set(deployment.exchange.exchange._case_of)
    for name in ("member-1", "member-2", "member-3"):
        assert not set(bad) & set(deployment.roles[name].member.custody._shares)
