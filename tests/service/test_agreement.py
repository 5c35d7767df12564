"""Setting parties up: what people compare, what members sign, what settings are written."""

import pytest

from protocols.base import ConfigurationError, IntegrityError
from protocols.scan.messages import SignedManifest
from service import agreement, config, up


@pytest.fixture(autouse=True)
def _cheap(cheap_scrypt):
    pass


@pytest.fixture
def parties(tmp_path):
    return {name: agreement.make_keys(tmp_path / name, name, name) for name in up.PARTIES}


def manifest(tmp_path, parties):
    agreed = agreement.agree(list(parties.values()), batch=8)
    return agreement.join([agreement.sign(tmp_path / name, name, name, agreed) for name in up.ORDER[:3]])


def test_fingerprints_tell_keys_apart(parties):
    told = {agreement.fingerprint(keys) for keys in parties.values()}
    assert len(told) == len(parties)
    assert all(len(one) == 8 * 8 + 7 for one in told)


def test_keys_are_never_replaced(tmp_path, parties):
    with pytest.raises(ConfigurationError, match="never replaced"):
        agreement.make_keys(tmp_path / "exchange", "exchange", "another")


def test_settings_are_written_once_and_then_keep_all_but_the_digest(tmp_path, parties):
    signed, pin = manifest(tmp_path, parties)
    urls = {name: f"http://{name}" for name in up.ORDER}
    folder = tmp_path / "platform-1"
    agreement.resettle(folder, signed, pin.hex(), "127.0.0.1:1", urls, "platform-1")
    settings = config.load(folder, config.Settings, {})
    assert (settings.listen, settings.digest, settings.parties) == ("127.0.0.1:1", pin.hex(), urls)
    assert agreement.read(folder / settings.manifest, SignedManifest) == signed

    text = (folder / config.FILE).read_text()
    (folder / config.FILE).write_text(text.replace(pin.hex(), "00").replace("[parties]", 'hook = "x"\n[parties]'))
    agreement.resettle(folder, signed, pin.hex(), "", {}, "platform-1")
    assert config.load(folder, config.Settings, {}).hook == "x"
    assert config.load(folder, config.Settings, {}).digest == pin.hex()


def test_settings_need_the_digest_that_people_compared_and_the_urls_that_are_called(tmp_path, parties):
    signed, pin = manifest(tmp_path, parties)
    with pytest.raises(IntegrityError, match=pin.hex()):
        agreement.resettle(tmp_path / "member-1", signed, "00" * 32, "127.0.0.1:1", {}, "member-1")
    with pytest.raises(ConfigurationError, match="calls member-1, member-2, member-3;"):
        agreement.resettle(tmp_path / "exchange", signed, pin.hex(), "127.0.0.1:1", {}, "exchange")
    with pytest.raises(ConfigurationError, match="not in the manifest"):
        agreement.resettle(tmp_path / "platform-2", signed, pin.hex(), "127.0.0.1:1", {}, "platform-2")
