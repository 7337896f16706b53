"""A DICOM folder with labels: files found, judged as a worker judges them, patients never shown."""

from __future__ import annotations

import pytest

from tests.builders.data_sets import write_dicom_set, write_table
from tests.builders.dicom import write_instance
from training.data.pool import Layout, Pool
from training.data.quality import quality_issues
from training.data.radiograph import Encoding, fingerprint
from training.data.reading import read_pool
from training.data.splits import group_patients
from worker.errors import Rejected


def texts_of(pool: Pool) -> str:
    return repr(pool) + " ".join(issue.sentence for issue in quality_issues(pool))


def test_images_labels_and_sizes(tmp_path):
    pool = read_pool(write_dicom_set(tmp_path, [0, 1, 1]))
    assert pool.layout is Layout.LABELLED_DICOM
    assert [(r.path.name, r.label, r.subtype) for r in pool.radiographs] == [
        ("name0.dcm", 0, "normal"),
        ("name1.dcm", 1, "pneumonia"),
        ("name2.dcm", 1, "pneumonia"),
    ]
    assert {(r.encoding, r.size, r.patient_is_known) for r in pool.radiographs} == {
        (Encoding.DICOM, (160, 144), True)
    }
    assert quality_issues(pool) == ()


def test_files_lie_in_folders_and_the_labels_elsewhere(tmp_path):
    write_dicom_set(tmp_path / "images" / "stage_2")
    labels = (tmp_path / "images" / "stage_2" / "labels.csv").rename(tmp_path / "rsna.csv")
    pool = read_pool(tmp_path / "images", labels=labels)
    assert [r.path.as_posix() for r in pool.radiographs] == [
        "stage_2/name0.dcm",
        "stage_2/name1.dcm",
    ]


def test_one_patient_is_one_group_whatever_the_label(tmp_path):
    one = {"patient_id": "PLANTED-SAME"}
    root = write_dicom_set(tmp_path, [0, 1, 1], changes={0: one, 2: one})
    groups = group_patients(read_pool(root).radiographs)
    assert groups[0] == groups[2] != groups[1]


def test_without_patient_id_the_study_is_the_patient(tmp_path):
    study = {"patient_id": "", "study_instance_uid": "1.2.3"}
    other = {"patient_id": "", "study_instance_uid": "1.2.4"}
    root = write_dicom_set(tmp_path, [0, 1, 1], changes={0: study, 1: study, 2: other})
    pool = read_pool(root)
    groups = group_patients(pool.radiographs)
    assert groups[0] == groups[1] != groups[2]
    assert [issue.code for issue in quality_issues(pool)] == ["PATIENTS_UNKNOWN"]


REFUSED = {
    "VIEW_NOT_FRONTAL": {"view_position": "LL"},
    "BODY_PART_NOT_CHEST": {"body_part": "HAND"},
    "MODALITY_NOT_ELIGIBLE": {"modality": "MG"},
    "ROWS_OUT_OF_RANGE": {"rows": 100},
}


@pytest.mark.parametrize(("code", "change"), REFUSED.items())
def test_what_a_worker_would_refuse_is_left_out_or_fatal(tmp_path, code, change):
    root = write_dicom_set(tmp_path, [0, 1, 1], changes={1: change})
    pool = read_pool(root)
    assert [r.path.name for r in pool.radiographs] == ["name0.dcm", "name2.dcm"]
    assert [skipped.code for skipped in pool.skipped] == [code]
    (issue,) = quality_issues(pool)
    expected = f"1 file was left out: 1 {code}. The first is line 3 of labels.csv: "
    assert issue.sentence.startswith(expected)
    with pytest.raises(Rejected, match=f"{code}: line 3 of labels.csv: "):
        read_pool(root, strict=True)


def test_a_file_that_is_no_dicom_is_left_out_or_fatal(tmp_path):
    root = write_dicom_set(tmp_path, [0, 1, 1])
    (root / "name2.dcm").write_bytes(b"no DICOM")
    assert [skipped.code for skipped in read_pool(root).skipped] == ["NOT_DICOM"]
    with pytest.raises(Rejected, match=r"line 4 of labels\.csv: The file: found neither"):
        read_pool(root, strict=True)


def test_labels_without_files_are_counted_or_fatal(tmp_path):
    root = write_dicom_set(tmp_path, [0, 1, 1, 0, 1])
    for name in ("name2.dcm", "name4.dcm"):
        (root / name).unlink()
    pool = read_pool(root)
    assert len(pool.radiographs) == 3
    (issue,) = quality_issues(pool)
    assert issue.sentence == (
        "No file of the folder belongs to 2 labels; the first is line 4 of labels.csv."
    )
    with pytest.raises(Rejected, match=r"LABEL_WITHOUT_FILE: Line 4 of labels\.csv names a file"):
        read_pool(root, strict=True)


def test_labels_of_another_folder_are_refused(tmp_path):
    root = write_dicom_set(tmp_path / "set")
    labels = write_table(tmp_path / "other.csv", "image,label", "x,1", "y,0")
    expected = r"None of the 2 rows of other\.csv names a file of the folder set; expected <name>"
    with pytest.raises(Rejected, match=expected):
        read_pool(root, labels=labels)


def test_files_without_label_are_counted(tmp_path):
    root = write_dicom_set(tmp_path)
    for name in ("more/1", "more/2.dcm", "DICOMDIR"):
        write_instance(root / name, seed=9)
    (root / "readme.txt").write_text("no DICOM")
    for strict in (False, True):
        pool = read_pool(root, strict=strict)
        assert pool.files_without_label == 2
        assert [issue.sentence for issue in quality_issues(pool)] == [
            "2 files were left out for want of a label."
        ]


@pytest.mark.parametrize(("labels", "name"), [([0, 0], "PNEUMONIA"), ([1], "NORMAL")])
def test_both_classes_must_be_there(tmp_path, labels, name):
    with pytest.raises(Rejected, match=rf"no image of class {name}; expected files with the label"):
        read_pool(write_dicom_set(tmp_path, labels))


def test_nothing_of_a_header_reaches_a_text(tmp_path):
    changes = {
        1: {"view_position": "PLANTED VIEW"},
        2: {"body_part": "PLANTED PART"},
        3: {"patient_id": ""},
        5: {"sop_class_uid": "1.2.3.PLANTED"},
    }
    root = write_dicom_set(tmp_path, [0, 1, 1, 1, 0, 0], changes=changes)
    pool = read_pool(root)
    assert len(pool.skipped) == 3
    assert "PLANTED" not in texts_of(pool)
    with pytest.raises(Rejected) as caught:
        read_pool(root, strict=True)
    assert "PLANTED" not in str(caught.value)


def test_the_patient_is_a_hash_that_tells_patients_apart(tmp_path):
    keys = [r.patient_key for r in read_pool(write_dicom_set(tmp_path)).radiographs]
    assert len({*keys}) == 2
    assert not any("PLANTED" in key for key in keys)


def test_another_label_gives_another_fingerprint(tmp_path):
    root = write_dicom_set(tmp_path, [0, 1, 1])
    before = fingerprint(read_pool(root).radiographs)
    write_table(root / "labels.csv", "patientId,Target", "name0,0", "name1,1", "name2,0")
    assert fingerprint(read_pool(root).radiographs) != before
