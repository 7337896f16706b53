"""What was done to a frame, kept beside every prediction made from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NormalisationRecord:
    """Everything needed to do it again; holds numbers and defined terms only."""

    decoder: str
    """Which decoder gave the stored values."""
    frame_number: int
    """Counted from 1."""
    bits_stored: int
    """(0028,0101)."""
    signed: bool
    """(0028,0103)."""
    stored_min: int
    """Least stored value outside padding and shutter."""
    stored_max: int
    """Greatest stored value outside padding and shutter."""
    padding_value: int | None
    """Least stored value that counts as padding; None without padding."""
    padding_range_limit: int | None
    """Greatest stored value that counts as padding."""
    modality: str
    """"identity", "rescale" or "lut_sequence"."""
    rescale_slope: float | None
    """With "rescale"."""
    rescale_intercept: float | None
    """With "rescale"."""
    voi: str
    """"window", "voi_lut_sequence" or "percentile_stretch"."""
    voi_passed_over: str | None
    """Why a window or LUT that is there was not used."""
    window_center: float | None
    """With "window"."""
    window_width: float | None
    """With "window"."""
    function: str | None
    """LINEAR, LINEAR_EXACT or SIGMOID, with "window"."""
    windows_present: int
    """Of several, the first is used."""
    voi_luts_present: int
    """Of several, the first is used."""
    stretch_low: float | None
    """Modality value that became 0, with "percentile_stretch"."""
    stretch_high: float | None
    """Modality value that became 1, with "percentile_stretch"."""
    photometric_interpretation: str
    """(0028,0004)."""
    presentation_lut_shape: str | None
    """(2050,0020)."""
    inverted: bool
    """Whether the picture was turned over after VOI."""
    shutter_shape: str | None
    """(0018,1600) as applied; a pixel outside one of several shapes is covered."""
    shutter_geometry: str | None
    """The numbers of those shapes, in the order of their elements' tags."""
    shutter_presentation_value: int | None
    """(0018,1622) of the covered pixels, 0 to 65535; 0 where it is absent."""
    shutter_covered_pixels: int | None
    """How many pixels lie outside the shutter."""
    shutter_passed_over: str | None
    """Why a shutter that is there was not used."""
    patient_orientation: str | None
    """(0020,0020), of the picture as it is stored."""
    reorientation: str | None
    """How the picture was turned, of "transposed", "mirrored", "upended", in this order; None: not."""
    decimal_commas: str | None
    """Keywords of the elements in which a comma was read as a point, with blanks between."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able values."""
        return dataclasses.asdict(self)
