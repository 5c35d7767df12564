"""A file is named when it is complete, once, and again when it has changed."""

import os
import threading

import pytest

from protocols.base import InputError
from service.folder import Folder


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_file_that_grows_is_not_named_before_it_stands_still(tmp_path, clock):
    folder = Folder(tmp_path, settled=2, clock=clock)
    file = tmp_path / "a.jpg"
    for _ in range(5):
        with file.open("ab") as out:
            out.write(b"more")
        assert folder.ready() == []
        clock.now += 1
    clock.now += 0.9
    assert folder.ready() == []
    clock.now += 0.2
    assert folder.ready() == [str(file)]


def test_a_file_is_named_until_it_is_checked_off_and_again_when_it_changes(tmp_path, clock):
    checked = {}
    folder = Folder(tmp_path, checked, settled=1, clock=clock)
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    folder.ready()
    clock.now += 1
    assert folder.ready() == folder.ready() == [str(file)]
    file.write_bytes(b"other")  # changed while it was being checked: that check was of the old one
    folder.check_off([str(file)])
    assert folder.ready() == []
    clock.now += 1
    assert folder.ready() == [str(file)]
    folder.check_off([str(file)])
    assert folder.ready() == []
    again = Folder(tmp_path, checked, settled=1, clock=clock)
    again.ready()
    clock.now += 1
    assert again.ready() == []
    with pytest.raises(InputError, match="not named as ready"):
        again.check_off([str(file)])


def test_links_pipes_and_hidden_files_are_passed_over_and_folders_below_are_not(tmp_path, clock):
    (tmp_path / "below").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.jpg", ".part.jpg", "below/a.jpg", ".hidden/c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "b.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    folder = Folder(tmp_path, settled=0, clock=clock)
    assert folder.ready() == [str(tmp_path / "b.jpg"), str(tmp_path / "below/a.jpg")]


def test_watching_gives_batches_until_it_is_stopped(tmp_path):
    stop = threading.Event()
    (tmp_path / "a.jpg").write_bytes(b"x")
    folder = Folder(tmp_path, settled=0)
    batches = []
    for batch in folder.watch(stop, every=0.01):
        batches.append(batch)
        folder.check_off(batch)
        if len(batches) == 1:
            (tmp_path / "b.jpg").write_bytes(b"x")
        else:
            stop.set()
    assert batches == [[str(tmp_path / "a.jpg")], [str(tmp_path / "b.jpg")]]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="make it first"):
        Folder(tmp_path / "absent")
