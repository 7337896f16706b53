"""Our result objects before tools that are not ours: dicom3tools, dicom-validator, dcmtk, Orthanc."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_validator.spec_reader.edition_reader import EditionReader
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.error_handler import NullValidationResultHandler
from dicom_validator.validator.iod_validator import IODValidator
from dicom_validator.validator.validation_result import Status
from PIL import Image
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from tests.builders.dicom import chest_like_pixels
from tests.builders.results import (
    STUDY_UID,
    WHEN,
    header_of,
    picture_of_any,
    predicted,
    refused,
    result_of,
    words_of,
)
from tests.builders.standard_tables import write_standard
from worker.imaging.reading import read_dataset
from worker.model.bundle import default_bundle, load_bundle
from worker.results.build import build_results, to_bytes
from worker.results.picture import picture_of
from worker.results.study_result import Predecessor, StudyResult

BEFORE = Predecessor(
    sop_instance_uid="2.25.11",
    series_instance_uid="2.25.12",
    model="resnet50-9.9.8",
    revision=1,
    finished_at=WHEN,
)
DX = {
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
    "modality": "DX",
    "PresentationIntentType": "FOR PRESENTATION",
    "PatientOrientation": ["L", "F"],
}
BARE = {
    "patient_birth_date": None,
    "patient_sex": None,
    "patient_age": None,
    "study_date": None,
    **dict.fromkeys(("PatientName", "PatientID", "StudyTime", "StudyID", "AccessionNumber")),
    "ReferringPhysicianName": None,
}
TIBIA = Dataset()
TIBIA.CodeValue, TIBIA.CodingSchemeDesignator, TIBIA.CodeMeaning = "RXTIB", "99HOSPITAL", "Tibia"
RESULTS: dict[str, Callable[[], StudyResult]] = {
    "CR": lambda: result_of(predicted(0.792826)),
    "CR, MONOCHROME1": lambda: result_of(predicted(0.1, photometric="MONOCHROME1")),
    "DX": lambda: result_of(predicted(0.9, **DX)),
    "DX, MONOCHROME1": lambda: result_of(predicted(0.9, photometric="MONOCHROME1", **DX)),
    "type 2 elements missing": lambda: result_of(predicted(0.9, **BARE)),
    "malformed dates and sex": lambda: result_of(
        predicted(0.9, patient_birth_date="2020.1.1", study_date="1/1/2026", patient_sex="X")
    ),
    "several images, one not evaluated": lambda: result_of(
        predicted(0.1, number=1), refused(2), predicted(0.9, number=3)
    ),
    "the first image without a patient": lambda: result_of(
        refused(1, **BARE), predicted(0.9, number=2, IssuerOfPatientID="HOSPITAL")
    ),
    "a tibia": lambda: result_of(refused(1, BodyPartExamined="LEG")),
    "a tibia with the codes of its hospital": lambda: result_of(
        refused(1, BodyPartExamined="LEG", ProcedureCodeSequence=[TIBIA])
    ),
    "nothing evaluated": lambda: result_of(refused(1), refused(2)),
    "CR with frames": lambda: result_of(predicted(0.1, 0.9)),
    "class of several frames": lambda: result_of(
        predicted(0.1, 0.9, sop_class_uid="1.2.840.10008.5.1.4.1.1.7.2")
    ),
    "superseding": lambda: replace(result_of(predicted(0.9)), supersedes=BEFORE, revision=2),
    "in other words than before": lambda: replace(
        result_of(predicted(0.9)),
        supersedes=BEFORE,
        earlier_forms=(replace(BEFORE, sop_instance_uid="2.25.13"),),
        revision=2,
    ),
    "with an offset from UTC": lambda: result_of(predicted(0.9, TimezoneOffsetFromUTC="-0400")),
    "once lossy": lambda: result_of(
        predicted(
            0.9,
            LossyImageCompression="01",
            LossyImageCompressionRatio="12.5",
            LossyImageCompressionMethod="ISO_10918_1",
        )
    ),
    "Latin-1": lambda: named("Müller^Jörg", "ISO_IR 100"),
    "Cyrillic": lambda: named("Люкceмбypг", "ISO_IR 144"),
    "Unicode": lambda: named("Wang^XiaoDong=王^小东", "ISO_IR 192"),
    "Japanese, code extensions": lambda: named(
        "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]
    ),
    "Korean, code extensions": lambda: named(
        "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]
    ),
    "no character set": lambda: named("Doe^Jane", None),
}


def named(name: str, terms: str | list[str] | None) -> StudyResult:
    """A result whose source was read from a file, as names are in life."""
    source = header_of(patient_name=name, SpecificCharacterSet=terms or "ISO_IR 192")
    if terms is None:
        del source.SpecificCharacterSet
    read = pydicom.dcmread(io.BytesIO(to_bytes(source)))
    return result_of(replace(predicted(0.9), header=read))


def tool(name: str) -> str:
    """The path of a program of Debian's; without it the test is skipped, saying so."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: dcmtk, dicom3tools, orthanc)")
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    # The tools repeat names in whatever letters the file has.
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=False
    )


