"""Files to headers: what is kept, what is made of missing parts, what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.builders.dicom import NATIVE_SYNTAXES, make_instance, make_study, write_instance
from worker.imaging.decoders import decode_frame
from worker.imaging.reading import group_by_study, read_dataset, read_header
from worker.imaging.refusals import RefusedInstance


def header_of(**keywords: object):
    buffer = io.BytesIO()
    make_instance(rows=8, columns=8, **keywords).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return read_header(buffer)


def code_item(scheme: str, value: str) -> list[Dataset]:
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, "DOE^JANE"
    return [item]


def test_a_header_has_what_the_file_says(tmp_path: Path) -> None:
    path = write_instance(
        tmp_path / "a.dcm", study_instance_uid="1.2.3", bits_stored=15, patient_age="014M"
    )

    header = read_header(path)

    assert header.study_instance_uid == "1.2.3"
    assert (header.patient_id, header.accession_number) == ("BUILDER-1", "ACC-1")
    assert (header.modality, header.body_part_examined, header.view_position) == (
        "CR",
        "CHEST",
        "PA",
    )
    assert (header.rows, header.columns, header.bits_stored, header.high_bit) == (160, 144, 15, 14)
    assert header.patient_age_years == pytest.approx(14 / 12)
    assert header.number_of_frames == 1
    assert header.transfer_syntax_uid == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    ("keywords", "years"),
    [
        ({"patient_age": "030D"}, 30 / 365.25),
        ({"patient_age": "026W"}, 26 * 7 / 365.25),
        ({"patient_age": "006M"}, 0.5),
        ({"patient_age": "042Y"}, 42.0),
        ({"patient_age": None, "patient_birth_date": "20200102", "study_date": "20240102"}, 4.0),
        ({"patient_age": "3", "patient_birth_date": "20200102", "study_date": "20240102"}, 4.0),
        ({"patient_age": None, "patient_birth_date": "20250101", "study_date": "20240101"}, None),
        ({"patient_age": None, "patient_birth_date": "00000000"}, None),
        ({"patient_age": None}, None),
    ],
    ids=str,
)
def test_age(keywords: dict, years: float | None) -> None:
    found = header_of(**keywords).patient_age_years

    assert found == (None if years is None else pytest.approx(years, abs=0.003))


@pytest.mark.parametrize(("written", "read"), [("F", "F"), ("m", "M"), ("O", "O"), ("DOE", None)])
def test_sex(written: str, read: str | None) -> None:
    assert header_of(patient_sex=written).patient_sex == read


@pytest.mark.parametrize(
    ("sequence", "view"),
    [
        (("SCT", "272479007"), "PA"),
        (("SRT", "R-10206"), "AP"),
        (("SNM3", "R-10214"), "PA"),
        (("SCT", "399067008"), "LATERAL"),
        (("SCT", "399368009"), "OTHER"),
        (("99LOCAL", "PA1"), None),
    ],
)
def test_view_codes(sequence: tuple[str, str], view: str | None) -> None:
    assert header_of(ViewCodeSequence=code_item(*sequence)).view_code == view


@pytest.mark.parametrize(
    ("sequence", "region"),
    [
        (("SCT", "51185008"), "CHEST"),
        (("SRT", "T-28000"), "CHEST"),
        (("SCT", "76752008"), "NOT CHEST"),
        (("99LOCAL", "THX"), None),
    ],
)
def test_anatomic_regions(sequence: tuple[str, str], region: str | None) -> None:
    assert header_of(AnatomicRegionSequence=code_item(*sequence)).anatomic_region == region


def test_text_that_is_no_defined_term_is_only_described() -> None:
    header = header_of(
        body_part="DOE^JANE", view_position="JANE", modality="JD", PatientOrientation=["DOE", "J"]
    )

    assert header.body_part_examined == "a value of 8 characters that is no defined term"
    assert header.view_position == "a value of 4 characters that is no defined term"
    assert header.modality == "a value of 2 characters that is no defined term"
    assert header.patient_orientation is None


def test_the_manufacturer_is_short_and_printable() -> None:
    assert (
        header_of(manufacturer="ACME\x07\x00 Ltd" + "x" * 100).manufacturer == "ACME Ltd" + "x" * 56
    )


@pytest.mark.parametrize(
    ("keywords", "read"),
    [
        ({"PixelAspectRatio": [1, 2]}, ["Pixel Aspect Ratio 1\\2"]),
        ({"ImagerPixelSpacing": ["0.143", "0.2"]}, ["Imager Pixel Spacing 0.143\\0.2"]),
        (
            {"PixelSpacing": ["0.1", "0.1"], "NominalScannedPixelSpacing": ["0.2", "0.2"]},
            ["Pixel Spacing 0.1\\0.1", "Nominal Scanned Pixel Spacing 0.2\\0.2"],
        ),
        ({"PixelAspectRatio": [0, 0], "PixelSpacing": ["0", "0.1"]}, []),
        ({"PixelAspectRatio": 1, "PixelSpacing": ["-1", "1"]}, []),
        ({}, []),
    ],
    ids=str,
)
def test_the_size_of_a_pixel(keywords: dict, read: list[str]) -> None:
    assert [str(size) for size in header_of(**keywords).pixel_sizes] == read


def test_repr_shows_no_identifier() -> None:
    header = header_of(
        patient_id="SECRET-ID", accession_number="SECRET-ACC", study_instance_uid="1.9.9"
    )

    shown = repr(header)

    assert "SECRET" not in shown
    assert "1.9.9" not in shown
    assert header.sop_instance_uid not in shown
    assert "rows=8" in shown


@pytest.mark.parametrize("syntax", [s for s in NATIVE_SYNTAXES if not s.is_deflated], ids=str)
def test_a_file_without_preamble_and_file_meta(syntax: str) -> None:
    # What old archives and bare C-STORE receivers write: the dataset and nothing else.
    dataset = make_instance(transfer_syntax=syntax)
    bare = io.BytesIO()
    encoding = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    dataset.save_as(bare, enforce_file_format=False, **encoding)
    content = bare.getvalue()
    without = content[content.index(b"\x08\x00" if syntax.is_little_endian else b"\x00\x08") :]

    header = read_header(io.BytesIO(without))
    stored, _ = decode_frame(read_dataset(io.BytesIO(without)))

    assert header.transfer_syntax_uid == syntax
    assert stored.shape == (160, 144)


def test_a_file_with_file_meta_but_no_preamble(tmp_path: Path) -> None:
    content = write_instance(tmp_path / "a.dcm").read_bytes()[132:]

    assert read_header(io.BytesIO(content)).rows == 160


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\x89PNG\r\n\x1a\n" + b"\0" * 200, b"PATIENT,DOE^JANE\n" * 30, b"\0" * 500],
    ids=["empty", "short", "png", "csv", "zeros"],
)
def test_what_is_no_dicom(content: bytes) -> None:
    with pytest.raises(RefusedInstance, match="expected a DICOM file") as refusal:
        read_header(io.BytesIO(content))
    assert refusal.value.code == "NOT_DICOM"


@pytest.mark.parametrize(
    ("keyword", "code", "words"),
    [
        ("StudyInstanceUID", "STUDY_UID", r"\(0020,000D\) Study Instance UID"),
        ("SeriesInstanceUID", "SERIES_UID", r"\(0020,000E\) Series Instance UID"),
        ("SOPInstanceUID", "SOP_INSTANCE_UID", r"\(0008,0018\) SOP Instance UID"),
        ("SOPClassUID", "SOP_CLASS_UID", r"\(0008,0016\) SOP Class UID"),
    ],
)
def test_uids_that_are_missing_or_none(keyword: str, code: str, words: str) -> None:
    for value, kind, found in (
        ("", "MISSING", "no value"),
        ("DOE^JANE", "INVALID", "8 characters"),
    ):
        dataset = make_instance(rows=8, columns=8)
        dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset[keyword]._value = value
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=False)
        buffer.seek(0)
        with pytest.raises(RefusedInstance, match=f"{words}: found {found}") as refusal:
            read_header(buffer)
        assert refusal.value.code == f"{code}_{kind}"


def test_a_dicomdir_is_no_instance() -> None:
    dataset = make_instance(rows=8, columns=8)
    buffer = io.BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.save_as(buffer, enforce_file_format=False)
    buffer.seek(0)

    with pytest.raises(RefusedInstance, match="a directory of other files"):
        read_header(buffer)


def test_files_are_grouped_by_study(tmp_path: Path) -> None:
    first = make_study(tmp_path / "one", 2, study_instance_uid="1.2.1")
    second = make_study(tmp_path / "two", 1, study_instance_uid="1.2.2")
    stray = tmp_path / "notes.txt"
    stray.write_text("hello " * 100)

    by_study, refused = group_by_study([first[0], second[0], stray, first[1]])

    assert {uid: [path for path, _ in found] for uid, found in by_study.items()} == {
        "1.2.1": first,
        "1.2.2": second,
    }
    assert [(path, reason.code) for path, reason in refused] == [(stray, "NOT_DICOM")]
