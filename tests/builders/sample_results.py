"""Results of every kind that we write, as files, for tools that are not ours."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.builders.results import (
    WHEN,
    make_header,
    make_result,
    make_result_settings,
    picture_of_any,
    predicted_instance,
    refused_instance,
)
from tests.builders.waiting import scaled
from worker.results.build import build_results, to_bytes
from worker.results.study_result import Predecessor, StudyResult

PREDECESSOR = Predecessor(
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

WITHOUT_TYPE_2 = {
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
    "CR": lambda: make_result(predicted_instance(0.792826)),
    "CR, MONOCHROME1": lambda: make_result(predicted_instance(0.1, photometric="MONOCHROME1")),
    "DX": lambda: make_result(predicted_instance(0.9, **DX)),
    "DX, MONOCHROME1": lambda: make_result(
        predicted_instance(0.9, photometric="MONOCHROME1", **DX)
    ),
    "type 2 elements missing": lambda: make_result(predicted_instance(0.9, **WITHOUT_TYPE_2)),
    "malformed dates and sex": lambda: make_result(
        predicted_instance(
            0.9, patient_birth_date="2020.1.1", study_date="1/1/2026", patient_sex="X"
        )
    ),
    "several images, one not evaluated": lambda: make_result(
        predicted_instance(0.1, number=1), refused_instance(2), predicted_instance(0.9, number=3)
    ),
    "the first image without a patient": lambda: make_result(
        refused_instance(1, **WITHOUT_TYPE_2),
        predicted_instance(0.9, number=2, IssuerOfPatientID="HOSPITAL"),
    ),
    "a tibia": lambda: make_result(refused_instance(1, BodyPartExamined="LEG")),
    "a tibia with the codes of its hospital": lambda: make_result(
        refused_instance(1, BodyPartExamined="LEG", ProcedureCodeSequence=[TIBIA])
    ),
    "nothing evaluated": lambda: make_result(refused_instance(1), refused_instance(2)),
    "CR with frames": lambda: make_result(predicted_instance(0.1, 0.9)),
    "class of several frames": lambda: make_result(
        predicted_instance(0.1, 0.9, sop_class_uid="1.2.840.10008.5.1.4.1.1.7.2")
    ),
    "superseding": lambda: replace(
        make_result(predicted_instance(0.9)), supersedes=PREDECESSOR, revision=2
    ),
    "in other words than before": lambda: replace(
        make_result(predicted_instance(0.9)),
        supersedes=PREDECESSOR,
        earlier_forms=(replace(PREDECESSOR, sop_instance_uid="2.25.13"),),
        revision=2,
    ),
    "with an offset from UTC": lambda: make_result(
        predicted_instance(0.9, TimezoneOffsetFromUTC="-0400")
    ),
    "once lossy": lambda: make_result(
        predicted_instance(
            0.9,
            LossyImageCompression="01",
            LossyImageCompressionRatio="12.5",
            LossyImageCompressionMethod="ISO_10918_1",
        )
    ),
    "Latin-1": lambda: result_with_name("Müller^Jörg", "ISO_IR 100"),
    "Cyrillic": lambda: result_with_name("Люкceмбypг", "ISO_IR 144"),
    "Unicode": lambda: result_with_name("Wang^XiaoDong=王^小东", "ISO_IR 192"),
    "Japanese, code extensions": lambda: result_with_name(
        "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]
    ),
    "Korean, code extensions": lambda: result_with_name(
        "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]
    ),
    "no character set": lambda: result_with_name("Doe^Jane", None),
}


def result_with_name(name: str, terms: str | list[str] | None) -> StudyResult:
    """A result whose source was read from a file, as names are in life."""
    source = make_header(patient_name=name, SpecificCharacterSet=terms or "ISO_IR 192")
    if terms is None:
        del source.SpecificCharacterSet
    read = pydicom.dcmread(io.BytesIO(to_bytes(source)))
    return make_result(replace(predicted_instance(0.9), header=read))


def require_tool(name: str) -> str:
    """The path of a program of Debian's; without it the test is skipped, saying so."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: dcmtk, dicom3tools, orthanc)")
    return found


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    # The tools repeat names in whatever letters the file has.
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=scaled(120),
        check=False,
    )


def write_results(result: StudyResult, folder: Path, **settings) -> list[Path]:
    """Report and captures as files."""
    made = build_results(result, make_result_settings(**settings), picture_of_any)
    paths = [folder / f"{i}-{dataset.Modality}.dcm" for i, dataset in enumerate(made)]
    for path, dataset in zip(paths, made, strict=True):
        path.write_bytes(to_bytes(dataset))
    return paths
