"""What the name of a SOP class says about its instances (PS3.6 A)."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UID

from worker.imaging.header_values import integer, text

_OF_SEVERAL_FRAMES = ("Multi-frame", "Enhanced", "Angiographic", "Radiofluoroscopic")


def is_image(sop_class_uid: str) -> bool:
    """Return whether its instances are images; of a private class nobody knows, so False."""
    return "Image Storage" in UID(sop_class_uid).name


def frame_to_reference(header: Dataset, frame_number: int) -> int | None:
    """Return the frame number for a reference (PS3.3 10.3); None if it must be left out.

    Single-frame classes (CR, DX) must not be referenced by frame, however many an instance has.
    """
    name = UID(text(header, "SOPClassUID") or "").name
    several = (integer(header, "NumberOfFrames") or 1) > 1
    return frame_number if several and any(w in name for w in _OF_SEVERAL_FRAMES) else None
