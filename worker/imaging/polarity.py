"""The one place that decides whether a picture is turned over, after VOI and never before."""

from __future__ import annotations

from pydicom.dataset import Dataset

from worker.imaging.header_values import code_string, is_unreadable
from worker.imaging.refusals import Step
from worker.imaging.unreadable import element_unreadable

_SHAPES = frozenset({"IDENTITY", "INVERSE"})


def presentation_lut_shape(dataset: Dataset) -> str | None:
    """(2050,0020): one of its two defined terms, or None if it is absent.

    Raises RefusedInstance ELEMENT_UNREADABLE: any other value leaves open which end is white.
    """
    shape = code_string(dataset, "PresentationLUTShape")
    if is_unreadable(dataset, "PresentationLUTShape") or shape not in {None, *_SHAPES}:
        raise element_unreadable(
            "PresentationLUTShape", expected="IDENTITY or INVERSE", step=Step.NORMALISE
        )
    return shape


def is_inverted(photometric_interpretation: str, shape: str | None) -> bool:
    """Return whether the VOI's output must be turned over so that dense tissue is white.

    MONOCHROME1 shows its least value white (PS3.3 C.7.6.3.1.2). INVERSE says the same again: DX
    demands it of every MONOCHROME1 image (C.8.11.3.1.2), so both together are one inversion. A
    MONOCHROME1 image that says IDENTITY contradicts itself; the pixels' own element wins.
    """
    return photometric_interpretation == "MONOCHROME1" or shape == "INVERSE"
