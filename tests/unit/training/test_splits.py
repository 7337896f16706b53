"""No patient is on two sides, and what looks alike byte for byte stays together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.conftest import draw_set
from training.data import fingerprint, patient_key_from_name, read_radiographs
from training.splits import group_patients, is_in_block, make_split
from worker.errors import Rejected

KERMANY = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "kermany"


@pytest.mark.parametrize(
    ("name", "label", "key"),
    [
        ("IM-0115-0001.jpeg", 0, "normal:IM-0115"),
        ("NORMAL2-IM-0838-0001.jpeg", 0, "normal:NORMAL2-IM-0838"),
        ("person1000_virus_1681.jpeg", 1, "virus:person1000"),
        ("person7_bacteria_24.jpeg", 1, "bacteria:person7"),
        ("anything.png", 1, "pneumonia:anything"),
    ],
)
def test_patients_are_read_from_file_names(name, label, key):
    assert patient_key_from_name(name, label) == key


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        ("normal:IM-0250", True),
        ("normal:IM-0251", False),
        ("normal:NORMAL2-IM-0520", True),
        ("normal:NORMAL2-IM-0521", False),
        ("virus:person260", True),
        ("bacteria:person261", False),
        ("pneumonia:anything", False),
    ],
)
def test_the_block_is_the_lowest_numbers(key, inside):
    assert is_in_block(key) == inside


def test_every_image_is_in_one_part_and_every_patient_too(tiny):
    radiographs = read_radiographs(tiny)
    split = make_split(radiographs, seed=0)
    parts = [split.train, split.validation, split.block]
    assert sorted(np.concatenate(parts)) == list(range(len(radiographs)))
    groups = group_patients(radiographs)
    sides = [set(groups[part]) for part in parts]
    assert sides[0].isdisjoint(sides[1])
    assert sides[2].isdisjoint(sides[0] | sides[1])


def test_too_few_images_to_hold_out_patients_are_refused(tmp_path):
    with pytest.raises(Rejected, match="only 2 images outside the block; at least 20 are needed"):
        make_split(read_radiographs(draw_set(tmp_path, normals=10, sick=40)), seed=0)


def test_identical_files_and_both_causes_of_a_person_are_one_group(tmp_path):
    root = draw_set(tmp_path, normals=4, sick=4)
    sick = root / "train" / "PNEUMONIA"
    shutil.copy(sick / "person21_virus_1.jpeg", sick / "person9001_virus_9.jpeg")
    shutil.copy(sick / "person41_bacteria_2.jpeg", sick / "person61_bacteria_8.jpeg")
    radiographs = read_radiographs(root)
    groups = dict(zip([r.file for r in radiographs], group_patients(radiographs), strict=True))
    assert groups["person21_virus_1.jpeg"] == groups["person9001_virus_9.jpeg"]
    assert groups["person61_bacteria_8.jpeg"] == groups["person61_virus_3.jpeg"]
    assert groups["person1_bacteria_0.jpeg"] != groups["person21_virus_1.jpeg"]


def test_the_split_depends_on_the_seed_alone(tiny):
    radiographs = read_radiographs(tiny)
    assert make_split(radiographs, 0).digest() == make_split(radiographs, 0).digest()
    assert make_split(radiographs, 0).digest() != make_split(radiographs, 1).digest()


def test_an_empty_class_folder_is_refused_by_name(tmp_path):
    (tmp_path / "train" / "NORMAL").mkdir(parents=True)
    with pytest.raises(Rejected, match=r"no image of class NORMAL; expected train/NORMAL/\*\.jpeg"):
        read_radiographs(tmp_path)


def test_one_changed_byte_changes_the_fingerprint(tmp_path):
    root = draw_set(tmp_path, normals=2, sick=2)
    before = fingerprint(read_radiographs(root))
    with (root / "train" / "NORMAL" / "IM-0100-0001.jpeg").open("ab") as file:
        file.write(b"\0")
    assert fingerprint(read_radiographs(root)) != before


@pytest.mark.skipif(not KERMANY.exists(), reason="the development images are not at ../shared")
def test_the_real_set_is_split_as_the_released_model_says():
    radiographs = read_radiographs(KERMANY)
    split = make_split(radiographs, seed=0)
    assert len(radiographs) == 5232
    assert [len(p) for p in (split.train, split.validation, split.block)] == [3879, 686, 667]
