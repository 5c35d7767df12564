"""Every layout is recognised, its pairs are the true ones, and what is missing is named."""

import pytest
from PIL import Image

from experiments.datasets import BUNDLED, DatasetError, open_dataset


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def test_the_default_is_the_wheel_s_photos():
    dataset = open_dataset(None)
    assert len(dataset.originals) == len(BUNDLED)
    assert dataset.may_show


def test_folder_takes_images_at_any_depth_and_may_not_be_shown(tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "deep" / "b.JPG")
    (tmp_path / "notes.txt").write_text("x")
    dataset = open_dataset(tmp_path)
    assert sorted(dataset.originals) == ["a.png", "deep/b.JPG"]
    assert not dataset.may_show
    assert dataset.pairs == frozenset()


def test_copydays_pairs_copies_with_their_original(tmp_path):
    for name in ("original/200000.jpg", "original/200100.jpg", "strong/200001.jpg", "strong/200102.jpg",
                 "crops/10/200000.jpg", "jpegqual/3/200100.jpg"):  # fmt: skip
        photo(tmp_path / name)
    dataset = open_dataset(tmp_path)
    assert dataset.name == "Copydays"
    assert sorted(dataset.originals) == ["200000", "200100"]
    assert dataset.pairs == {
        ("strong/200001.jpg", "200000"),
        ("strong/200102.jpg", "200100"),
        ("crops/10/200000.jpg", "200000"),
        ("jpegqual/3/200100.jpg", "200100"),
    }


@pytest.mark.parametrize("header", ["query_id,reference_id\n", ""])
@pytest.mark.parametrize("folders", [("references", "queries"), ("reference_images", "query_images")])
def test_disc21_reads_both_forms_of_its_csv_and_keeps_distractors(tmp_path, header, folders):
    photo(tmp_path / folders[0] / "R000001.jpg")
    photo(tmp_path / folders[1] / "Q00001.jpg")
    photo(tmp_path / folders[1] / "Q00002.jpg")
    (tmp_path / "dev_ground_truth.csv").write_text(header + "Q00001,R000001\nQ00002,\n")
    dataset = open_dataset(tmp_path)
    assert dataset.pairs == {("Q00001", "R000001")}
    assert sorted(dataset.queries) == ["Q00001", "Q00002"]


def test_manifest_names_its_files_beside_itself(tmp_path):
    photo(tmp_path / "p" / "a.png")
    photo(tmp_path / "p" / "b.png")
    file = tmp_path / "list.csv"
    file.write_text("role,id,path,original\noriginal,a,p/a.png,\nquery,b,p/b.png,a\nquery,c,p/b.png,\n")
    dataset = open_dataset(file)
    assert dataset.pairs == {("b", "a")}
    assert dataset.originals["a"].is_file()


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ("role,id,path\n", "lacks the columns original"),
        ("role,id,path,original\nboth,a,a.png,\n", "line 2: role"),
        ("role,id,path,original\noriginal,a,a.png,\noriginal,a,b.png,\n", "line 3: the original 'a' is there twice"),
        ("role,id,path,original\noriginal,a,a.png,\nquery,q,b.png,z\n", "not there"),
        ("role,id,path,original\n", "no images"),
    ],
)
def test_a_bad_manifest_is_refused_by_line(tmp_path, rows, word):
    file = tmp_path / "list.csv"
    file.write_text(rows)
    with pytest.raises(DatasetError, match=word):
        open_dataset(file)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match="no images"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="neither"):
        open_dataset(tmp_path / "nothing")
    photo(tmp_path / "references" / "R1.jpg")
    photo(tmp_path / "queries" / "Q1.jpg")
    with pytest.raises(DatasetError, match="ground_truth"):
        open_dataset(tmp_path)
