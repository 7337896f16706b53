"""A dataset to one normalised frame: decode, modality, VOI, polarity, shutter, then Patient Orientation.

A stored value has at most 16 bits, so the steps up to polarity together are one table of at most 65,536
entries. It is computed exactly, in float64, and applied in one pass over the full-size picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.decode_budget import PROCESS_BUDGET
from worker.imaging.decoders import decode_frame
from worker.imaging.frame_values import FrameValues
from worker.imaging.modality import Modality, modality_of
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.orientation import patient_orientation, reorientation_of_dataset
from worker.imaging.padding import is_padding, padding_range
from worker.imaging.pixel_layout import PixelLayout, pixel_layout
from worker.imaging.polarity import is_inverted, presentation_lut_shape
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.refusals import RefusedInstance, Step, refused
from worker.imaging.shutter import Shutter, shutter_of
from worker.imaging.unreadable import refuses_the_unforeseen
from worker.imaging.voi import Voi, voi_of

_ROWS_AT_ONCE = 64
"""Rows looked up at once: a block that stays in the cache is faster than the whole picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NormalisedFrame:
    """A frame that any radiograph viewer would show alike, and how it came about."""

    pixels: np.ndarray
    """float32 (H, W) in [0, 1]; white (1) where the body absorbs; padding is 0, and what a shutter
    covers is as Shutter Presentation Value says."""
    record: NormalisationRecord
    """What was done."""


@refuses_the_unforeseen(Step.NORMALISE)
def normalise_frame(
    dataset: Dataset, spec: PreprocessingSpec, frame_number: int = 1
) -> NormalisedFrame:
    """Decode one frame and bring it to [0, 1] at full resolution.

    Waits while other threads' frames fill the memory that decoding may take. Safe in many threads
    at once as long as each has its own dataset.

    Args:
        dataset: An instance with Pixel Data, from `read_dataset`.
        spec: The recipe of the model that is to see it.
        frame_number: Which frame, counted from 1.

    Returns:
        Pixels float32 (H, W) in [0, 1], and the record of what was done.

    Raises:
        RefusedInstance: Those of `decode_frame`, SHUTTER_INVALID, MODALITY_LUT_INVALID,
            WINDOW_OUT_OF_BOUNDS, CONSTANT_IMAGE, FRAME_NOT_FINITE, FRAME_TOO_LARGE, HEADER_UNREADABLE,
            ELEMENT_UNREADABLE.

    Example:
        >>> frame = normalise_frame(read_dataset(Path("a.dcm")), manifest.preprocessing)
        >>> frame.pixels.dtype, frame.record.decoder
        (dtype('float32'), 'native')
    """
    layout = pixel_layout(dataset)
    with PROCESS_BUDGET.reserved(layout.rows * layout.columns):
        return _normalised(dataset, layout, spec, frame_number)


def _normalised(
    dataset: Dataset, layout: PixelLayout, spec: PreprocessingSpec, frame_number: int
) -> NormalisedFrame:
    stored, decoder = decode_frame(dataset, frame_number)
    domain, padding = stored_domain(layout), padding_range(dataset, layout)
    shutter = shutter_of(dataset, layout)
    values = FrameValues(
        stored=stored,
        domain=domain,
        padding=is_padding(domain, padding),
        covered=shutter.covered,
    )
    extremes = _refuse_constant(values)

    modality = modality_of(dataset, signed=layout.signed)
    voi = voi_of(dataset, modality, values, spec.stretch_percentiles)
    _refuse_blank(voi.curve(modality.curve(values.possible)))
    shape = presentation_lut_shape(dataset)
    inverted = is_inverted(layout.photometric_interpretation, shape)
    reorientation = reorientation_of_dataset(dataset)

    table = transfer_table(domain, modality, voi, inverted=inverted)
    table[values.padding] = 0.0
    refuse_not_finite(table)
    pixels = look_up(table, values.index)
    if shutter.covered is not None:
        np.putmask(pixels, shutter.covered, shutter.shown_as)
    return NormalisedFrame(
        pixels=reorientation.of_picture(pixels),
        record=NormalisationRecord(
            decoder=decoder,
            frame_number=frame_number,
            stored_min=extremes[0],
            stored_max=extremes[1],
            padding_value=padding[0] if padding else None,
            padding_range_limit=padding[1] if padding else None,
            inverted=inverted,
            presentation_lut_shape=shape,
            patient_orientation=patient_orientation(dataset),
            reorientation=str(reorientation) or None,
            decimal_commas=" ".join((*modality.decimal_commas, *voi.decimal_commas)) or None,
            **_of_layout(layout),
            **_of_modality(modality),
            **_of_voi(voi),
            **_of_shutter(shutter),
        ),
    )


