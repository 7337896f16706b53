"""A CSV of labels, one row per image or per box, and every way in which it can be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.data_sets import write_table
from training.data.files_by_name import FilesByName
from training.data.labels import find_labels, read_labels
from worker.errors import Rejected

FILES = FilesByName(
    ["images/a.dcm", "images/b.dcm", "1.2.3.dcm", "1.2", "twice/c.dcm", "again/c.dcm"]
)
BOXES = "patientId,x,y,width,height,Target"


def labels_of(tmp_path, heading: str, *lines: str) -> dict[str, int]:
    labels = read_labels(write_table(tmp_path / "labels.csv", heading, *lines), FILES)
    return {labelled.file: labelled.label for labelled in labels.labelled}


@pytest.mark.parametrize(
    ("heading", "lines", "expected"),
    [
        ("patientId,Target", ["a,0", "b,1"], {"images/a.dcm": 0, "images/b.dcm": 1}),
        ("file,label", ["images/a.dcm,1"], {"images/a.dcm": 1}),
        ("file,label", ["./images/a.dcm,1"], {"images/a.dcm": 1}),
        ("file,label", [r"images\a.dcm,1"], {"images/a.dcm": 1}),
        ("image,label", ["a.dcm,1.0", "b.dcm,0.0"], {"images/a.dcm": 1, "images/b.dcm": 0}),
        ("\ufeffIMAGE , target", [" a , 1 ", "", ","], {"images/a.dcm": 1}),
        ("patientId,Target", ["1.2.3,1", "1.2,0"], {"1.2.3.dcm": 1, "1.2": 0}),
        ("image,label", ["again/c.dcm,1"], {"again/c.dcm": 1}),
        (BOXES, ["a,,,,,0"], {"images/a.dcm": 0}),
        (BOXES, ["a,1,2,3,4,1", "a,9,9,9,9,1"], {"images/a.dcm": 1}),
        (BOXES, ["a,,,,,0", "a,1,2,3,4,1"], {"images/a.dcm": 1}),
        (BOXES, ["a,1,2,3,4,1", "images/a.dcm,,,,,0"], {"images/a.dcm": 1}),
        ("patientId,Target", ["a,1", "a,1"], {"images/a.dcm": 1}),
        ("x,patientId,note,Target", ['7,a,"one, two",1'], {"images/a.dcm": 1}),
    ],
)
def test_labels_are_read(tmp_path, heading, lines, expected):
    assert labels_of(tmp_path, heading, *lines) == expected


@pytest.mark.parametrize(
    ("heading", "lines", "code", "words"),
    [
        ("patientId,Target", ["a,2"], "LABEL_INVALID", "Line 2 of labels.csv has the label 2; exp"),
        ("patientId,Target", ["a,0", "b,-1"], "LABEL_INVALID", "Line 3 .* label -1; expected 0"),
        ("image,label", ["a,Doe"], "LABEL_INVALID", "has the label a text of 3 characters; exp"),
        ("image,label", ["z,7"], "LABEL_INVALID", "has the label 7"),
        ("image,label", ["a,"], "CSV_CELL_EMPTY", "Line 2 of labels.csv has nothing in its column"),
        ("image,label", ["a"], "CSV_CELL_EMPTY", "has nothing in its column label"),
        ("image,label", [",1"], "CSV_CELL_EMPTY", "has nothing in its column image"),
        ("image,label", ["c,1"], "FILE_NAME_AMBIGUOUS", "may mean any of 2 files of the same name"),
        (
            "patientId,Target",
            ["a,0", "a,1"],
            "LABELS_CONTRADICT",
            "Line 2 .* says 0 and line 3 .* 1",
        ),
        (
            BOXES,
            ["a,,,,,1", "a,,,,,0"],
            "LABELS_CONTRADICT",
            "Line 2 .* says 1 and line 3 .* says 0",
        ),
        (BOXES, ["a,1,2,3,4,0", "a,1,2,3,,1"], "LABELS_CONTRADICT", "neither has a box"),
        (
            "image,diagnosis",
            ["a,1"],
            "CSV_COLUMN_MISSING",
            "names 2 columns, none of them Target or",
        ),
        ("Doe,label", ["a,1"], "CSV_COLUMN_MISSING", "none of them file or image or patientId"),
        ("image;label", ["a;1"], "CSV_COLUMN_MISSING", "commas between columns"),
        ("image,label", [], "CSV_EMPTY", "labels.csv has no line below its heading"),
        ("image,label", ['a,"1'], "CSV_UNREADABLE", "labels.csv is no CSV file in UTF-8"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(tmp_path, heading, lines, code, words):
    with pytest.raises(Rejected, match=words) as caught:
        labels_of(tmp_path, heading, *lines)
    assert caught.value.code == code
    assert "Doe" not in caught.value.sentence


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"image,label\n\xff\xfe\xfd,1\n")
    with pytest.raises(Rejected, match="no CSV file in UTF-8"):
        read_labels(tmp_path / "labels.csv", FILES)


def test_a_table_is_named_as_it_is_written(tmp_path):
    csv = write_table(tmp_path / "RSNA Labels.csv", "image,label", "a,5")
    with pytest.raises(Rejected, match=r"Line 2 of RSNA Labels\.csv has"):
        read_labels(csv, FILES)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(Rejected, match=r"CSV_MISSING: There is no file labels\.csv"):
        read_labels(tmp_path / "labels.csv", FILES)


@pytest.mark.parametrize("name", ["z", "../a.dcm", "/etc/hostname", "images", ".dcm", "1.2.dcm"])
def test_a_name_that_no_file_has_is_kept_as_its_line(tmp_path, name):
    csv = write_table(tmp_path / "labels.csv", "image,label", "a,1", f"{name},0")
    labels = read_labels(csv, FILES)
    assert labels.without_file == ("line 3 of labels.csv",)
    assert [labelled.file for labelled in labels.labelled] == ["images/a.dcm"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1])), min_size=1), st.randoms()
)
def test_an_image_is_positive_if_any_of_its_boxes_is_whatever_the_order(
    tmp_path_factory, rows, shuffler
):
    root = tmp_path_factory.mktemp("labels")
    lines = [f"{name},1,2,3,4,1" if label else f"{name},,,,,0" for name, label in rows]
    expected = {
        f"images/{name}.dcm": max(label for other, label in rows if other == name)
        for name, _ in rows
    }
    assert labels_of(root, BOXES, *lines) == expected
    shuffler.shuffle(lines)
    assert labels_of(root, BOXES, *lines) == expected


def test_the_labels_of_a_folder_are_found_by_their_columns(tmp_path):
    write_table(tmp_path / "classes.csv", "patientId,class", "a,Normal")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe")
    assert find_labels(tmp_path) is None
    wanted = write_table(tmp_path / "train_labels.csv", BOXES, "a,,,,,0")
    assert find_labels(tmp_path) == wanted
    write_table(tmp_path / "more.csv", "image,label", "a,0")
    with pytest.raises(Rejected, match=r"more\.csv and train_labels\.csv could both be the labels"):
        find_labels(tmp_path)
