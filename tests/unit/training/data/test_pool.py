"""Which layout a folder has, and what is told of a set before anybody learns from it."""

from __future__ import annotations

import shutil

import pytest

from tests.builders.data_sets import (
    NORMAL,
    PNEUMONIA,
    draw_class_folders,
    draw_picture,
    write_dicom_set,
)
from tests.builders.dicom import write_instance
from training.data.class_folders import BARE, TEST
from training.data.duplicates import contradictory_groups, duplicate_groups
from training.data.pool import Layout
from training.data.quality import quality_issues
from training.data.reading import read_pool
from training.data.splits import group_patients
from worker.errors import Rejected


def test_class_folders_win_over_a_table_beside_them(tmp_path):
    draw_class_folders(tmp_path)
    (tmp_path / "index.csv").write_text("file,label\nIM-0001-0001.jpeg,NORMAL\n")
    assert read_pool(tmp_path).layout is Layout.CLASS_FOLDERS


def test_a_dicom_folder_is_whole_for_a_test_too(tmp_path):
    root = write_dicom_set(tmp_path)
    assert read_pool(root, folders=TEST).radiographs == read_pool(root).radiographs


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ([], "DATA_LAYOUT_UNKNOWN", r"set has no known layout; expected class fol"),
        (["a.png"], "DATA_LAYOUT_UNKNOWN", r"or DICOM files with a CSV of labels\.$"),
        (["chest_xray/" + NORMAL], "DATA_LAYOUT_UNKNOWN", r"Its folder chest_xray has class fold"),
        (["NORMAL/a.png"], "DATA_LAYOUT_UNKNOWN", r"stand in it directly: move both into a folde"),
        (["x/a.dcm"], "LABELS_MISSING", r"holds DICOM files but no CSV .* with the columns patie"),
    ],
)
def test_a_folder_of_neither_layout_is_refused_with_a_hint(tmp_path, files, code, words):
    root = tmp_path / "set"
    root.mkdir()
    for name in files:
        (write_instance if name.endswith(".dcm") else draw_picture)(root / name)
    with pytest.raises(Rejected, match=words) as caught:
        read_pool(root)
    assert caught.value.code == code


def test_a_missing_folder_is_refused_by_name(tmp_path):
    with pytest.raises(Rejected, match="TRAINING_DATA_MISSING: There is no folder absent;"):
        read_pool(tmp_path / "absent")


def test_identical_images_are_counted_and_grouped(tmp_path):
    root = draw_class_folders(tmp_path)
    sick = root / PNEUMONIA
    for name in ("person7_virus_1.jpeg", "person8_bacteria_1.jpeg"):
        shutil.copy(sick, sick.with_name(name))
    pool = read_pool(root)
    assert duplicate_groups(pool.radiographs) == ((1, 2, 3),)
    assert contradictory_groups(pool.radiographs) == ()
    assert len({*group_patients(pool.radiographs)[1:]}) == 1
    (issue,) = quality_issues(pool)
    assert issue.sentence == (
        "3 images are byte-identical to another, in 1 group; each group counts as one patient."
    )


def test_identical_images_of_both_classes_are_told_or_fatal(tmp_path):
    root = draw_class_folders(tmp_path)
    shutil.copy(root / PNEUMONIA, root / "train" / "NORMAL" / "IM-0009-0001.jpeg")
    pool = read_pool(root)
    assert contradictory_groups(pool.radiographs) == ((1, 2),)
    told = {issue.code: issue.sentence for issue in quality_issues(pool)}
    both = f"train/NORMAL/IM-0009-0001.jpeg and {PNEUMONIA}"
    assert told["DUPLICATES_CONTRADICT"] == (
        f"Identical images have both labels in 1 group; the first is {both}."
    )
    with pytest.raises(Rejected, match=f"{both} are the same image with different labels"):
        read_pool(root, strict=True)


def test_mixed_sizes_are_told_with_their_range(tmp_path):
    root = draw_class_folders(tmp_path)
    draw_picture(root / "train" / "NORMAL" / "IM-0009-0001.jpeg", size=(400, 30))
    draw_picture(root / "val" / "PNEUMONIA" / "person3_virus_3.png", size=(90, 500))
    (issue,) = quality_issues(read_pool(root, strict=True))
    assert issue.sentence == (
        "The images have 3 different sizes, 40 to 400 rows and 30 to 500 columns; each is resized "
        "to the network's square."
    )


def test_unknown_patients_are_told(tmp_path):
    root = draw_class_folders(tmp_path, "NORMAL/IM-0001-0001.png", "PNEUMONIA/2.png")
    (issue,) = quality_issues(read_pool(root, folders=BARE))
    assert issue.sentence.startswith("The patients of 1 of 2 images are unknown; each counts")
