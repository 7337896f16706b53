"""No patient is on two sides, and what looks alike byte for byte stays together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.data_sets import draw_set, radiographs_of
from training.data.radiograph import Radiograph, fingerprint
from training.data.splits import HoldOut, group_patients, is_in_block, make_split
from worker.errors import Rejected

KERMANY = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "kermany"
FIFTHS = [held for held in HoldOut if held.fold is not None]


def images(*patients: tuple[int, str]) -> list[Radiograph]:
    """(label, person) -> an image of their own each."""
    return [
        Radiograph(
            path=Path(f"{row}.png"),
            label=label,
            patient_key=f"{('normal', 'virus')[label]}:{person}",
            sha256=f"{row:064x}",
        )
        for row, (label, person) in enumerate(patients)
    ]


@st.composite
def sets_of_images(draw) -> list[Radiograph]:
    """20 to 40 patients of each class, 1 to 4 images each, a few with both classes, some in the block."""
    rows: list[tuple[int, str]] = []
    for label, prefix in ((0, "IM-"), (1, "person")):
        for patient in range(draw(st.integers(20, 40))):
            number = draw(st.sampled_from([300, 1300])) + patient
            rows += [(label, f"{prefix}{number}")] * draw(st.integers(1, 4))
    rows += [(0, "IM-0007"), (1, "person7")] * draw(st.integers(0, 2))
    rows += [(label, "both") for label in draw(st.lists(st.sampled_from([0, 1]), max_size=4))]
    return images(*draw(st.permutations(rows)))


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
        ("pneumonia:ward:person7", False),
    ],
)
def test_the_block_is_the_lowest_numbers(key, inside):
    assert is_in_block(key) == inside


@settings(max_examples=25, deadline=None)
@given(sets_of_images(), st.sampled_from(HoldOut), st.integers(0, 2**32 - 1))
def test_every_image_is_in_one_part_and_every_patient_too(radiographs, hold_out, seed):
    split = make_split(radiographs, seed, hold_out)
    parts = [split.train, split.validation, split.block]
    assert sorted(np.concatenate(parts)) == list(range(len(radiographs)))
    for part in parts:
        assert list(part) == sorted(part)
    groups = group_patients(radiographs)
    sides = [{*groups[part]} for part in parts]
    assert sum(map(len, sides)) == len({*groups})
    if hold_out is not HoldOut.NONE:
        assert {radiographs[row].label for row in split.validation} == {0, 1}
        assert {radiographs[row].label for row in split.train} == {0, 1}


@settings(max_examples=10, deadline=None)
@given(sets_of_images(), st.integers(0, 1000))
def test_the_fifths_hold_out_every_image_once(radiographs, seed):
    held = [make_split(radiographs, seed, fold).validation for fold in FIFTHS]
    assert sorted(np.concatenate(held)) == list(range(len(radiographs)))


def test_only_the_default_holds_out_the_block(tiny):
    radiographs = radiographs_of(tiny)
    sizes = {held: len(make_split(radiographs, 0, held).block) for held in HoldOut}
    assert sizes.pop(HoldOut.VALIDATION) > 0
    assert {*sizes.values()} == {0}


def test_without_held_out_images_everything_is_learnt_from(tiny):
    radiographs = radiographs_of(tiny)
    split = make_split(radiographs, 0, "none")
    assert list(split.train) == list(range(len(radiographs)))
    assert len(split.validation) == len(split.block) == 0


@pytest.mark.parametrize("hold_out", ["fold-0", "fold-6", "fold", "", "Validation"])
def test_an_unknown_part_is_refused_with_those_that_exist(tiny, hold_out):
    with pytest.raises(Rejected, match=r"expected one of validation, fold-1, .*, fold-5, none\."):
        make_split(radiographs_of(tiny), 0, hold_out)


@pytest.mark.parametrize(
    ("patients", "hold_out", "words"),
    [
        (
            [(0, f"n{n}") for n in range(2)] + [(1, f"p{n}") for n in range(40)],
            "validation",
            "Class NORMAL has only 2 images outside the block; at least 20 are needed",
        ),
        (
            [(0, f"n{n}") for n in range(30)] + [(1, f"person{n}") for n in range(280)],
            "validation",
            "Class PNEUMONIA has only 19 images outside the block; at least 20",
        ),
        (
            [(0, f"n{n}") for n in range(30)] + [(1, f"p{n % 3}") for n in range(30)],
            "validation",
            "Class PNEUMONIA has only 3 patients outside the block; at least 20",
        ),
        (
            [(0, f"n{n % 4}") for n in range(30)] + [(1, f"p{n}") for n in range(30)],
            "fold-2",
            "Class NORMAL has only 4 patients; at least 5 are needed",
        ),
    ],
)
def test_too_few_patients_to_hold_any_out_are_refused(patients, hold_out, words):
    with pytest.raises(Rejected, match=words) as caught:
        make_split(images(*patients), 0, hold_out)
    assert caught.value.code == "TRAINING_DATA_TOO_SMALL"


def test_identical_files_and_both_causes_of_a_person_are_one_group(tmp_path):
    root = draw_set(tmp_path, normals=4, sick=4)
    sick = root / "train" / "PNEUMONIA"
    shutil.copy(sick / "person21_virus_1.jpeg", sick / "person9001_virus_9.jpeg")
    shutil.copy(sick / "person41_bacteria_2.jpeg", sick / "person61_bacteria_8.jpeg")
    radiographs = radiographs_of(root)
    groups = dict(zip([r.path.name for r in radiographs], group_patients(radiographs), strict=True))
    assert groups["person21_virus_1.jpeg"] == groups["person9001_virus_9.jpeg"]
    assert groups["person61_bacteria_8.jpeg"] == groups["person61_virus_3.jpeg"]
    assert groups["person1_bacteria_0.jpeg"] != groups["person21_virus_1.jpeg"]


@pytest.mark.parametrize("hold_out", [HoldOut.VALIDATION, *FIFTHS])
def test_the_split_depends_on_the_seed_alone(tiny, hold_out):
    radiographs = radiographs_of(tiny)
    digest = make_split(radiographs, 0, hold_out).digest()
    assert make_split(radiographs, 0, hold_out).digest() == digest
    assert make_split(radiographs, 1, hold_out).digest() != digest


@pytest.mark.skipif(not KERMANY.exists(), reason="the development images are not at ../shared")
def test_the_real_set_is_split_as_the_released_models_say():
    radiographs = radiographs_of(KERMANY)
    split = make_split(radiographs, seed=0)
    assert len(radiographs) == 5232
    assert [len(p) for p in (split.train, split.validation, split.block)] == [3879, 686, 667]
    assert fingerprint(radiographs).startswith("c9ce7d7e06e44f54")
    assert split.digest().startswith("00d8f4a94e439b5e")
