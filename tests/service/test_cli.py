"""What the command line prints of files whose names somebody else chose; where it takes PINs from."""

import os
from contextlib import contextmanager

import msgspec
import pytest
from typer.testing import CliRunner

from service import cli, client
from service.cli import _report
from service.messages import Checked, CheckFiles, Hit
from service.running import Running


def test_a_name_cannot_pass_for_a_line_of_another_file(capsys):
    handle, other = bytes(range(16)), bytes(16).hex()
    name = f"/up/x\n{other}  photo  /up/theirs\x1b[2J"
    _report(Checked(2, 1, [Hit(name, "photo", [handle])], [(name, "damaged\n")]))
    printed = capsys.readouterr()
    assert printed.out == f"{handle.hex()}  photo  /up/x\\n{other}  photo  /up/theirs\\x1b[2J\n"
    assert printed.err.count("\n") == 1
    _report(Checked(1, 1, [Hit("/up/naïve photo.jpg", "photo", [handle])], []))
    assert capsys.readouterr().out.endswith("  /up/naïve photo.jpg\n")


def test_a_name_that_is_not_utf_8_stops_no_other_file():
    class Peer:
        def call(self, method, path, message, kind):
            sent = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=CheckFiles)
            return Checked(len(sent.paths), 1, [], [(sent.paths[-1], "too small")])

    running = Running.__new__(Running)
    running._peer = Peer()
    foreign = os.fsdecode(b"/up/\xff.jpg")
    checked = running.check(["/up/a.jpg", foreign, "/up/ä.jpg"])
    assert checked.asked == 2
    assert [path for path, _ in checked.refused] == ["/up/ä.jpg", foreign]


@pytest.mark.parametrize(
    ("checked", "said"),
    [
        (Checked(2, 1, [], []), "2 checked, 0 match, 0 refused\n"),
        (
            Checked(2, 0, [], []),
            "2 checked, 0 match, 0 refused\nthe bank is empty: there was nothing to compare with\n",
        ),
        (Checked(0, 0, [], [("a", "damaged")]), "refused  a: damaged\n0 checked, 0 match, 1 refused\n"),
    ],
)
def test_what_was_not_compared_does_not_pass_for_checked(monkeypatch, checked, said):
    class Role:
        def check(self, paths, tell):
            return checked

    @contextmanager
    def platform(folder):
        yield Role()

    monkeypatch.setattr(cli, "_platform", platform)
    done = CliRunner().invoke(cli.platform, ["check", "a"])
    assert (done.exit_code, done.stderr) == (0, said)


PIN = "ABCD-EFGH"


@pytest.fixture
def case_command(tmp_path, monkeypatch):
    """Runs `case status` or `case withdraw`; the PINs that reached the device, and what was printed."""
    asked = []

    class Device:
        def __init__(self, settings):
            pass

        def status(self, number, pin):
            asked.append(pin)

        withdraw = status

    monkeypatch.setattr(client, "Device", Device)
    monkeypatch.setattr(cli, "_show", lambda status: None)
    (tmp_path / "client.toml").write_text('exchange = "https://exchange.example"\ndigest = ""\n')

    def run(command, *more, **given):
        fixed = [command, "--config", str(tmp_path / "client.toml"), "--case", "A"]
        done = CliRunner().invoke(cli.case, [*fixed, *more], **given)
        assert done.exit_code == 0, done.output
        return asked, done.output

    return run


@pytest.mark.parametrize("command", ["status", "withdraw"])
def test_a_pin_is_asked_for_and_not_shown_or_comes_from_where_no_other_user_sees_it(command, case_command, tmp_path):
    asked, printed = case_command(command, input=PIN + "\n")
    assert "PIN" in printed
    assert PIN not in printed
    (tmp_path / "pin").write_text(PIN + "\nsomething else\n")
    case_command(command, "--pin-file", str(tmp_path / "pin"), env={"HUSHMATCH_PIN": "of another case"})
    case_command(command, "--pin-file", "-", input=PIN + "\n")
    case_command(command, env={"HUSHMATCH_PIN": PIN})
    assert asked == [PIN] * 4
    assert "other users of this device can read" in " ".join(
        case_command(command, "--help")[1].replace("│", "").split()
    )
