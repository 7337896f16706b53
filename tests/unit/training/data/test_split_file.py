"""The split as a file: read back it is the same, and nothing wrong with it goes unnoticed."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders.data_sets import radiographs_of
from training.data.radiograph import Radiograph, fingerprint
from training.data.split_file import read_split, require_no_leakage, write_split
from training.data.splits import HoldOut, Split, group_patients, make_split
from worker.errors import Rejected, Resource


@pytest.fixture(scope="module")
def radiographs(tiny):
    return radiographs_of(tiny)


@pytest.fixture
def path(tmp_path, radiographs):
    write_split(tmp_path / "split.csv", radiographs, make_split(radiographs, 0))
    return tmp_path / "split.csv"


@pytest.mark.parametrize("hold_out", HoldOut)
def test_a_split_read_back_is_the_same(tmp_path, radiographs, hold_out):
    split = make_split(radiographs, 3, hold_out)
    write_split(tmp_path / "run" / "split.csv", radiographs, split)
    again = read_split(tmp_path / "run" / "split.csv", radiographs)
    assert again.digest() == split.digest()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["split.csv"]


def test_the_file_says_what_it_is(path, radiographs):
    first, heading, *lines = path.read_text().splitlines()
    assert first == f"# fingerprint of the data: {fingerprint(radiographs)}"
    assert heading == "file,label,patient_group,part"
    assert len(lines) == len(radiographs)
    group, part = group_patients(radiographs)[0], "block"
    assert lines[0] == f"train/NORMAL/IM-0100-0001.jpeg,NORMAL,{group},{part}"


FILE_NAMES = (
    st.binary(min_size=1)
    .map(os.fsdecode)
    .filter(lambda name: not {*"/\0"} & {*name} and name not in {".", ".."})
)


@settings(max_examples=50, deadline=None)
@example({"\r": 0, "a\nb": 1, 'quo"te': 2, "com,ma": 0, "\u2028": 1, "#": 2, "\udcff": 0})
@given(st.dictionaries(FILE_NAMES, st.integers(0, 2), min_size=2))
def test_any_file_name_survives(tmp_path_factory, part_of):
    images = [
        Radiograph(path=Path(name), label=row % 2, patient_key=f"virus:{row}", sha256=f"{row}")
        for row, name in enumerate(part_of)
    ]
    parts = np.array([*part_of.values()])
    split = Split(
        train=np.flatnonzero(parts == 0),
        validation=np.flatnonzero(parts == 1),
        block=np.flatnonzero(parts == 2),
    )
    path = tmp_path_factory.mktemp("split") / "split.csv"
    write_split(path, images, split)
    assert read_split(path, images).digest() == split.digest()


def edit(path: Path, row: int, column: int, value: str) -> None:
    """Change one cell, counted from 0 below the heading."""
    first, *rest = path.read_text().splitlines()
    table = [*csv.reader(rest)]
    table[row + 1][column] = value
    path.write_text("\n".join([first, *(",".join(cells) for cells in table), ""]))


EDITS = {
    "another file": (0, 0, "train/NORMAL/x.jpeg", "SPLIT_OF_OTHER_DATA", "Line 3 .* names a file th"),
    "a file twice": (
        1, 0, "train/NORMAL/IM-0100-0001.jpeg", "SPLIT_FILE_ALTERED", "Line 4 .* second time",
    ),
    "another label": (2, 1, "PNEUMONIA", "SPLIT_FILE_ALTERED", "Line 5 .* other than the data's NOR"),
    "another group": (3, 2, "7777", "SPLIT_FILE_ALTERED", r"Line 6 .* other than the data's \d+;"),
    "another part": (4, 3, "test", "SPLIT_FILE_ALTERED", "Line 7 .* none of train, validation, blo"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "column", "value", "code", "words"), EDITS.values(), ids=EDITS)
def test_an_edited_line_is_told(path, radiographs, row, column, value, code, words):
    edit(path, row, column, value)
    with pytest.raises(Rejected, match=words) as caught:
        read_split(path, radiographs)
    assert caught.value.code == code


def test_a_missing_line_is_told(path, radiographs):
    lines = path.read_text().splitlines()
    del lines[2]
    path.write_text("\n".join(lines))
    with pytest.raises(Rejected, match=r"lacks 1 image of the data, the first is train/.*IM-0100"):
        read_split(path, radiographs)


def test_a_patient_in_two_parts_is_an_error_by_number(path, radiographs):
    groups = group_patients(radiographs)
    shared = [replace(r, patient_key="normal:DOE^JANE") if r.label == 0 else r for r in radiographs]
    split = make_split(radiographs, 0)
    with pytest.raises(Rejected, match=r"Patient group \d+ is in block and in train and in valid"):
        write_split(path, shared, split)
    parts = ["train"] * len(groups)
    parts[5] = "validation"
    require_no_leakage(groups, parts)
    twice = groups.copy()
    twice[6] = twice[5]
    with pytest.raises(Rejected) as caught:
        require_no_leakage(twice, parts)
    assert caught.value.code == "PATIENT_IN_TWO_PARTS"
    assert caught.value.sentence.startswith(
        f"Patient group {twice[5]} is in train and in validation (1 such group in all)"
    )
    assert "DOE" not in str(caught.value)


def test_a_leak_edited_into_the_file_is_an_error(tmp_path, radiographs):
    """Two images of one patient, one of them moved by hand."""
    images = [replace(r, patient_key="virus:p1") if row in {50, 51} else r
              for row, r in enumerate(radiographs)]  # fmt: skip
    path = tmp_path / "split.csv"
    split = make_split(images, 0, "none")
    write_split(path, images, split)
    edit(path, 50, 3, "validation")
    group = group_patients(images)[50]
    with pytest.raises(Rejected, match=f"Patient group {group} is in train and in validation"):
        read_split(path, images)


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"patient_key": "normal:other"}])
def test_other_data_is_told_by_its_fingerprint(path, radiographs, change):
    changed = [replace(radiographs[0], **change), *radiographs[1:]]
    with pytest.raises(Rejected, match="was written for data with the fingerprint") as caught:
        read_split(path, changed)
    assert caught.value.code == "SPLIT_OF_OTHER_DATA"
    assert fingerprint(changed)[:12] in caught.value.sentence


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"file,label,patient_group,part\n",
        b"# fingerprint of the data: abc\n",
        b"# fingerprint of the data: abc\nfile,label,part\n",
        b"# fingerprint of the data: abc\nfile,label,patient_group,part\na,b\n",
        b'# fingerprint of the data: abc\nfile,label,patient_group,part\n"a,b,c,d\n',
        b"\xff\xfe\xfd\n",
    ],
)
def test_what_is_no_split_is_refused(tmp_path, radiographs, content):
    (tmp_path / "split.csv").write_bytes(content)
    with pytest.raises(Rejected, match=re.escape("split.csv is no split as `pneumo train` writes")):
        read_split(tmp_path / "split.csv", radiographs)


def test_a_missing_file_is_refused_by_folder(tmp_path, radiographs):
    (tmp_path / "run").mkdir()
    with pytest.raises(Rejected, match=r"SPLIT_FILE_MISSING: The folder run holds no split\.csv"):
        read_split(tmp_path / "run" / "split.csv", radiographs)


def test_a_folder_that_cannot_be_written_is_told(tmp_path, radiographs):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        Resource, match=r"SPLIT_NOT_WRITTEN: .* into the folder file: File exists\."
    ):
        write_split(tmp_path / "file" / "split.csv", radiographs, make_split(radiographs, 0))
