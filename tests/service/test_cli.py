"""What the command line prints of files whose names somebody else chose."""

import os

import msgspec

from service.checker import Running
from service.cli import _report
from service.messages import Checked, CheckFiles, Hit


def test_a_name_cannot_pass_for_a_line_of_another_file(capsys):
    handle, other = bytes(range(16)), bytes(16).hex()
    name = f"/up/x\n{other}  photo  /up/theirs\x1b[2J"
    _report(Checked(2, [Hit(name, "photo", [handle])], [(name, "damaged\n")]))
    printed = capsys.readouterr()
    assert printed.out == f"{handle.hex()}  photo  /up/x\\n{other}  photo  /up/theirs\\x1b[2J\n"
    assert printed.err.count("\n") == 1
    _report(Checked(1, [Hit("/up/naïve photo.jpg", "photo", [handle])], []))
    assert capsys.readouterr().out.endswith("  /up/naïve photo.jpg\n")


def test_a_name_that_is_not_utf_8_stops_no_other_file():
    class Peer:
        def call(self, method, path, message, kind):
            sent = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=CheckFiles)
            return Checked(len(sent.paths), [], [(sent.paths[-1], "too small")])

    running = Running.__new__(Running)
    running._peer = Peer()
    foreign = os.fsdecode(b"/up/\xff.jpg")
    checked = running.check(["/up/a.jpg", foreign, "/up/ä.jpg"])
    assert checked.asked == 2
    assert [path for path, _ in checked.refused] == ["/up/ä.jpg", foreign]
