"""Numbers that no radiograph has are refused for the instance; no frame leaves that is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders.dicom import lut_item, make_instance
from worker.imaging.pixels import normalise_frame, refuse_not_finite
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.refusals import RefusedInstance

SPEC = PreprocessingSpec(size=32)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [
        *[("1e308", "0"), ("-1e308", "0"), ("1e12", "0"), ("1", "1e308"), ("1", "-1e13")],
        *[("1e-320", "0"), ("1e-13", "0"), ("inf", "0"), ("nan", "0"), ("1", "inf"), ("1", "nan")],
        *[("1e400", "0"), ("0", "0"), ("9" * 400, "0")],
    ],
)
def test_a_rescale_beyond_all_bounds_is_refused(slope: str, intercept: str) -> None:
    dataset = make_instance()
    for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        dataset.add_new(keyword, "LO", value)  # pydicom would not write such a DS
    with pytest.raises(
        RefusedInstance, match=r"\(0028,1053\) Rescale Slope.*within 1e\+12 of 0"
    ) as refusal:
        normalise_frame(dataset, SPEC)
    assert refusal.value.code == "MODALITY_LUT_INVALID"


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1e7, 0), (-1e7, 0), (1e-6, 1e-3), (1, -1e11), (2.5, -1024)]
)
def test_a_rescale_within_bounds_gives_the_same_picture(slope: float, intercept: float) -> None:
    stored = make_instance()
    rescaled = make_instance(rescale=(f"{slope:g}", f"{intercept:g}"))
    plain, found = (normalise_frame(d, SPEC).pixels for d in (stored, rescaled))
    assert np.allclose(found, 1 - plain if slope < 0 else plain, atol=1e-6)


@pytest.mark.parametrize(
    ("center", "width"),
    [
        ("1e308", "1"),
        ("-1e308", "4096"),
        ("2048", "1e308"),
        ("inf", "1"),
        ("nan", "1"),
        ("0", "inf"),
    ],
)
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_beyond_all_bounds_is_refused(center: str, width: str, function: str) -> None:
    dataset = make_instance(voi_lut_function=function)
    for keyword, value in (("WindowCenter", center), ("WindowWidth", width)):
        dataset.add_new(keyword, "LO", value)
    with pytest.raises(RefusedInstance, match=r"\(0028,1050\) Window Center.*finite") as refusal:
        normalise_frame(dataset, SPEC)
    assert refusal.value.code == "WINDOW_OUT_OF_BOUNDS"


@pytest.mark.parametrize(
    "descriptor", [["inf", "0", "12"], ["nan", "0", "12"], ["3", "1e308", "12"]]
)
def test_a_modality_lut_beyond_all_bounds_is_refused(descriptor: list[str]) -> None:
    item = lut_item([0, 10, 20])
    del item.LUTDescriptor
    item.add_new("LUTDescriptor", "LO", descriptor)
    with pytest.raises(RefusedInstance, match="Modality LUT Sequence") as refusal:
        normalise_frame(make_instance(ModalityLUTSequence=[item]), SPEC)
    assert refusal.value.code == "MODALITY_LUT_INVALID"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    refuse_not_finite(np.array([0.0, 1.0]))
    with pytest.raises(RefusedInstance, match="no finite numbers") as refusal:
        refuse_not_finite(np.array([0.0, value, 1.0]))
    assert refusal.value.code == "FRAME_NOT_FINITE"


def test_the_network_gets_finite_numbers_at_the_bounds() -> None:
    for rescale in (("1e7", "0"), ("1e-12", "0"), ("-15258789", "1")):
        frame = normalise_frame(make_instance(rescale=rescale), SPEC)
        assert preprocess(frame.pixels, SPEC).isfinite().all()
