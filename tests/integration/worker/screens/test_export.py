"""De-identified copies name nobody, and still belong together."""

from __future__ import annotations

import io
import json

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from rich.console import Console

from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import accept_files, query_rows
from worker.errors import Rejected
from worker.pipeline.process_study import process_study
from worker.screens.export import export_study

PLANTED = (
    "PLANTEDNAME",
    "PLANTED-ID",
    "PLANTED-ACC",
    "PLANTEDWORD",
    "19610203",
    "20260704",
    "1.2.424242",
)


def planted(number, study, **attributes):
    """Keywords of an image that names its patient wherever a name can stand."""
    nested = Dataset()
    nested.CodeValue, nested.CodeMeaning = "1", "Chest"
    nested.CodingSchemeDesignator = "99X"
    nested.PatientName, nested.AccessionNumber = "PLANTEDNAME^NESTED", "PLANTED-ACC"
    nested.ReferencedSOPInstanceUID = f"1.2.424242.{study}.9"
    return {
        "study_instance_uid": f"1.2.424242.{study}",
        "series_instance_uid": f"1.2.424242.{study}.1",
        "sop_instance_uid": f"1.2.424242.{study}.1.{number}",
        "patient_name": "PLANTEDNAME^JANE",
        "patient_id": "PLANTED-ID",
        "accession_number": "PLANTED-ACC",
        "PatientBirthDate": "19610203",
        "StudyDate": "20260704",
        "StudyDescription": "PLANTEDWORD",
        "InstitutionName": "PLANTEDWORD",
        "ReferringPhysicianName": "PLANTEDNAME^DOC",
        "ImageComments": "PLANTEDWORD",
        "OperatorsName": "PLANTEDNAME^OP",
        "AcquisitionContextSequence": Sequence([nested]),
        "BurnedInAnnotation": "NO",
        "seed": 700 + 10 * study + number,
        **attributes,
    }


def with_private_elements(path):
    """The file with a private block, and a private element in an item."""
    dataset = pydicom.dcmread(path)
    for place in (dataset, dataset.AcquisitionContextSequence[0]):
        place.private_block(0x0011, "PLANTEDWORD", create=True).add_new(1, "LO", "PLANTEDWORD")
    dataset.save_as(path)
    return path


def exported(runtime, key, folder):
    console = Console(width=160, file=io.StringIO(), record=True)
    code = export_study(runtime.settings, key, deidentified=True, output=folder, console=console)
    return code, {p.name: p for p in folder.iterdir()}, console.export_text()


def finished(runtime, tmp_path, study, *images):
    paths = [
        with_private_elements(write_instance(tmp_path / f"{n}.dcm", **planted(n, study, **a)))
        for n, a in enumerate(images, 1)
    ]
    key = accept_files(runtime, *paths)
    process_study(key, runtime)
    return key


def test_nothing_planted_is_left_and_the_copies_belong_together(runtime, tmp_path):
    key = finished(runtime, tmp_path, 1, {}, {"ViewPosition": "LL"})
    source = pydicom.dcmread(tmp_path / "1.dcm")
    assert all(word.encode() in (tmp_path / "1.dcm").read_bytes() for word in PLANTED)

    code, files, said = exported(runtime, key, tmp_path / "out")

    assert code == 0, said
    assert sorted(files) == ["capture-1.dcm", "image-1.dcm", "image-2.dcm", "report.dcm"]
    for name, path in files.items():
        content = path.read_bytes()
        assert not [word for word in PLANTED if word.encode() in content], name
        assert not [word for word in PLANTED if word in said]
    read = {name: pydicom.dcmread(path) for name, path in files.items()}
    assert len({d.StudyInstanceUID for d in read.values()}) == 1
    assert len({d.PatientID for d in read.values()}) == 1
    assert len({d.SOPInstanceUID for d in read.values()}) == 4
    assert len(read["image-1.dcm"].PatientID) == 64
    assert read["image-1.dcm"].pixel_array.tobytes() == source.pixel_array.tobytes()
    referenced = {
        e.value for d in (read["report.dcm"], read["capture-1.dcm"])
        for e in d.iterall() if e.keyword == "ReferencedSOPInstanceUID"
    }  # fmt: skip
    assert referenced & {read["image-1.dcm"].SOPInstanceUID, read["image-2.dcm"].SOPInstanceUID}


def test_each_copy_records_how_it_was_deidentified(runtime, tmp_path):
    key = finished(runtime, tmp_path, 2, {})
    _, files, _ = exported(runtime, key, tmp_path / "out")
    for path in files.values():
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert "PS3.15" in str(dataset.DeidentificationMethod)
        (code,) = dataset.DeidentificationMethodCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")


def test_a_second_export_has_the_same_uids_and_another_study_of_the_patient_the_same_id(
    runtime, tmp_path
):
    key = finished(runtime, tmp_path, 3, {})
    _, first, _ = exported(runtime, key, tmp_path / "one")
    _, again, _ = exported(runtime, key, tmp_path / "two")
    assert {n: p.read_bytes() for n, p in first.items()} == {
        n: p.read_bytes() for n, p in again.items()
    }

    (tmp_path / "b").mkdir()
    other = finished(runtime, tmp_path / "b", 4, {})
    _, others, _ = exported(runtime, other, tmp_path / "three")
    a, b = (pydicom.dcmread(files["image-1.dcm"]) for files in (first, others))
    assert a.PatientID == b.PatientID
    assert a.StudyInstanceUID != b.StudyInstanceUID


def test_an_image_with_burned_in_annotation_is_left_out(runtime, tmp_path):
    key = finished(runtime, tmp_path, 5, {}, {"BurnedInAnnotation": "YES"})
    code, files, said = exported(runtime, key, tmp_path / "out")
    assert code == 1
    assert sorted(files) == ["image-1.dcm"]
    assert "Image no. 2 is left out: its pixels hold annotation" in said
    assert "No results are exported" in said


def test_an_image_that_does_not_say_is_warned_of(runtime, tmp_path):
    key = finished(runtime, tmp_path, 6, {"BurnedInAnnotation": ""})
    code, _, said = exported(runtime, key, tmp_path / "out")
    assert (code, "Image no. 1 does not say whether its pixels hold annotation" in said) == (
        0,
        True,
    )


def test_it_is_audited_with_the_person(runtime, tmp_path):
    key = finished(runtime, tmp_path, 7, {})
    exported(runtime, key, tmp_path / "out")
    (row,) = query_rows(
        runtime,
        "SELECT actor, detail FROM audit_record WHERE study_key = :key AND event = 'study_exported'",
        key=key,
    )
    assert row["actor"].startswith("operator:")
    assert json.loads(row["detail"])["images"] == 1


def test_what_is_not_clear_is_refused(runtime, tmp_path):
    key = finished(runtime, tmp_path, 8, {})
    with pytest.raises(Rejected, match="EXPORT_HOW"):
        export_study(runtime.settings, key, output=tmp_path / "out")
    with pytest.raises(Rejected, match="EXPORT_FOLDER_NOT_EMPTY"):
        exported(runtime, key, tmp_path)
