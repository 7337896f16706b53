"""Patients from a CSV: they replace whatever file names tell, and every image must have one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.data_sets import (
    NORMAL,
    PNEUMONIA,
    draw_class_folders,
    write_dicom_set,
    write_table,
)
from training.data.patient_table import assign_patients
from training.data.radiograph import Radiograph
from training.data.reading import read_pool
from training.data.splits import group_patients
from worker.errors import Rejected

SICK = "train/PNEUMONIA/person2_bacteria_1.jpeg"


@pytest.fixture
def root(tmp_path):
    return draw_class_folders(tmp_path / "set", NORMAL, PNEUMONIA, SICK)


def test_the_csv_replaces_the_patients_and_keeps_the_subtypes(tmp_path, root):
    lines = "IM-0001-0001,7", "person1_virus_1.jpeg,8:a", f"{SICK},7"
    pool = read_pool(root, groups=write_table(tmp_path / "g.csv", "file,patient", *lines))
    told = [(r.subtype, r.person) for r in pool.radiographs]
    assert told == [("normal", "7"), ("virus", "8:a"), ("bacteria", "7")]
    groups = group_patients(pool.radiographs)
    assert groups[0] == groups[2] != groups[1]


def test_dicom_files_are_grouped_likewise(tmp_path):
    root = write_dicom_set(tmp_path / "set", [0, 1])
    groups = write_table(tmp_path / "g.csv", "file,patient", "name0,one", "name1.dcm,one")
    assert len({*group_patients(read_pool(root, groups=groups).radiographs)}) == 1


def test_a_file_that_was_left_out_may_stay_in_the_csv(tmp_path, root):
    (root / SICK).write_bytes(b"broken")
    lines = f"{NORMAL},7", f"{PNEUMONIA},8", f"{SICK},9"
    pool = read_pool(root, groups=write_table(tmp_path / "g.csv", "file,patient", *lines))
    assert len(pool.radiographs) == 2


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ([f"{NORMAL},1"], "FILE_WITHOUT_GROUP", f"2 of 3 images have no .* first is {PNEUMONIA};"),
        ([f"{NORMAL},1", "x,1"], "GROUP_WITHOUT_FILE", "Line 3 of g.csv names a file that is not"),
        ([f"{NORMAL},1", "IM-0001-0001,2"], "GROUPS_CONTRADICT", "Line 3 .* another patient than"),
        ([f"{NORMAL},"], "CSV_CELL_EMPTY", "Line 2 of g.csv has nothing in its column patient"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, root, lines, code, words):
    groups = write_table(tmp_path / "g.csv", "file,patient", *lines)
    with pytest.raises(Rejected, match=words) as caught:
        read_pool(root, groups=groups)
    assert caught.value.code == code


@pytest.mark.parametrize("heading", ["file,person", "name,patient"])
def test_both_columns_must_be_there(tmp_path, root, heading):
    with pytest.raises(Rejected, match="names 2 columns, none of them"):
        read_pool(root, groups=write_table(tmp_path / "g.csv", heading, f"{NORMAL},1"))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "b:c", "x"]), min_size=1, max_size=12))
def test_two_images_are_one_group_just_where_the_csv_says_so(tmp_path_factory, patients):
    csv = tmp_path_factory.mktemp("groups") / "g.csv"
    names = [f"{number}.png" for number in range(len(patients))]
    write_table(csv, "file,patient", *map(",".join, zip(names, patients, strict=True)))
    images = [
        Radiograph(path=Path(name), label=0, patient_key="normal:1", sha256=name) for name in names
    ]
    groups = group_patients(assign_patients(images, csv, names))
    for i, one in enumerate(patients):
        for j, other in enumerate(patients):
            assert (groups[i] == groups[j]) == (one == other)
