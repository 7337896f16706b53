"""What a header becomes in the database: defined terms for analysts, the rest left out."""

from __future__ import annotations

import io

import pytest
from pydicom.dataset import Dataset

from db.vocabulary.enums import Priority, Source
from tests.builders.dicom import make_instance
from worker.imaging.reading import read_header
from worker.intake.received_study import received_study
from worker.storage.intake_folder import StoredFile

STORED = StoredFile(name="ab/ab.dcm", sha256="ab" * 32, content_sha256="cd" * 32, size=7)


def received(*headers):
    return received_study(
        [(STORED, header) for header in headers],
        priority=Priority.STAT,
        site_ae_title="SENDER",
        source=Source.C_STORE,
    )


def header_of(**keywords):
    buffer = io.BytesIO()
    make_instance(**keywords).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return read_header(buffer)


def view_code(value):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "FREE^TEXT"
    return [item]


COLUMNS = {
    "defined terms as they are": (
        {},
        {"modality": "CR", "body_part": "CHEST", "view_position": "PA"},
    ),
    "other defined terms": (
        {"modality": "DX", "body_part": "Knee", "view_position": "LL"},
        {"modality": "DX", "body_part": "KNEE", "view_position": "LL"},
    ),
    "absent": (
        {"modality": None, "body_part": None, "view_position": None},
        {"modality": None, "body_part": None, "view_position": None},
    ),
    "free text": (
        {"modality": "DOE", "body_part": "DOE^JANE", "view_position": "JANE"},
        {"modality": None, "body_part": None, "view_position": None},
    ),
    "the view's code": (
        {"view_position": None, "ViewCodeSequence": view_code("272479007")},
        {"view_position": "PA"},
    ),
    "a code that is no term": (
        {"view_position": None, "ViewCodeSequence": view_code("1")},
        {"view_position": None},
    ),
    "size": ({"rows": 40, "columns": 30}, {"rows": 40, "columns": 30}),
    "syntax by name": (
        {"transfer_syntax": "1.2.840.10008.1.2.4.90"},
        {"transfer_syntax_name": "JPEG 2000 Image Compression (Lossless Only)"},
    ),
}


@pytest.mark.parametrize(("keywords", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_columns(keywords, expected):
    (instance,) = received(header_of(**keywords)).instances
    assert {name: getattr(instance, name) for name in expected} == expected


def test_a_private_transfer_syntax_has_no_name():
    header = header_of()
    object.__setattr__(header, "transfer_syntax_uid", "1.2.3.4.5.6.7")
    (instance,) = received(header).instances
    assert (instance.transfer_syntax_uid, instance.transfer_syntax_name) == ("1.2.3.4.5.6.7", None)


@pytest.mark.parametrize("rows", [-1, 65_536, 10**12])
def test_a_size_that_no_image_has_is_left_out(rows):
    header = header_of()
    object.__setattr__(header, "rows", rows)
    assert received(header).instances[0].rows is None


@pytest.mark.parametrize(
    ("found", "kept"), [("ID\0\0", "ID"), ("I\0D", "ID"), ("\0", None), (None, None), ("ID ", "ID")]
)
def test_identifiers_hold_no_nul(found, kept):
    header = header_of()
    object.__setattr__(header, "patient_id", found)
    assert received(header).patient_id == kept


def test_the_first_file_says_whose_study_it_is():
    first = header_of(patient_id="P1", accession_number="A1", patient_sex="M", patient_age="061Y")
    study = received(first, header_of(patient_id="P2"))
    assert (study.patient_id, study.accession_number) == ("P1", "A1")
    assert (study.patient_sex, study.patient_age_years) == ("M", 61.0)
    assert (study.priority, study.source, study.site_ae_title) == (
        Priority.STAT, Source.C_STORE, "SENDER",
    )  # fmt: skip
    assert "P1" not in repr(study)
    assert len(study.instances) == 2