def written(result: StudyResult, folder: Path, **settings) -> list[Path]:
    """Report and captures as files."""
    made = build_results(result, words_of(**settings), picture_of_any)
    paths = [folder / f"{i}-{dataset.Modality}.dcm" for i, dataset in enumerate(made)]
    for path, dataset in zip(paths, made, strict=True):
        path.write_bytes(to_bytes(dataset))
    return paths


@pytest.mark.parametrize("name", RESULTS)
def test_dciodvfy_finds_no_error(name, tmp_path):
    program = tool("dciodvfy")
    for path in written(RESULTS[name](), tmp_path):
        said = run(program, str(path))
        judged = (said.stdout + said.stderr).splitlines()
        assert {"Comprehensive3DSR", "SCImage"} & {line.strip() for line in judged}, judged
        assert [line for line in judged if line.startswith(("Error", "Abort"))] == []


def test_a_real_radiograph_through_the_packaged_model_is_sound_too(sample, tmp_path):
    program, bundle = tool("dciodvfy"), load_bundle(default_bundle())
    source = read_dataset(sample("RG1_J2KI.dcm"))
    item = replace(predicted(0.792826), header=source)
    spec = bundle.manifest.preprocessing
    made = build_results(
        result_of(item),
        words_of(),
        lambda shown, frame: picture_of(shown.header, frame, bundle.model, spec),
    )
    for number, dataset in enumerate(made):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(to_bytes(dataset))
        said = run(program, str(path))
        assert "Error" not in said.stdout + said.stderr
        assert pydicom.dcmread(path).PatientID == source.PatientID
    coloured = np.ptp(made[1].pixel_array[:800].astype(int), axis=2) > 40
    assert 1000 < coloured.sum() < 200_000


def test_dciodvfy_would_find_one(tmp_path):
    program = tool("dciodvfy")
    (report, _) = build_results(result_of(predicted(0.9)), words_of(), picture_of_any)
    del report.CompletionFlag
    path = tmp_path / "spoilt.dcm"
    path.write_bytes(to_bytes(report))
    said = run(program, str(path))
    assert "Error - Missing attribute Type 1 Required Element=<CompletionFlag>" in (
        said.stdout + said.stderr
    )


# --- dicom-validator --------------------------------------------------------------------------------

# PS3.3 Table C.12-1 has Device UID (0018,1002), type 3, among the attributes of Contributing Equipment
# Sequence (0018,A001). It came after early 2020, of which the tables are (standard_tables.py).
NEWER_THAN_THE_TABLES = {("ContributingEquipmentSequence.DeviceUID", "TagUnexpected")}


@pytest.fixture(scope="module")
def standard(tmp_path_factory) -> DicomInfo:
    """What dicom-validator has read of the standard: modules, types, conditions, enumerated values."""
    folder = tmp_path_factory.mktemp("standard")
    write_standard(folder, [Comprehensive3DSRStorage, SecondaryCaptureImageStorage])
    return EditionReader(folder).dicom_info_for_edition("local")


def faults(dataset: Dataset, standard: DicomInfo) -> set[tuple[str, str]]:
    """What dicom-validator says of a file, as (path of keywords, kind of fault)."""
    read = pydicom.dcmread(io.BytesIO(to_bytes(dataset)))
    said = IODValidator(read, standard, error_handler=NullValidationResultHandler()).validate()
    assert said.status in (Status.Passed, Status.Failed), said.status
    return {
        (
            ".".join(keyword_for_tag(part) for part in [*(tag.parents or []), tag.tag]),
            fault.code.name,
        )
        for of_module in said.module_errors.values()
        for tag, fault in of_module.items()
    }


@pytest.mark.parametrize("name", RESULTS)
def test_dicom_validator_finds_no_error(name, standard):
    for dataset in build_results(RESULTS[name](), words_of(), picture_of_any):
        assert faults(dataset, standard) == NEWER_THAN_THE_TABLES, dataset.Modality


def content_item(report: Dataset, value_type: str) -> Dataset:
    """The first item of that type below the root of a report."""
    items = list(report.ContentSequence)
    while items[0].ValueType != value_type:
        items = [*items[1:], *items[0].get("ContentSequence", [])]
    return items[0]


