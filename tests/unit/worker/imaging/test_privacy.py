"""Names, ids and UIDs planted in every text element never come out in words."""

from __future__ import annotations

import io
import logging
import traceback
import warnings

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.uid import UID, JPEGLSLossless

from tests.builders.dicom import make_instance
from worker.imaging.eligibility import EligibilityPolicy, check_eligibility
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance

NAME = "MUSTERFRAU"
PLANTED_UID = "1.2.276.0.99999.4711"
TEXT_ELEMENTS = (
    "PatientName", "PatientID", "AccessionNumber", "Modality", "BodyPartExamined", "ViewPosition",
    "PhotometricInterpretation", "PresentationIntentType", "BurnedInAnnotation", "PatientSex",
    "PatientAge", "PatientBirthDate", "StudyDate", "StudyDescription", "SeriesDescription",
    "InstitutionName", "VOILUTFunction", "PresentationLUTShape", "PatientOrientation",
    "SpecificCharacterSet", "RescaleType", "ImageType", "WindowCenter", "WindowWidth",
    "RescaleSlope", "NumberOfFrames", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID",
)  # fmt: skip


def file_with(keyword: str, value: str) -> io.BytesIO:
    """A file whose element holds any text, whatever its VR allows: as bytes on the disk."""
    marker = b"X" * (len(value) + len(value) % 2)
    dataset = make_instance(rows=128, columns=128, window=(2048, 4096))
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.pop(keyword, None)
    vr = dictionary_VR(keyword)
    dataset.add_new(keyword, "LO", marker.decode())
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    content = buffer.getvalue()
    spot = content.index(b"LO" + len(marker).to_bytes(2, "little") + marker)
    padded = value.encode().ljust(len(marker), b"\0" if vr == "UI" else b" ")
    spoiled = content[:spot] + vr.encode() + len(marker).to_bytes(2, "little") + padded
    return io.BytesIO(spoiled + content[spot + 4 + len(marker) :])


def everything_said_about(file: io.BytesIO) -> str:
    """All that reading, judging and normalising say: texts, reprs, records."""
    said: list[object] = []
    try:
        header = read_header(file)
        judgement = check_eligibility(header, EligibilityPolicy(population_age_years=(1, 5)))
        said += [repr(header), *judgement.refusals, *judgement.warnings]
        file.seek(0)
        frame = normalise_frame(read_dataset(file), PreprocessingSpec())
        said.append(frame.record.to_dict())
    except RefusedInstance as refusal:
        said += [*traceback.format_exception(refusal), repr(refusal), refusal.refusal]
    return " ".join(map(str, said))


@pytest.mark.parametrize("keyword", TEXT_ELEMENTS)
@pytest.mark.filterwarnings("default")
def test_no_text_element_is_quoted(
    keyword: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")
        file = file_with(keyword, f"{NAME}^ERIKA")
        assert NAME.encode() in file.getvalue()
        said = everything_said_about(file)

    printed = capfd.readouterr()
    for text in (said, printed.out, printed.err, caplog.text, *(str(w.message) for w in warned)):
        assert NAME not in text


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_no_uid_is_quoted(keyword: str) -> None:
    assert PLANTED_UID not in everything_said_about(file_with(keyword, PLANTED_UID))


def test_an_unregistered_transfer_syntax_is_not_quoted() -> None:
    dataset = make_instance()
    dataset.file_meta.TransferSyntaxUID = UID(PLANTED_UID)
    with pytest.raises(RefusedInstance, match="an unregistered transfer syntax") as refusal:
        normalise_frame(dataset, PreprocessingSpec())
    assert PLANTED_UID not in str(refusal.value)


def test_what_a_decoder_says_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def talkative(*_: object, **__: object) -> None:
        raise ValueError(NAME)

    monkeypatch.setattr("imagecodecs.jpegls_decode", talkative)
    monkeypatch.setattr("worker.imaging.decoders.get_decoder", talkative)

    with pytest.raises(RefusedInstance, match="that no decoder can read") as refusal:
        normalise_frame(make_instance(transfer_syntax=JPEGLSLossless), PreprocessingSpec())
    assert refusal.value.code == "DECODE_FAILED"
    assert refusal.value.__suppress_context__


def test_importing_the_package_makes_pydicom_silent() -> None:
    assert not logging.getLogger("pydicom").isEnabledFor(logging.CRITICAL)
