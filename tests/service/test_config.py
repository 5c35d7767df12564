"""Settings come from one file and the environment, and each thing that can be wrong with them is named."""

import pytest

from protocols.base import ConfigurationError
from protocols.scan import soundness
from service.config import Client, Settings, address, digest_of, load, passphrase

TOML = """
name = "member-1"
listen = "127.0.0.1:8101"
digest = "{digest}"
passphrase_file = "secret"
[parties]
exchange = "http://127.0.0.1:8100"
"""
DIGEST = "ab" * 32


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hushmatch.toml").write_text(TOML.format(digest=DIGEST))
    return tmp_path


def test_a_folder_or_its_file_gives_the_settings(folder):
    settings = load(folder, Settings, {})
    assert settings == load(folder / "hushmatch.toml", Settings, {})
    assert (settings.name, settings.stock, settings.parties) == ("member-1", 2, {"exchange": "http://127.0.0.1:8100"})
    assert digest_of(settings) == bytes.fromhex(DIGEST)
    assert address(settings) == ("127.0.0.1", 8101)


def test_the_environment_counts_for_more_but_not_for_who_one_is(folder):
    environment = {"HUSHMATCH_STOCK": "7", "HUSHMATCH_ALLOW_INSECURE": "true", "HUSHMATCH_NAME": "exchange"}
    settings = load(folder, Settings, environment | {"HUSHMATCH_PARTIES": "{}", "OTHER": "1"})
    assert (settings.stock, settings.allow_insecure, settings.name) == (7, True, "member-1")
    assert settings.parties


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "is not TOML"),
        ('listen = "a:1"', "missing required field `name`"),
        ("stok = 3" + TOML, "unknown field `stok`"),
        (TOML.replace('"member-1"', "1"), r"Expected `str`, got `int` - at `\$.name`"),
        (TOML.replace("[parties]", 'stock = "many"\n[parties]'), r"Expected `int`, got `str` - at `\$.stock`"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, text, complaint):
    (tmp_path / "hushmatch.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        load(tmp_path, Settings, {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"hushmatch\.toml cannot be read: No such file"):
        load(tmp_path, Settings, {})
    with pytest.raises(ConfigurationError, match=r"client\.toml cannot be read"):
        load(tmp_path / "client.toml", Client, {})
    (tmp_path / "hushmatch.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(tmp_path, Settings, {})


@pytest.mark.parametrize("digest", ["", "ab", "xy" * 32, DIGEST + "ab"])
def test_a_digest_is_64_hex_digits(digest):
    with pytest.raises(ConfigurationError, match="64 hex digits"):
        digest_of(Client("http://a:1", digest))


@pytest.mark.parametrize("listen", ["", "8100", ":8100", "host:", "host:port", "host:65536"])
def test_an_address_is_host_and_port(listen):
    with pytest.raises(ConfigurationError, match="expected host:port"):
        address(Settings(name="exchange", listen=listen, parties={}, digest=DIGEST))


def test_the_passphrase_is_in_the_environment_or_in_a_file(folder):
    settings = load(folder, Settings, {})
    with pytest.raises(ConfigurationError, match="passphrase_file cannot be read: No such file"):
        passphrase(settings, folder, {})
    (folder / "secret").write_text("of the file\n")
    assert passphrase(settings, folder, {}) == "of the file"
    assert passphrase(settings, folder, {"HUSHMATCH_PASSPHRASE": "given"}) == "given"
    (folder / "secret").write_text("\n")
    with pytest.raises(ConfigurationError, match="no passphrase: set HUSHMATCH_PASSPHRASE"):
        passphrase(settings, folder, {})
    none = Settings(name="exchange", listen="a:1", parties={}, digest=DIGEST)
    with pytest.raises(ConfigurationError, match="no passphrase"):
        passphrase(none, folder, {})


def test_as_many_unfinished_batches_are_borne_as_the_odds_are_printed_for(folder):
    assert load(folder, Settings, {}).unfinished == soundness.UNFINISHED
