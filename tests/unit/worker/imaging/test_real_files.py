"""Real radiographs and things that are none, from pydicom-data and the shared samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.builders.dicom import make_instance
from worker.imaging.decoders import decode_frame
from worker.imaging.eligibility import EligibilityPolicy, check_eligibility
from worker.imaging.pixels import NormalisedFrame, normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header

Sample = Callable[[str], Path]


def normalised(path: Path, spec: PreprocessingSpec) -> NormalisedFrame:
    return normalise_frame(read_dataset(path), spec)


@pytest.mark.parametrize(
    "name", ["RG1_UNCR.dcm", "RG1_UNCI.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm", "RG1_JLSN.dcm"]
)
def test_the_real_chest_is_eligible(name: str, sample: Sample) -> None:
    children = EligibilityPolicy(population_age_years=(1, 5))

    judgement = check_eligibility(read_header(sample(name)), children)

    assert judgement.eligible
    assert [w.code for w in judgement.warnings] == ["PATIENT_AGE_OUTSIDE_POPULATION"]


def test_the_real_chest_is_the_same_in_jpeg_2000(sample: Sample, spec: PreprocessingSpec) -> None:
    plain = normalised(sample("RG1_UNCR.dcm"), spec)
    lossless = normalised(sample("RG1_J2KR.dcm"), spec)

    np.testing.assert_array_equal(lossless.pixels, plain.pixels)
    assert (plain.record.decoder, lossless.record.decoder) == ("native", "imagecodecs.jpeg2k")


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless], ids=lambda uid: uid.name
)
def test_the_real_chest_transcoded(syntax: UID, sample: Sample, spec: PreprocessingSpec) -> None:
    plain = read_dataset(sample("RG1_UNCR.dcm"))
    transcoded = make_instance(
        pixels=decode_frame(plain)[0],
        bits_stored=15,
        photometric="MONOCHROME1",
        window=(15000, 30000),
        transfer_syntax=syntax,
    )

    expected = normalise_frame(plain, spec).pixels
    np.testing.assert_array_equal(normalise_frame(transcoded, spec).pixels, expected)


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG1_JLSN.dcm"])
def test_the_real_chest_in_lossy_encodings(
    name: str, sample: Sample, spec: PreprocessingSpec
) -> None:
    plain = normalised(sample("RG1_UNCR.dcm"), spec).pixels

    assert np.abs(normalised(sample(name), spec).pixels - plain).max() < 0.02


def test_bones_of_the_real_chest_are_white(sample: Sample, spec: PreprocessingSpec) -> None:
    # MONOCHROME1, 15 bits, one window: the spine is brighter than either lung.
    frame = normalised(sample("RG1_UNCR.dcm"), spec)
    rows, columns = frame.pixels.shape
    band = frame.pixels[int(rows * 0.35) : int(rows * 0.5)].mean(axis=0)
    spine, left, right = (band[int(columns * at)] for at in (0.5, 0.75, 0.27))

    assert spine > left + 0.15
    assert spine > right + 0.15
    assert frame.record.inverted
    assert frame.record.voi == "window"
    assert (frame.record.window_center, frame.record.window_width) == (15000, 30000)


@pytest.mark.parametrize(
    "name", ["RG3_UNCR.dcm", "RG3_UNCI.dcm", "RG3_J2KR.dcm", "RG3_J2KI.dcm", "RG3_JLSN.dcm"]
)
def test_the_tibia_is_refused(name: str, sample: Sample) -> None:
    (refusal,) = check_eligibility(read_header(sample(name))).refusals

    assert refusal.code == "BODY_PART_NOT_CHEST"
    assert refusal.found == "EXTREMITY"


def test_the_hip_is_refused(sample: Sample) -> None:
    (refusal,) = check_eligibility(read_header(sample("RG2_JPLY.dcm"))).refusals

    assert (refusal.code, refusal.found) == ("BODY_PART_NOT_CHEST", "HIP")


def test_the_ultrasound_is_refused(sample: Sample) -> None:
    codes = [r.code for r in check_eligibility(read_header(sample("US1_J2KR.dcm"))).refusals]

    assert codes[:2] == ["SOP_CLASS_NOT_ELIGIBLE", "MODALITY_NOT_ELIGIBLE"]


def test_the_mammogram_is_refused(sample: Sample) -> None:
    codes = {
        r.code
        for r in check_eligibility(read_header(sample("MG_GH133_voi_lut_sequence.dcm"))).refusals
    }

    assert {"SOP_CLASS_NOT_ELIGIBLE", "MODALITY_NOT_ELIGIBLE", "BODY_PART_NOT_CHEST"} <= codes
    assert {"VIEW_NOT_FRONTAL", "ANATOMIC_REGION_NOT_CHEST"} <= codes


def test_the_mammograms_voi_lut_is_applied_as_pydicom_does(
    sample: Sample, spec: PreprocessingSpec
) -> None:
    # Three LUTs and three windows, SIGMOID: the first LUT counts, 12 bits per entry.
    dataset = read_dataset(sample("MG_GH133_voi_lut_sequence.dcm"))

    frame = normalise_frame(dataset, spec)

    oracle = apply_voi_lut(dataset.pixel_array, dataset) / 4095  # its rescale is the identity
    picture = dataset.pixel_array > 30  # 0 to 30 is padding, says the header
    np.testing.assert_allclose(frame.pixels[picture], oracle[picture], atol=1e-6)
    assert (frame.pixels[~picture] == 0).all()
    assert frame.record.voi == "voi_lut_sequence"
    assert (frame.record.voi_luts_present, frame.record.windows_present) == (3, 3)


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_test_images_of_luts_agree_with_pydicom(
    name: str, sample: Sample, spec: PreprocessingSpec
) -> None:
    dataset = read_dataset(sample(name))

    frame = normalise_frame(dataset, spec)

    oracle = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    np.testing.assert_allclose(frame.pixels, oracle / np.iinfo(oracle.dtype).max, atol=1e-6)


def test_the_hip_in_four_encodings(sample: Sample) -> None:
    lossless = [
        decode_frame(read_dataset(sample(f"RG2_{n}.dcm")))[0] for n in ("JLSL", "JPLL", "RLE")
    ]
    twelve_bit, decoder = decode_frame(read_dataset(sample("RG2_JPLY.dcm")))

    np.testing.assert_array_equal(lossless[0], lossless[1])
    np.testing.assert_array_equal(lossless[0], lossless[2])
    assert decoder == "imagecodecs.jpeg8"  # pydicom's plugins and GDCM refuse 12 bits
    assert np.abs(twelve_bit.astype(int) - lossless[0]).mean() < 6  # of 1023, 18 : 1
