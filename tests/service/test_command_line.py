"""A deployment as a person would run it: real processes, the parameters of a deployment, the command line."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageEnhance

from hashing import fingerprints_to_enroll, fingerprints_to_query, pack
from protocols import create
from service import up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MINE = ("astronaut", "coffee", "rocket")
EDITS = (
    lambda image: image.resize((image.width // 2, image.height // 2)),
    lambda image: ImageEnhance.Brightness(image).enhance(1.2),
)


def run(*arguments, code=0):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUSHMATCH_")}
    command = [sys.executable, "-m", "hushmatch", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """mine: three photos. uploads: 40 files, 6 of them edited copies, the others tiles of other photos."""
    mine, uploads = (tmp_path_factory.mktemp(name) for name in ("mine", "uploads"))
    for name in MINE:
        image = Image.fromarray(getattr(skimage.data, name)())
        image.save(mine / f"{name}.png")
        for number, edit in enumerate(EDITS):
            edit(image).save(uploads / f"copy-{name}-{number}.jpg", quality=80)
    others = [skimage.data.immunohistochemistry(), skimage.data.chelsea(), np.dstack([skimage.data.camera()] * 3)]
    tiles = [image[y : y + 150, x : x + 150] for image in others for y in range(0, 300, 75) for x in range(0, 300, 75)]
    for number, tile in enumerate(tiles[:34]):
        Image.fromarray(tile).resize((300, 300)).save(uploads / f"other-{number:02}.jpg")
    return mine, uploads


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployment") / "data"
    up.create(folder, first_port=0)
    marks = folder / "takedowns"
    settings = folder / up.PLATFORM / "hushmatch.toml"
    script = folder / "hook.py"
    script.write_text(f"import sys; open({str(marks)!r}, 'a').write(sys.argv[1] + '\\n')")
    hook = f'hook = "{sys.executable} {script}"\n'
    settings.write_text(hook + settings.read_text())
    process = subprocess.Popen(
        [sys.executable, "-m", "hushmatch", "up", str(folder)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith(f"{up.PLATFORM} is up"):
            break
    yield folder
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0


def expected(mine, uploads):
    """The plaintext matcher's hits, by file name."""
    plain = create("plaintext")
    for photo in sorted(mine.iterdir()):
        hashes = pack(fingerprints_to_enroll(photo, "none").padded())
        plain.enroll([photo.name] * len(hashes), hashes)
    hits = set()
    for file in sorted(uploads.iterdir()):
        found = fingerprints_to_query(file, "none").fingerprints
        if found and plain.match(pack(found)):
            hits.add(file.name)
    return hits


def kept(folder):
    """What the exchange's database holds of cases, and what its log says of requests about them."""
    with sqlite3.connect(f"file:{folder / 'exchange' / 'exchange.db'}?mode=ro", uri=True) as database:
        names = ("cases", "entries", "receipts", "matches", "sightings")
        rows = {name: database.execute(f"select * from {name}").fetchall() for name in names}
    return rows, [line for line in (folder / "exchange.log").read_text().splitlines() if "/cases" in line]


def check(folder, uploads):
    lines = run("platform", "check", "--folder", folder / up.PLATFORM, uploads).splitlines()
    return {os.path.basename(line.split("  ")[2]): line.split("  ")[0] for line in lines}


def test_from_opening_a_case_to_its_receipt(deployment, photos):
    mine, uploads = photos
    client = ("--config", deployment / up.CLIENT)
    before = kept(deployment)
    refused = run("case", "open", "--not-adult", *client, *sorted(mine.iterdir()), code=1)
    assert "NotAdult" in refused
    assert "takeitdown" in refused
    assert kept(deployment) == before
    opened = run("case", "open", "--adult", "--variants", "none", *client, *sorted(mine.iterdir()))
    number, pin = re.search(r"Case number +(\S+)", opened)[1], re.search(r"PIN +(\S+)", opened)[1]
    mine_is = (*client, "--case", number, "--pin", pin)
    until = time.monotonic() + 120
    while "active" not in run("case", "status", *mine_is):
        assert time.monotonic() < until
        time.sleep(1)
    hits = {}
    while not hits:  # an active case is matched from the bank's next version on, which is under way
        assert time.monotonic() < until
        hits = check(deployment, uploads)
    assert set(hits) == expected(mine, uploads)
    assert len(hits) >= 6
    assert {name for name in hits if name.startswith("copy-")} == set(hits)
    called = [os.path.basename(line) for line in (deployment / "takedowns").read_text().split()]
    assert sorted(called) == sorted(hits)
    run("platform", "feedback", "--folder", deployment / up.PLATFORM, next(iter(hits.values())), "blocked")
    assert "6 matches: 1 blocked" in run("case", "status", *mine_is)
    assert "WrongPin" in run("case", "status", *client, "--case", number, "--pin", "0000-0000", code=1)
    receipt = deployment / "receipt"
    assert "deleted" in run("case", "withdraw", *mine_is, "--receipt", receipt)
    assert receipt.stat().st_size > 1000
    assert check(deployment, uploads) == {}
    assert sorted(called) == sorted(os.path.basename(line) for line in (deployment / "takedowns").read_text().split())
