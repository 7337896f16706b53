"""The Kaggle layout: what is an image, whose it is, and what is told of a flaw."""

from __future__ import annotations

import dataclasses

import pytest

from tests.builders.data_sets import (
    NORMAL,
    PNEUMONIA,
    draw_class_folders,
    draw_picture,
    radiographs_of,
)
from training.data.class_folders import BARE, TEST, patient_key_from_name
from training.data.radiograph import Radiograph, fingerprint
from training.data.reading import read_pool
from worker.errors import Rejected


@pytest.mark.parametrize(
    ("name", "label", "key"),
    [
        ("IM-0115-0001.jpeg", 0, "normal:IM-0115"),
        ("IM-0115-0001-0002.jpeg", 0, "normal:IM-0115"),
        ("NORMAL2-IM-0838-0001.jpeg", 0, "normal:NORMAL2-IM-0838"),
        ("person1000_virus_1681.jpeg", 1, "virus:person1000"),
        ("person7_bacteria_24.jpeg", 1, "bacteria:person7"),
        ("anything.png", 1, "pneumonia:anything"),
        ("person7_bacteria_24.jpeg", 0, "normal:person7_bacteria_24"),
    ],
)
def test_patients_are_read_from_file_names(name, label, key):
    assert patient_key_from_name(name, label) == key


def test_train_and_val_make_one_pool_and_test_stays_apart(tmp_path):
    held_back = "test/NORMAL/IM-0007-0001.jpeg", "test/PNEUMONIA/person9_bacteria_1.png"
    more = "val/NORMAL/NORMAL2-IM-0003-0001.png", "val/PNEUMONIA/person2_bacteria_1.JPG"
    draw_class_folders(tmp_path, NORMAL, PNEUMONIA, *more, *held_back)
    found = [(r.path.as_posix(), r.label, r.subtype) for r in radiographs_of(tmp_path)]
    assert found == [
        (NORMAL, 0, "normal"),
        (PNEUMONIA, 1, "virus"),
        (more[0], 0, "normal"),
        (more[1], 1, "bacteria"),
    ]
    assert [r.path.as_posix() for r in radiographs_of(tmp_path, TEST)] == [*held_back]
    assert read_pool(tmp_path, folders=TEST).radiographs == radiographs_of(tmp_path, TEST)


def test_a_set_that_is_only_measured_may_have_its_classes_in_its_root(tmp_path):
    draw_class_folders(tmp_path, "NORMAL/1.png", "PNEUMONIA/2.png")
    pool = read_pool(tmp_path, folders=BARE)
    assert [r.path.as_posix() for r in pool.radiographs] == ["NORMAL/1.png", "PNEUMONIA/2.png"]


def test_what_is_no_image_is_not_read(tmp_path):
    draw_class_folders(tmp_path)
    for name in (".DS_Store", "._IM-0001-0001.jpeg", "Thumbs.db", "notes.txt"):
        (tmp_path / "train" / "NORMAL" / name).write_bytes(b"\0")
    assert len(radiographs_of(tmp_path)) == 2


def test_the_index_tells_patients_where_it_has_them(tmp_path):
    draw_class_folders(tmp_path, "train/NORMAL/a.png", "train/PNEUMONIA/b.png")
    (tmp_path / "index.csv").write_text(
        "file,folder,label,patient_key\nb.png,train,PNEUMONIA,virus:p7\n"
    )
    normal, sick = radiographs_of(tmp_path)
    assert (sick.subtype, sick.person, sick.patient_is_known) == ("virus", "p7", True)
    assert (normal.person, normal.patient_is_known) == ("a", False)


def test_an_index_of_another_kind_is_passed_over(tmp_path):
    draw_class_folders(tmp_path)
    (tmp_path / "index.csv").write_text("file,patient\nanything.png,7\n")
    assert radiographs_of(tmp_path)[1].person == "person1"


@pytest.mark.parametrize("empty", ["NORMAL", "PNEUMONIA"])
def test_an_empty_class_folder_is_refused_by_name(tmp_path, empty):
    draw_class_folders(tmp_path)
    for path in (tmp_path / "train" / empty).iterdir():
        path.unlink()
    expected = rf"no image of class {empty}; expected train/{empty}/\*\.jpeg in it"
    with pytest.raises(Rejected, match=expected) as caught:
        radiographs_of(tmp_path)
    assert caught.value.code == "TRAINING_DATA_EMPTY"


def test_a_missing_test_folder_is_refused_by_name(tmp_path):
    draw_class_folders(tmp_path)
    with pytest.raises(Rejected, match=r"expected test/NORMAL/\*\.jpeg"):
        radiographs_of(tmp_path, TEST)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    draw_class_folders(tmp_path)
    (tmp_path / "train" / "NORMAL" / "IM-0002-0001.jpeg").write_bytes(b"<html>404</html>")
    with pytest.raises(Rejected, match=r"^IMAGE_UNREADABLE: train/NORMAL/IM-0002-0001.jpeg: "):
        radiographs_of(tmp_path)


def test_a_class_of_nothing_but_broken_files_says_why(tmp_path):
    draw_class_folders(tmp_path)
    (tmp_path / NORMAL).write_bytes(b"")
    with pytest.raises(Rejected, match=r"1 file was left out; train/NORMAL/IM-0001-0001\.jpeg: It"):
        read_pool(tmp_path)


def test_one_changed_byte_changes_the_fingerprint(tmp_path):
    root = draw_class_folders(tmp_path)
    before = fingerprint(radiographs_of(root))
    with (root / NORMAL).open("ab") as file:
        file.write(b"\0")
    assert fingerprint(radiographs_of(root)) != before


@pytest.mark.parametrize("change", [{"patient_key": "virus:other"}, {"label": 0}])
def test_the_fingerprint_sees_patients_and_labels(tmp_path, change):
    first, second = radiographs_of(draw_class_folders(tmp_path))
    other = dataclasses.replace(second, **change)
    if "label" in change:  # a label moves the file to another folder
        other = dataclasses.replace(
            other, path=second.path.parents[1] / "NORMAL" / second.path.name
        )
    assert fingerprint([first, other]) != fingerprint([first, second])


def test_the_patient_is_not_shown(tmp_path):
    radiograph: Radiograph = radiographs_of(draw_class_folders(tmp_path))[1]
    assert "virus:" not in repr(radiograph)


def test_progress_is_told_file_by_file(tmp_path):
    told: list[tuple[int, int]] = []
    draw_picture(tmp_path / "train" / "NORMAL" / "third.png")
    read_pool(
        draw_class_folders(tmp_path), on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
