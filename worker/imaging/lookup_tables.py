"""The LUT items of Modality LUT Sequence and VOI LUT Sequence (PS3.3 C.11.1.1.1 and C.11.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import numbers, value_of, values_of


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupTable:
    """Whole numbers in, entries out; what lies outside takes the first or the last entry."""

    first_mapped: int
    """The input value of entry 0."""
    entries: np.ndarray
    """float64 (entries,), whole numbers in [0, 2**bits - 1]."""
    bits: int
    """Bits per entry as declared, or as many as the entries need if they exceed them."""

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Entries for float64 inputs of any shape; inputs are rounded half up first."""
        index = np.floor(inputs - self.first_mapped + 0.5)
        return self.entries[np.clip(index, 0, len(self.entries) - 1).astype(np.intp)]


def lookup_table(
    item: Dataset, *, signed_input: bool, little_endian: bool = True
) -> LookupTable | None:
    """Read the table of one item of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1.1, C.11.2.1.1).

    Args:
        item: The item, with LUT Descriptor and LUT Data.
        signed_input: Whether the values looked up can be negative; the second descriptor value is
            US or SS accordingly, and writers get that wrong.
        little_endian: Byte order of LUT Data where it is bytes.

    Returns:
        The table; None if descriptor and data do not fit together.
    """
    descriptor = numbers(item, "LUTDescriptor")
    data = value_of(item, "LUTData")
    if len(descriptor) != 3 or data is None or not all(map(_is_word, descriptor)):
        return None
    count = (int(descriptor[0]) & 0xFFFF) or 65_536  # 0 means 2**16
    first, bits = int(descriptor[1]), int(descriptor[2])
    if signed_input and first > 0x7FFF:
        first -= 0x1_0000
    if not signed_input and first < 0:
        first += 0x1_0000
    entries = _entries(data, count, little_endian=little_endian)
    if entries is None or not 1 < bits <= 16:
        return None
    needed = int(entries.max()).bit_length()
    return LookupTable(
        first_mapped=first, entries=entries.astype(np.float64), bits=max(bits, needed)
    )


def _entries(data: object, count: int, *, little_endian: bool) -> np.ndarray | None:
    """`count` unsigned entries; 8-bit entries may be packed two to a word (C.11.1.1.1, note)."""
    order = "<" if little_endian else ">"
    if isinstance(data, bytes):
        raw = data
    else:
        words = values_of(data)
        if not all(isinstance(word, int) and _is_word(word) for word in words):
            return None
        raw = (np.asarray(words, dtype=np.int64) & 0xFFFF).astype(f"{order}u2").tobytes()
    if len(raw) >= 2 * count:
        return np.frombuffer(raw, dtype=f"{order}u2", count=count)
    if len(raw) >= count:
        return np.frombuffer(raw, dtype=np.uint8, count=count)
    return None


def _is_word(value: float) -> bool:
    """Return whether this is what US or SS can hold; infinity and no number are not."""
    return -0x8000 <= value <= 0xFFFF and value == int(value)
