"""The reference table: one row per way to encode grey, expected values worked out by hand.

A row is: stored values, what the header says, normalised values. Ids say what the row is about.
"""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.builders.dicom import lut_item, make_instance
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec

FULL_12 = {"window": (2048, 4096)}  # LINEAR over all of 12 bits: x / 4095
EXACT_100 = {"window": (50, 100), "voi_lut_function": "LINEAR_EXACT"}  # x / 100
M1 = {"photometric": "MONOCHROME1"}


def packed_lut_item(entries: list[int], first_mapped: int) -> Dataset:
    """8-bit entries two to a word, as PS3.3 C.11.1.1.1 has it."""
    item = Dataset()
    item.LUTDescriptor = [len(entries), first_mapped, 8]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", "OW", bytes(entries))
    return item


def us_lut_item(entries: list[int], first_mapped: int, bits: int) -> Dataset:
    """Entries written as US, the other VR that PS3.6 allows."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first_mapped, bits])
    item.add_new("LUTData", "US", entries)
    return item


WINDOWS = [
    pytest.param(
        [0, 1024, 2048, 4095], FULL_12, [0, 1024 / 4095, 2048 / 4095, 1], id="linear-full"
    ),
    pytest.param([98, 99, 100, 101], {"window": (100, 3)}, [0, 0.25, 0.75, 1], id="linear-width-3"),
    pytest.param([98, 99, 100, 101], {"window": (100, 2)}, [0, 0, 1, 1], id="linear-width-2"),
    pytest.param(
        [98, 99, 100, 101], {"window": (100, 1)}, [0, 0, 1, 1], id="linear-width-1-is-a-step"
    ),
    pytest.param([0, 50, 60, 4095], {"window": (50.5, 101)}, [0, 0.5, 0.6, 1], id="linear-clips"),
    pytest.param(
        [97, 98, 99, 100, 101, 102],
        {"window": (100, 4), "voi_lut_function": "LINEAR_EXACT"},
        [0, 0, 0.25, 0.5, 0.75, 1],
        id="linear-exact",
    ),
    pytest.param(
        [0, 1, 2],
        {"window": (1, 0.5), "voi_lut_function": "LINEAR_EXACT"},
        [0, 0.5, 1],
        id="linear-exact-narrower-than-1",
    ),
    pytest.param(
        [99, 100, 101, 4095],
        {"window": (100, 4), "voi_lut_function": "SIGMOID"},
        [0.2689414, 0.5, 0.7310586, 1],
        id="sigmoid",
    ),
    pytest.param(
        [0, 50, 100, 200],
        {"window": [(50, 100), (1000, 10)], "voi_lut_function": "LINEAR_EXACT"},
        [0, 0.5, 1, 1],
        id="several-windows-the-first",
    ),
]

MODALITY = [
    pytest.param(
        [50, 100, 150, 75],
        {"rescale": (2, -100), "window": (100, 200), "voi_lut_function": "LINEAR_EXACT"},
        [0, 0.5, 1, 0.25],
        id="rescale-before-window",
    ),
    pytest.param(
        [0, 51, 255],
        {
            "bits_stored": 8,
            "rescale": (-1, 255),
            "window": (127.5, 255),
            "voi_lut_function": "LINEAR_EXACT",
        },
        [1, 0.8, 0],
        id="negative-slope-turns-over-by-itself",
    ),
    pytest.param(
        [4, 5, 6, 7, 8, 9],
        {"ModalityLUTSequence": [lut_item([0, 10, 40, 100], first_mapped=5)], **EXACT_100},
        [0, 0, 0.1, 0.4, 1, 1],
        id="modality-lut",
    ),
    pytest.param(
        [-3, -2, -1, 0, 1],
        {
            "pixel_representation": 1,
            "ModalityLUTSequence": [lut_item([0, 10, 40, 100], first_mapped=-2)],
            **EXACT_100,
        },
        [0, 0, 0.1, 0.4, 1],
        id="modality-lut-signed",
    ),
    pytest.param(
        [4, 5, 6],
        {
            "ModalityLUTSequence": [lut_item([0, 50, 100], first_mapped=4)],
            "rescale": (7, 7),
            **EXACT_100,
        },
        [0, 0.5, 1],
        id="modality-lut-before-rescale",
    ),
]

VOI_LUTS = [
    pytest.param(
        [9, 10, 11, 12, 13],
        {"VOILUTSequence": [lut_item([0, 51, 255], first_mapped=10, bits=8)]},
        [0, 0, 0.2, 1, 1],
        id="voi-lut",
    ),
    pytest.param(
        [9, 10, 11, 12, 13],
        {"VOILUTSequence": [packed_lut_item([0, 51, 255, 255], first_mapped=10)]},
        [0, 0, 0.2, 1, 1],
        id="voi-lut-8-bit-packed",
    ),
    pytest.param(
        [9, 10, 11, 12],
        {"VOILUTSequence": [us_lut_item([0, 1023, 4092, 4095], 9, 12)]},
        [0, 1023 / 4095, 4092 / 4095, 1],
        id="voi-lut-12-bit-as-us",
    ),
    pytest.param(
        [9, 10, 11],
        {"VOILUTSequence": [us_lut_item([0, 1023, 4095], 9, 8)]},
        [0, 1023 / 4095, 1],
        id="voi-lut-entries-wider-than-declared",
    ),
    pytest.param(
        [10, 11, 12],
        {"VOILUTSequence": [lut_item([0, 51, 255], first_mapped=10, bits=8)], "window": (11, 2)},
        [0, 0.2, 1],
        id="voi-lut-before-window",
    ),
    pytest.param(
        [10, 11, 12],
        {
            "VOILUTSequence": [
                lut_item([0, 51, 255], first_mapped=10, bits=8),
                lut_item([255, 51, 0], first_mapped=10, bits=8),
            ]
        },
        [0, 0.2, 1],
        id="several-voi-luts-the-first",
    ),
    pytest.param(
        [0, 1, 2],
        {
            "rescale": (1, -2),
            "VOILUTSequence": [lut_item([0, 51, 255], first_mapped=-2, bits=8)],
        },
        [0, 0.2, 1],
        id="voi-lut-below-zero-after-rescale",
    ),
    pytest.param(
        [0, 1, 2, 3],
        {"VOILUTSequence": [lut_item([255, 204, 51, 0], bits=8)], **M1},
        [0, 0.2, 0.8, 1],
        id="voi-lut-that-falls-with-monochrome1",
    ),
]

POLARITY = [
    pytest.param([0, 1024, 4095], {**FULL_12, **M1}, [1, 3071 / 4095, 0], id="monochrome1"),
    pytest.param(
        [0, 1024, 4095],
        {**FULL_12, "presentation_lut_shape": "INVERSE"},
        [1, 3071 / 4095, 0],
        id="monochrome2-inverse",
    ),
    pytest.param(
        [0, 1024, 4095],
        {**FULL_12, **M1, "presentation_lut_shape": "INVERSE"},
        [1, 3071 / 4095, 0],
        id="monochrome1-inverse-is-one-inversion",
    ),
    pytest.param(
        [0, 1024, 4095],
        {**FULL_12, "presentation_lut_shape": "IDENTITY"},
        [0, 1024 / 4095, 1],
        id="monochrome2-identity",
    ),
    pytest.param(
        [0, 1000, 2000],
        {**EXACT_100, **M1},
        [1, 0, 0],
        id="inverted-within-the-window-not-within-the-picture",
    ),
]

BITS = [
    pytest.param(
        [0, 51, 255], {"bits_stored": 8, "window": (128, 256)}, [0, 0.2, 1], id="8-bit"
    ),
    pytest.param([0, 341, 1023], {"bits_stored": 10, "window": (512, 1024)}, [0, 1 / 3, 1], id="10-bit"),
    pytest.param([0, 5461, 16383], {"bits_stored": 14, "window": (8192, 16384)}, [0, 1 / 3, 1], id="14-bit"),
    pytest.param([0, 4681, 32767], {"bits_stored": 15, "window": (16384, 32768)}, [0, 1 / 7, 1], id="15-bit"),
    pytest.param([0, 13107, 65535], {"bits_stored": 16, "window": (32768, 65536)}, [0, 0.2, 1], id="16-bit"),
    pytest.param(
        [0, 51, 255],
        {"bits_stored": 8, "bits_allocated": 16, "window": (128, 256)},
        [0, 0.2, 1],
        id="8-bit-in-16",
    ),
    pytest.param(
        [-2048, -1024, 0, 2047],
        {"pixel_representation": 1, "window": (0, 4096)},
        [0, 1024 / 4095, 2048 / 4095, 1],
        id="12-bit-signed",
    ),
    pytest.param(
        [-128, -77, 127],
        {"pixel_representation": 1, "bits_stored": 8, "window": (0, 256)},
        [0, 0.2, 1],
        id="8-bit-signed",
    ),
    pytest.param(
        [-32768, -19661, 32767],
        {"pixel_representation": 1, "bits_stored": 16, "window": (0, 65536)},
        [0, 0.2, 1],
        id="16-bit-signed",
    ),
    pytest.param(
        [0, 1024, 4095], {"high_bit": 15, **FULL_12}, [0, 1024 / 4095, 1], id="high-bit-15-of-12"
    ),
    pytest.param(
        [-2048, 0, 2047],
        {"high_bit": 13, "pixel_representation": 1, "window": (0, 4096)},
        [0, 2048 / 4095, 1],
        id="high-bit-13-of-12-signed",
    ),
]  # fmt: skip

PADDING = [
    pytest.param(
        [0, 1024, 4095],
        {**FULL_12, **M1, "padding_value": 0},
        [0, 3071 / 4095, 0],
        id="padding-is-black",
    ),
    pytest.param(
        [0, 15, 30, 31, 4095],
        {**FULL_12, **M1, "padding_value": 0, "padding_range_limit": 30},
        [0, 0, 0, 4064 / 4095, 0],
        id="padding-range-inclusive",
    ),
    pytest.param(
        [0, 31, 4095],
        {**FULL_12, **M1, "padding_value": 30, "padding_range_limit": 0},
        [0, 4064 / 4095, 0],
        id="padding-range-from-above",
    ),
    pytest.param(
        [-2000, -1000, 2047],
        {**M1, "pixel_representation": 1, "window": (0, 4096), "padding_value": -2000},
        [0, 3047 / 4095, 0],
        id="padding-signed",
    ),
]

STRETCH = [
    pytest.param([10, 15, 20], {}, [0, 0.5, 1], id="no-voi-stretches"),
    pytest.param([10, 15, 20], M1, [1, 0.5, 0], id="no-voi-monochrome1"),
    pytest.param([10, 15, 20], {"window": (15, 0)}, [0, 0.5, 1], id="window-without-width-is-passed-over"),
    pytest.param(
        [10, 15, 20],
        {"window": (15, 0.5)},
        [0, 0.5, 1],
        id="linear-window-narrower-than-1-is-passed-over",
    ),
    pytest.param([0, 10, 15, 20], {"padding_value": 0}, [0, 0, 0.5, 1], id="stretch-without-padding"),
    pytest.param([10, 15, 20], {"rescale": (-1, 0)}, [1, 0.5, 0], id="stretch-after-rescale"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "header", "expected"),
    [*WINDOWS, *MODALITY, *VOI_LUTS, *POLARITY, *BITS, *PADDING, *STRETCH],
)
def test_normalised_values(
    stored: list[int], header: dict, expected: list[float], spec: PreprocessingSpec
) -> None:
    frame = normalise_frame(make_instance(pixels=np.array([stored]), **header), spec)

    assert frame.pixels.dtype == np.float32
    np.testing.assert_allclose(frame.pixels[0], expected, rtol=0, atol=1e-6)


def test_percentiles_are_those_of_the_recipe() -> None:
    # 200 values, once each: 25 % are at or below 49, 25 % at or above 150.
    ramp = make_instance(pixels=np.arange(200).reshape(10, 20))

    frame = normalise_frame(ramp, PreprocessingSpec(stretch_percentiles=(25.0, 75.0)))

    assert (frame.record.stretch_low, frame.record.stretch_high) == (49, 150)
    assert frame.pixels[2, 9] == 0.0  # 49
    assert frame.pixels[4, 19] == pytest.approx(50 / 101)  # 99
    assert frame.pixels[7, 10] == 1.0  # 150


def test_percentiles_that_coincide_give_way_to_the_extremes(spec: PreprocessingSpec) -> None:
    mostly_empty = np.zeros((100, 100), dtype=np.uint16)
    mostly_empty[0, 0] = 1000

    record = normalise_frame(make_instance(pixels=mostly_empty), spec).record

    assert (record.stretch_low, record.stretch_high) == (0, 1000)
