"""A new epoch: a new key and a new manifest, for the same entries, cases and people."""

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from PIL import Image
from skimage import data

from protocols.base import IntegrityError
from protocols.scan.founding_messages import SignedManifest
from service import agreement, config, up, web
from service.checker import PlatformRole
from service.client import Device
from service.exchange import ExchangeRole
from service.member import MemberRole

KINDS = {"exchange": ExchangeRole, "member": MemberRole, "platform": PlatformRole}


@pytest.fixture(autouse=True)
def _cheap(cheap_scrypt):
    pass


def make(folder, name):
    return KINDS[name.partition("-")[0]](folder / name, config.load(folder / name, config.Settings))


@contextmanager
def deployed(folder):
    """{name: role}, each behind its URL, the exchange's steward at work."""
    roles = {}
    with ExitStack() as stack:
        for name in up.PARTIES:
            role = roles[name] = make(folder, name)
            stack.callback(role.store.close)
            server = web.server(role.app(), *config.address(role.settings))
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            stack.callback(thread.join, 30)
            stack.callback(setattr, server, "should_exit", True)
            wait_for(lambda server=server: server.started)
        steward = threading.Thread(target=roles["exchange"].background, daemon=True)
        steward.start()
        stack.callback(steward.join, 60)
        stack.callback(roles["exchange"]._stop.set)
        yield roles


def wait_for(what, seconds=60.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def new_epoch(folder, epoch):
    """What people do with `setup sign`, `join` and `settle`."""
    passphrases = {name: (folder / name / "passphrase").read_text() for name in up.PARTIES}
    keys = agreement.read_parties([folder / name / f"{name}.public" for name in up.PARTIES])
    agreed = agreement.agree(keys, epoch=epoch, parameter_set="INSECURE_TINY", lanes=1, batch=8)
    before = agreement.read(folder / "exchange" / agreement.MANIFEST, SignedManifest)
    parts = [agreement.sign(folder / name, name, passphrases[name], agreed) for name in up.ORDER[:3]]
    signed, pin = agreement.join(parts, before, allow_insecure=True)
    for name in up.PARTIES:
        agreement.resettle(folder / name, signed, pin.hex(), "", {}, name, allow_insecure=True)
    return before


@pytest.mark.slow
def test_a_new_epoch_has_a_new_key_for_the_same_cases(tmp_path):
    folder = tmp_path / "all"
    up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=8)
    astronaut, coffee, copy = tmp_path / "astronaut.png", tmp_path / "coffee.png", tmp_path / "copy.jpg"
    Image.fromarray(data.astronaut()).save(astronaut)
    Image.fromarray(data.astronaut()).save(copy, quality=60)
    Image.fromarray(data.coffee()).save(coffee)
    person = config.load(folder / up.CLIENT, config.Client)  # pins epoch 1, and is never told of another

    with deployed(folder) as roles:
        device = Device(person)
        kept, gone = device.open_case([str(astronaut)], True), device.open_case([str(coffee)], True)
        assert device.withdraw(gone.number, gone.pin).status == "deleted"
        first_key = roles["exchange"].committee_key.b
        first_version = roles["exchange"].exchange.version
        assert roles["member-1"].store.table("key 1")
    before = new_epoch(folder, 2)

    with deployed(folder) as roles:
        wait_for(lambda: roles["exchange"].exchange.published.all())
        assert roles["exchange"].committee_key.b != first_key
        assert roles["exchange"].exchange.version > first_version
        assert not roles["member-1"].store.table("key 1")
        assert len(roles["platform-1"].check([str(copy), str(coffee)]).hits) == 1
        device = Device(person)
        assert device.status(kept.number, kept.pin).platforms[0].matches == 1
        assert device.status(gone.number, gone.pin).erasure is not None  # signed in epoch 1, and verified
        assert device.withdraw(kept.number, kept.pin).status == "deleted"
        assert roles["platform-1"].check([str(copy)]).hits == []
        assert device.open_case([str(astronaut)], True).status.status == "active"

    for name in ("member-1", "exchange"):
        signed, pin = before, agreement.digest("manifest", before.manifest)
        agreement.resettle(folder / name, signed, pin.hex(), "", {}, name, allow_insecure=True)
        with pytest.raises(IntegrityError, match="epoch"):
            make(folder, name)


def test_who_pinned_a_manifest_follows_only_what_two_of_its_members_signed(tmp_path):
    mine, others = tmp_path / "mine", tmp_path / "others"
    for folder in (mine, others):
        up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=8)
    before = agreement.read(mine / "exchange" / agreement.MANIFEST, SignedManifest)
    parts = []
    for name in up.ORDER[:3]:
        keys = agreement.read_parties([others / one / f"{one}.public" for one in up.PARTIES])
        agreed = agreement.agree(keys, epoch=2, parameter_set="INSECURE_TINY", lanes=1, batch=8)
        parts.append(agreement.sign(others / name, name, (others / name / "passphrase").read_text(), agreed))
    agreement.join(parts, allow_insecure=True)
    with pytest.raises(IntegrityError, match="2 are needed"):
        agreement.join(parts, before, allow_insecure=True)