def stored_domain(layout: PixelLayout) -> np.ndarray:
    """float64 (256,) or (65536,): the stored value that each container, read unsigned, means."""
    every = np.arange(1 << layout.bits_allocated, dtype=layout.container)
    return every.view(f"{'i' if layout.signed else 'u'}{every.itemsize}").astype(np.float64)


def transfer_table(
    domain: np.ndarray, modality: Modality, voi: Voi, *, inverted: bool
) -> np.ndarray:
    """float32 (D,) in [0, 1]: the normalised value of each stored value in `domain` (D,)."""
    white_is_high = voi.curve(modality.curve(domain))
    return (1.0 - white_is_high if inverted else white_is_high).astype(np.float32)


def look_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """table[index] for a float32 table (D,) and unsigned positions (H, W), block by block."""
    pixels = np.empty(index.shape, dtype=np.float32)
    for top in range(0, len(index), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        # No position can lie outside; "clip" only spares numpy a copy of the output.
        np.take(table, index[rows], out=pixels[rows], mode="clip")
    return pixels


def _refuse_constant(values: FrameValues) -> tuple[int, int]:
    """A decoder that fails silently gives one grey: some GPU decoders are known for it."""
    if values.extremes is None or values.extremes[0] == values.extremes[1]:
        raise _constant(
            "one stored value in all pixels that are neither padding nor behind a shutter"
        )
    return values.extremes


def _refuse_blank(shown: np.ndarray) -> None:
    """A window or table that misses the picture leaves all black or all white."""
    if shown.min() == shown.max():
        raise _constant("one value in all pixels after modality LUT and VOI")


def refuse_not_finite(values: np.ndarray) -> None:
    """No step gives such values of a header within bounds; one such frame would spoil a whole batch."""
    if np.isfinite(values).all():
        return
    raise refused(
        "FRAME_NOT_FINITE",
        step=Step.NORMALISE,
        tag="(7FE0,0010) Pixel Data",
        found="pixels that are no finite numbers after modality LUT and VOI",
        expected="numbers from 0 to 1",
        advice="Its source must be set right.",
    )


def _constant(found: str) -> RefusedInstance:
    return refused(
        "CONSTANT_IMAGE",
        step=Step.NORMALISE,
        tag="(7FE0,0010) Pixel Data",
        found=found,
        expected="a picture",
        advice="Look at the image in a viewer; send it again.",
    )


def _of_layout(layout: PixelLayout) -> dict[str, Any]:
    return {
        "bits_stored": layout.bits_stored,
        "signed": layout.signed,
        "photometric_interpretation": layout.photometric_interpretation,
    }


def _of_modality(modality: Modality) -> dict[str, Any]:
    return {
        "modality": modality.kind,
        "rescale_slope": modality.slope,
        "rescale_intercept": modality.intercept,
    }


def _of_voi(voi: Voi) -> dict[str, Any]:
    low, high = voi.stretch or (None, None)
    return {
        "voi": voi.kind.value,
        "voi_passed_over": voi.passed_over,
        "window_center": voi.window_center,
        "window_width": voi.window_width,
        "function": voi.function,
        "windows_present": voi.windows_present,
        "voi_luts_present": voi.luts_present,
        "stretch_low": low,
        "stretch_high": high,
    }


def _of_shutter(shutter: Shutter) -> dict[str, Any]:
    applied = bool(shutter.shapes)
    return {
        "shutter_shape": "\\".join(shutter.shapes) or None,
        "shutter_geometry": "\\".join(map(str, shutter.geometry)) or None,
        "shutter_presentation_value": shutter.presentation_value if applied else None,
        "shutter_covered_pixels": shutter.covered_pixels if applied else None,
        "shutter_passed_over": shutter.passed_over,
    }