REPORT, CAPTURE = 0, 1
SPOILT: dict[str, tuple[int, Callable[[Dataset], object], str, str]] = {
    "type 1 missing, report": (
        *(REPORT, lambda report: report.pop("CompletionFlag")),
        *("CompletionFlag", "TagMissing"),
    ),
    "type 1 missing, capture": (
        *(CAPTURE, lambda capture: capture.pop("SamplesPerPixel")),
        *("SamplesPerPixel", "TagMissing"),
    ),
    "type 1 missing, deep in the tree": (
        *(REPORT, lambda report: content_item(report, "CODE").pop("ConceptCodeSequence")),
        *("ConceptCodeSequence", "TagMissing"),
    ),
    "type 1 empty": (
        *(REPORT, lambda report: setattr(report, "VerificationFlag", "")),
        *("VerificationFlag", "TagEmpty"),
    ),
    "type 2 missing": (
        *(REPORT, lambda report: report.pop("StudyID")),
        *("StudyID", "TagMissing"),
    ),
    "type 1C whose condition holds, capture": (
        *(CAPTURE, lambda capture: capture.pop("PlanarConfiguration")),
        *("PlanarConfiguration", "TagMissing"),
    ),
    "type 1C whose condition holds, report": (
        *(REPORT, lambda report: content_item(report, "TEXT").pop("TextValue")),
        *("TextValue", "TagMissing"),
    ),
    "macro of a value type left out": (
        *(REPORT, lambda report: content_item(report, "NUM").pop("MeasuredValueSequence")),
        *("MeasuredValueSequence", "TagMissing"),
    ),
    "macro of another value type": (
        *(
            REPORT,
            lambda report: setattr(content_item(report, "TEXT"), "ContinuityOfContent", "SEPARATE"),
        ),
        *("ContinuityOfContent", "TagUnexpected"),
    ),
    "attribute of another information object, report": (
        *(REPORT, lambda report: setattr(report, "KVP", "80")),
        *("KVP", "TagUnexpected"),
    ),
    "attribute of another information object, capture": (
        *(CAPTURE, lambda capture: setattr(capture, "CompletionFlag", "COMPLETE")),
        *("CompletionFlag", "TagUnexpected"),
    ),
    "no enumerated value": (
        *(REPORT, lambda report: setattr(report, "CompletionFlag", "NEARLY")),
        *("CompletionFlag", "EnumValueNotAllowed"),
    ),
    "no enumerated value, deep in the tree": (
        *(REPORT, lambda report: setattr(content_item(report, "NUM"), "RelationshipType", "KNOWS")),
        *("RelationshipType", "EnumValueNotAllowed"),
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_dicom_validator_would_find_one(name, standard):
    which, spoil, keyword, kind = SPOILT[name]
    dataset = build_results(result_of(predicted(0.9)), words_of(), picture_of_any)[which]
    spoil(dataset)
    (found,) = faults(dataset, standard) - NEWER_THAN_THE_TABLES
    assert (found[0].split(".")[-1], found[1]) == (keyword, kind)


# --- dcmtk ------------------------------------------------------------------------------------------


def test_dsrdump_shows_what_is_coded(tmp_path):
    result = result_of(predicted(0.792826, number=1), refused(2))
    # dcmtk 3.6.7 takes the offset +0000 for a violation of VR DT, which PS3.5 6.2 allows.
    zone = {"time_zone": "Europe/Berlin"}
    (report, _) = written(replace(result, supersedes=BEFORE), tmp_path, **zone)
    said = run(tool("dsrdump"), "+Pl", "+Pc", str(report))
    assert said.returncode == 0, said.stderr
    for expected in (
        "Comprehensive 3D SR Document",
        "Predecessor Docs    : 1",
        '(121071,DCM,"Finding")=(233604007,SCT,"Pneumonia")',
        '(233604007,SCT,"Pneumonia")=(52101004,SCT,"Present")',
        '(122157,DCM,"Probability")="0.792826" (1,UCUM,"no units")',
        '(111001,DCM,"Algorithm Name")="resnet50"',
        '(111003,DCM,"Algorithm Version")="9.9.9"',
        '(111002,DCM,"Algorithm Parameters")="threshold=0.4"',
        '(111242,DCM,"All algorithms succeeded; with findings")',
        '(111245,DCM,"No algorithms succeeded; without findings")',
        '(111244,DCM,"Not all algorithms succeeded; with findings")',
        '(121112,DCM,"Source of Measurement")=(CR image,)',
        "Not evaluated: VIEW_NOT_FRONTAL. (0018,5101) View Position: found LL",
        "Not for diagnostic use without a radiologist.",
        "Replaces the result of 2026-11-23 10:50 CET (resnet50-9.9.8, revision 1 of the study).",
    ):
        assert expected in said.stdout, expected
    assert "error" not in said.stderr.lower()
    assert "violates" not in said.stderr


@pytest.mark.parametrize(
    ("name", "procedure"),
    [
        ("CR", '(399208008,SCT,"Plain chest X-ray")'),
        ("a tibia", '(168537006,SCT,"Plain radiography")'),
        ("a tibia with the codes of its hospital", '(RXTIB,99HOSPITAL,"Tibia")'),
    ],
)
def test_dsrdump_shows_what_was_done(name, procedure, tmp_path):
    report = written(RESULTS[name](), tmp_path, time_zone="Europe/Berlin")[0]
    said = run(tool("dsrdump"), "+Pl", "+Pc", str(report))
    assert (said.returncode, "error" in said.stderr.lower()) == (0, False), said.stderr
    assert f'(121058,DCM,"Procedure reported")={procedure}' in said.stdout


@pytest.mark.parametrize("name", ["CR", "nothing evaluated"])
def test_dcmj2pnm_renders_the_capture(name, tmp_path):
    (_, capture) = written(RESULTS[name](), tmp_path)
    rendered = tmp_path / "capture.png"
    said = run(tool("dcmj2pnm"), "--write-png", str(capture), str(rendered))
    assert said.returncode == 0, said.stderr
    assert np.array_equal(
        np.asarray(Image.open(rendered).convert("RGB")), pydicom.dcmread(capture).pixel_array
    )


# --- Orthanc ----------------------------------------------------------------------------------------


class Orthanc:
    """A PACS of our own on loopback, ended by its process."""

    def __init__(self, folder: Path) -> None:
        self.http, self.dicom = free_port(), free_port()
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DefaultEncoding": "Utf8",
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        self.process = subprocess.Popen(
            [tool("Orthanc"), str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=body)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def json(self, path: str, body: object = None):
        return json.loads(self.ask(path, None if body is None else json.dumps(body).encode()))

    def wait(self) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                self.json("/system")
            except (OSError, urllib.error.URLError):
                assert time.monotonic() < until, "Orthanc did not start"
                time.sleep(0.1)
            else:
                return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    tool("Orthanc")
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        orthanc.wait()
        yield orthanc
    finally:
        orthanc.process.terminate()
        orthanc.process.wait(timeout=20)


def test_orthanc_files_results_under_the_patient_and_renders_the_capture(pacs, tmp_path):
    source = header_of(patient_name="Müller^Jörg", patient_id="P-77", SpecificCharacterSet="ISO_IR 100",
                       pixels=chest_like_pixels(320, 288))  # fmt: skip
    read = pydicom.dcmread(io.BytesIO(to_bytes(source)))
    image = tmp_path / "image.dcm"
    image.write_bytes(to_bytes(source))
    paths = written(result_of(replace(predicted(0.9), header=read)), tmp_path)
    said = run(
        *(tool("storescu"), "-R", "127.0.0.1", str(pacs.dicom), str(image), *map(str, paths))
    )
    assert said.returncode == 0, said.stderr

    asked = {"Level": "Study", "Query": {"PatientID": "P-77"}, "Expand": True}
    (study,) = pacs.json("/tools/find", asked)
    assert study["PatientMainDicomTags"]["PatientName"] == "Müller^Jörg"
    assert study["MainDicomTags"]["StudyInstanceUID"] == STUDY_UID
    series = [pacs.json(f"/series/{uid}") for uid in study["Series"]]
    assert sorted(s["MainDicomTags"]["Modality"] for s in series) == ["CR", "OT", "SR"]

    (capture,) = next(s for s in series if s["MainDicomTags"]["Modality"] == "OT")["Instances"]
    preview = np.asarray(Image.open(io.BytesIO(pacs.ask(f"/instances/{capture}/preview"))))
    assert np.array_equal(preview, pydicom.dcmread(paths[1]).pixel_array)


def test_sending_again_leaves_one_result(pacs, tmp_path):
    item = predicted(0.9, patient_id="P-78", study_instance_uid="1.2.826.0.1.3680043.8.498.78")
    for _ in range(2):
        for path in written(result_of(item, study_key="78" * 16), tmp_path):
            pacs.ask("/instances", path.read_bytes())
    asked = {"Level": "Instance", "Query": {"PatientID": "P-78"}}
    assert len(pacs.json("/tools/find", asked)) == 2
