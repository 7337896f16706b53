"""Manifests as senders write them: JSON, or a DICOM Key Object Selection Document."""

from __future__ import annotations

import json

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from tests.builders.dicom import make_instance, write_instance
from worker.errors import Rejected
from worker.intake.manifest import checked_manifest, read_manifests

STUDY, SECRET = "1.2.3", "DOE^JANE"


def written(tmp_path, value):
    path = tmp_path / "manifest.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def entry(study=STUDY, *uids):
    return {"study_instance_uid": study, "sop_instance_uids": list(uids or ("1.2.3.1", "1.2.3.2"))}


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def key_objects(tmp_path, *studies):
    dataset = make_instance()
    dataset.SOPClassUID = KeyObjectSelectionDocumentStorage
    dataset.file_meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    del dataset.PixelData
    dataset.CurrentRequestedProcedureEvidenceSequence = [
        item(
            StudyInstanceUID=study,
            ReferencedSeriesSequence=[
                item(
                    SeriesInstanceUID="1.2.3.9",
                    ReferencedSOPSequence=[
                        item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.1.1",
                             ReferencedSOPInstanceUID=uid)
                    ],
                )
                for uid in uids
            ],
        )
        for study, *uids in studies
    ]  # fmt: skip
    dataset.save_as(tmp_path / "manifest.dcm")
    return tmp_path / "manifest.dcm"


def test_one_study_or_several_as_json(tmp_path):
    (manifest,) = read_manifests(written(tmp_path, entry()))
    assert manifest.study_instance_uid == STUDY
    assert manifest.sop_instance_uids == ("1.2.3.1", "1.2.3.2")
    several = read_manifests(written(tmp_path, [entry(), entry("1.2.4", "1.2.4.1")]))
    assert [m.study_instance_uid for m in several] == [STUDY, "1.2.4"]


def test_a_study_named_twice_is_one(tmp_path):
    (manifest,) = read_manifests(written(tmp_path, [entry(), entry(STUDY, "1.2.3.2", "1.2.3.3")]))
    assert manifest.sop_instance_uids == ("1.2.3.1", "1.2.3.2", "1.2.3.3")


def test_key_objects_are_a_manifest(tmp_path):
    path = key_objects(tmp_path, (STUDY, "1.2.3.1", "1.2.3.2"), ("1.2.4", "1.2.4.1"))
    first, second = read_manifests(path)
    assert (first.study_instance_uid, first.sop_instance_uids) == (STUDY, ("1.2.3.1", "1.2.3.2"))
    assert second.sop_instance_uids == ("1.2.4.1",)


def test_what_is_logged_shows_no_uid(tmp_path):
    (manifest,) = read_manifests(written(tmp_path, entry()))
    assert "1.2.3" not in repr(manifest)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no JSON", "neither JSON nor DICOM"),
        ([], "it names no instance"),
        ({"study_instance_uid": STUDY}, r"entry 0\.sop_instance_uids: Field required"),
        (entry(SECRET), r"entry 0\.study_instance_uid: String should match"),
        ([entry(), entry(STUDY, SECRET)], r"entry 1\.sop_instance_uids\.0: String should match"),
        ({**entry(), "patient": SECRET}, r"entry 0\.patient: Extra inputs"),
        ({**entry(), "sop_instance_uids": []}, r"entry 0\.sop_instance_uids: List should have"),
        (7, "entry 0: Input should be"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(tmp_path, value, why):
    with pytest.raises(Rejected, match=f"MANIFEST_INVALID: .*{why}.*docs/bridges.md") as told:
        read_manifests(written(tmp_path, value))
    assert SECRET not in str(told.value)


def test_another_dicom_object_is_no_manifest(tmp_path):
    with pytest.raises(Rejected, match="no Key Object Selection Document"):
        read_manifests(write_instance(tmp_path / "image.dcm"))


@pytest.mark.parametrize("study", [(STUDY,), ("", "1.2.3.1"), (STUDY, "")])
def test_key_objects_without_evidence_are_told(tmp_path, study):
    with pytest.raises(Rejected, match=r"MANIFEST_INVALID: .*\(0040,A375\)"):
        read_manifests(key_objects(tmp_path, study))
    with pytest.raises(Rejected, match="names no instance"):
        read_manifests(key_objects(tmp_path))


def test_a_manifest_that_is_not_there_is_told_without_its_path(tmp_path):
    with pytest.raises(Rejected, match=r"FILE_UNREADABLE: .*ENOENT"):
        read_manifests(tmp_path / SECRET)


def test_a_program_is_told_as_well():
    assert checked_manifest(STUDY, ["1.2.3.1"]).sop_instance_uids == ("1.2.3.1",)
    for study, uids in [(STUDY, []), (STUDY, [SECRET]), (SECRET, ["1.2"])]:
        with pytest.raises(Rejected, match="MANIFEST_INVALID"):
            checked_manifest(study, uids)
