"""Patients from a CSV (`file,patient`), where neither file names nor headers name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from training.data.files_by_name import FilesByName
from training.data.radiograph import Radiograph
from training.data.tables import read_rows
from training.data.text import capitalised
from worker.errors import Rejected

FILE_COLUMN, PATIENT_COLUMN = ("file",), ("patient",)


def assign_patients(
    radiographs: Sequence[Radiograph], csv: Path, files: Iterable[str]
) -> tuple[Radiograph, ...]:
    """Give each image the patient that the CSV names for it.

    `files`: all files of the set, among them those that were left out. Raises Rejected:
    GROUP_WITHOUT_FILE, GROUPS_CONTRADICT, FILE_WITHOUT_GROUP (see also training.data.tables).
    """
    patients = _read_patients(csv, FilesByName(files))
    missing = [r for r in radiographs if r.path.as_posix() not in patients]
    if missing:
        raise Rejected(
            "FILE_WITHOUT_GROUP",
            f"{len(missing)} of {len(radiographs)} images have no line in {csv.name}, the first is "
            f"{missing[0].shown_as}; every image needs a patient.",
        )
    return tuple(
        replace(r, patient_key=f"{r.subtype}:{patients[r.path.as_posix()]}", patient_is_known=True)
        for r in radiographs
    )


def _read_patients(csv: Path, files: FilesByName) -> dict[str, str]:
    """File -> patient."""
    patients: dict[str, str] = {}
    for row in read_rows(csv, FILE_COLUMN, PATIENT_COLUMN):
        file = files.find(row.first_of(FILE_COLUMN), row.line)
        if file is None:
            raise Rejected(
                "GROUP_WITHOUT_FILE",
                f"{capitalised(row.line)} names a file that is not in the set; correct or delete "
                "the line.",
            )
        patient = row.first_of(PATIENT_COLUMN)
        if patients.setdefault(file, patient) != patient:
            raise Rejected(
                "GROUPS_CONTRADICT",
                f"{capitalised(row.line)} gives a file another patient than an earlier line; "
                "expected one patient for each file.",
            )
    return patients
