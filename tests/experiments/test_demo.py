"""The demo's story holds on the bundled photos, for every protocol that can run, and broken promises are noticed."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from experiments import demo, demo_tables
from experiments.datasets import open_dataset
from hashing import pack, pack_margins
from protocols import Match, available, create


def quiet(what, done, total):
    pass


@pytest.fixture(scope="module")
def report():
    return demo.run(demo.prepare(open_dataset(None), "none", quiet), quiet)


def printed(*parts, width=140):
    console = Console(width=width, file=io.StringIO())
    console.print(*parts)
    return console.file.getvalue()


def test_every_available_protocol_is_asked_and_keeps_its_promise(report):
    names = [outcome.name for outcome in report.outcomes]
    assert names == [name for name, capabilities in available().items() if capabilities.why_not is None]
    assert names[0] == "plaintext"
    assert report.wrong == []


def test_matches_are_exactly_the_uploads_within_the_rule(report):
    plaintext = report.outcomes[0]
    near = {index for index, distance in enumerate(report.scene.nearest()) if distance <= demo.RULE.threshold}
    assert {query for query, _ in plaintext.found} == near
    for query, case in plaintext.found:
        assert report.scene.photos[case] == report.scene.uploads[query].photo
    assert {report.scene.uploads[query].edit for query in near} >= {"JPEG 50", "greyscale"}


def test_no_repr_shows_a_fingerprint(report):
    shown = repr(report)
    assert "array" not in shown
    assert "uint8" not in shown


def test_the_blinded_index_is_told_which_bits_are_reliable(report):
    known, unknown = (create("blind", proofs=False) for _ in range(2))
    for case, entries in report.scene.cases.items():
        known.enroll([case] * len(entries), pack(entries), pack_margins(entries))
        unknown.enroll([case] * len(entries), pack(entries))
    queries = [query for upload in report.scene.uploads for query in upload.queries]
    (asked,) = (outcome.found for outcome in report.outcomes if outcome.name == "blind")
    assert asked == known.match(pack(queries), pack_margins(queries)) != unknown.match(pack(queries))


def test_other_photos_match_nothing(report):
    others = [index for index, upload in enumerate(report.scene.uploads) if upload.edit == demo.UNEDITED]
    assert len(others) == 4
    assert all(query not in others for outcome in report.outcomes for query, _ in outcome.found)


def test_copies_of_the_withdrawn_case_match_no_more_and_the_others_still_do(report):
    for outcome in report.outcomes:
        assert any(case == report.withdrawn for _, case in outcome.found)
        assert outcome.left == [match for match in outcome.found if match.case != report.withdrawn]


def test_broken_promises_are_named(report):
    exact = next(outcome for outcome in report.outcomes[1:] if outcome.capabilities.exact)
    partial = replace(exact, capabilities=replace(exact.capabilities, exact=False))

    def wrong(outcome):
        return replace(report, outcomes=[report.outcomes[0], outcome]).wrong

    assert wrong(exact) == []
    assert wrong(replace(exact, found=exact.found[1:])) == [exact.name]
    assert wrong(replace(exact, left=exact.found)) == [exact.name]
    assert wrong(replace(partial, found=exact.found[1:])) == []
    assert wrong(replace(partial, left=[*exact.left, Match(999, "case-1")])) == [exact.name]


def test_tables_say_what_was_found_what_crossed_and_what_each_role_saw(report):
    said = printed(demo_tables.said(report))
    for index, upload in enumerate(report.scene.uploads):
        assert upload.photo in said
        assert str(report.scene.nearest()[index]) in said
    costs, saw = printed(demo_tables.cost(report)), printed(demo_tables.saw(report))
    for outcome in report.outcomes:
        assert outcome.name in said
        assert f"{sum(message.size for message in outcome.ledger.messages if message.sender == 'client'):,}" in costs
        assert outcome.name in saw
    assert "raw hashes" in saw
    withdrawn = printed(demo_tables.withdrawal(report))
    assert "no match" in withdrawn
    assert "case-1" in withdrawn
    assert printed(*demo_tables.verdict(report)).count("plaintext") == len(report.outcomes) - 1


def test_tables_fit_80_characters(report):
    said = printed(demo_tables.said(report), demo_tables.cost(report), demo_tables.withdrawal(report), width=80)
    assert "…" not in said
    for upload in report.scene.uploads:
        assert f"{upload.photo:9}  {upload.edit}" in said
    headings = next(line for line in said.splitlines() if line.startswith("upload"))
    assert headings.split() == ["upload", "edit", "distance", *(outcome.name for outcome in report.outcomes)]


def test_another_photo_that_is_nearly_the_same_is_labelled(report):
    copy = replace(report.scene.uploads[0], edit=demo.UNEDITED)
    doubled = replace(report, scene=replace(report.scene, uploads=[copy, *report.scene.uploads[1:]]))
    assert "nearly the same" in printed(demo_tables.said(doubled))
    assert "nearly the same" in printed(demo_tables.withdrawal(doubled))
    assert "nearly the same" not in printed(demo_tables.said(report))


def test_a_broken_promise_is_printed(report):
    exact = report.outcomes[1]
    broken = replace(report, outcomes=[report.outcomes[0], replace(exact, found=[])])
    assert "broke its promise" in printed(*demo_tables.verdict(broken))


def test_unusable_photos_are_left_out_with_the_reason(tmp_path):
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((256, 256))
    noise.save(tmp_path / "b.png")
    Image.new("RGB", (256, 256), "grey").save(tmp_path / "a.png")
    (tmp_path / "c.jpg").write_bytes(b"not a photo")
    scene = demo.prepare(open_dataset(tmp_path), "none", quiet)
    assert scene.photos == {"case-1": "b.png"}
    assert "quality" in scene.left_out["a.png"]
    assert "UnreadableImage" in scene.left_out["c.jpg"]
    assert len(scene.uploads) + sum(name.startswith("b.png,") for name in scene.left_out) == len(demo.EDITS)


def test_variants_of_a_photo_are_one_case_and_find_what_the_photo_alone_misses(report, monkeypatch):
    kept = {name: capabilities for name, capabilities in available().items() if name in ("plaintext", "bfv")}
    monkeypatch.setattr(demo, "available", lambda: kept)
    scene = demo.prepare(open_dataset(None), "standard", quiet)
    assert {len(entries) for entries in scene.cases.values()} == {16}
    assert [upload.edit for upload in scene.uploads] == [upload.edit for upload in report.scene.uploads]
    varied = demo.run(scene, quiet)
    assert varied.wrong == []
    for outcome, plain in zip(varied.outcomes, report.outcomes, strict=False):
        assert len(outcome.found) == len(set(outcome.found))
        assert set(outcome.found) > set(plain.found)
        assert {case for _, case in outcome.left} == {"case-2", "case-3", "case-4"}


def test_no_usable_photo_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a photo")
    with pytest.raises(demo.NoPhotos, match=r"a\.jpg: UnreadableImage"):
        demo.prepare(open_dataset(tmp_path), "none", quiet)
