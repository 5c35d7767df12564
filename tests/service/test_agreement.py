"""Setting parties up: what people compare, what members sign, what settings are written."""

import pytest
from typer.testing import CliRunner

from protocols.base import ConfigurationError, IntegrityError
from protocols.ledger import decode
from protocols.scan.founding_messages import Manifest, SignedManifest
from protocols.scan.sealing import PublicKeys
from service import agreement, cli_setup, config, up
from service.errors import WrongPassphrase


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


NAMES = (*agreement.ORDER, "platform-a")


@pytest.fixture
def keys(tmp_path):
    return [agreement.make_keys(tmp_path / name, name, "secret") for name in NAMES]


def parts(folder, *agreed):
    return [
        agreement.sign(folder / name, name, "secret", each) for name, each in zip(agreement.ORDER, agreed, strict=False)
    ]


def tiny(keys, **changed):
    return agreement.agree(keys, **{"parameter_set": "INSECURE_TINY", "lanes": 1} | changed)


def test_keys_are_made_once_for_their_owner_only(tmp_path):
    public = agreement.make_keys(tmp_path, "exchange", "secret")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert decode(before["exchange.public"], PublicKeys) == public
    assert agreement.read_parties([tmp_path / "exchange.public"]) == [public]
    with pytest.raises(ConfigurationError, match="keys are never replaced"):
        agreement.make_keys(tmp_path, "exchange", "other")
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert (tmp_path / "identity.locked").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigurationError, match=r"none\.public cannot be read"):
        agreement.read_parties([tmp_path / "none.public"])


@pytest.mark.parametrize("name", ["member-4", "bogus", "platform-", "platform-A B", "platform-a/b", "", "Exchange"])
def test_a_name_that_no_party_has_gets_no_keys(tmp_path, name):
    with pytest.raises(ConfigurationError, match="expected exchange, member-1 to member-3, or platform-NAME"):
        agreement.make_keys(tmp_path / "party", name, "secret")
    assert not (tmp_path / "party").exists()


def test_the_same_keys_in_any_order_give_the_same_agreement(keys):
    assert tiny(keys) == tiny(keys[::-1])
    assert [party.name for party in tiny(keys[::-1]).parties] == list(NAMES)


def test_a_missing_or_doubled_party_is_named(keys):
    with pytest.raises(ConfigurationError, match="agreement: member-2;"):
        tiny([each for each in keys if each.name != "member-2"])
    with pytest.raises(ConfigurationError, match="member-1, member-2, member-3, exchange;"):
        tiny(keys[4:])
    with pytest.raises(ConfigurationError, match="a name twice"):
        tiny([*keys, keys[0]])


def test_three_signatures_make_the_manifest_that_is_pinned(tmp_path, keys):
    agreed = tiny(keys)
    signed, pin = agreement.join(parts(tmp_path, *[agreed] * 3), allow_insecure=True)
    assert decode(signed.manifest, Manifest) == agreed
    agreement.settle(
        tmp_path, signed, pin, "127.0.0.1:1", {"exchange": "http://a:1", "me": "x"}, "me", stock=3, hook="a b"
    )
    settings = config.load(tmp_path, config.Settings, {})
    assert (settings.stock, settings.hook, settings.parties) == (3, "a b", {"exchange": "http://a:1"})
    assert config.digest_of(settings) == pin
    assert decode((tmp_path / settings.manifest).read_bytes(), SignedManifest) == signed
    with pytest.raises(ConfigurationError, match="INSECURE_TINY"):
        agreement.join(parts(tmp_path, *[tiny(keys, epoch=2)] * 3))


def test_members_that_agreed_on_different_things_are_found_out(tmp_path, keys):
    agreed = tiny(keys)
    with pytest.raises(IntegrityError, match="the members signed different ones"):
        agreement.join(parts(tmp_path, agreed, agreed, tiny(keys, threshold=30)), allow_insecure=True)


def test_a_member_signs_one_manifest_an_epoch(tmp_path, keys):
    parts(tmp_path, tiny(keys))
    with pytest.raises(IntegrityError, match="take a later one"):
        parts(tmp_path, tiny(keys, threshold=30))
    assert parts(tmp_path, tiny(keys, epoch=2))


def test_a_member_killed_before_its_part_was_written_signs_the_same_again(tmp_path, monkeypatch):
    for name in NAMES:
        agreement.make_keys(tmp_path, name, "secret")
        (tmp_path / "identity.locked").rename(tmp_path / f"{name}.locked")
    (tmp_path / "member-1.locked").rename(tmp_path / "identity.locked")
    monkeypatch.setenv("HUSHMATCH_PASSPHRASE", "secret")
    command = ["sign", "member-1", *(str(tmp_path / f"{name}.public") for name in NAMES), "--folder", str(tmp_path)]

    def signed(*more):
        return CliRunner().invoke(cli_setup.app, [*command, *more])

    with monkeypatch.context() as killed:
        killed.setattr(agreement, "write_whole", lambda path, body: None)
        assert signed().exit_code == 0
    part = tmp_path / "member-1.part"
    assert not part.exists()
    assert signed().exit_code == 0
    first = part.read_bytes()
    assert signed().exit_code == 0
    assert part.read_bytes() == first
    other = signed("--batch", "32")
    assert other.exit_code == 1
    assert "epoch 1 does not follow the one before; take a later one" in other.output
    assert part.read_bytes() == first


def test_two_of_three_are_not_enough(tmp_path, keys):
    with pytest.raises(IntegrityError, match="2 of the members' signatures verify; 3 are needed"):
        agreement.join(parts(tmp_path, *[tiny(keys)] * 2), allow_insecure=True)


def test_only_a_member_signs_and_with_its_own_keys(tmp_path, keys):
    with pytest.raises(ConfigurationError, match="exchange is no member"):
        agreement.sign(tmp_path / "exchange", "exchange", "secret", tiny(keys))
    with pytest.raises(WrongPassphrase):
        agreement.sign(tmp_path / "member-1", "member-1", "other", tiny(keys))
    with pytest.raises(WrongPassphrase):
        agreement.sign(tmp_path / "member-2", "member-1", "secret", tiny(keys))
