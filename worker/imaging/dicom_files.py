"""Bytes to a pydicom dataset, whatever is missing at the start of the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from worker.imaging.deflated import is_deflated, read_deflated
from worker.imaging.refusals import RefusedInstance, Step, refused
from worker.imaging.signatures import HEAD, file_kind
from worker.imaging.unreadable import unreadable

Source = Path | str | BinaryIO

_PREAMBLE = 128
_FIRST_GROUPS = {0x0002, 0x0008}
"""A file without preamble starts with its file meta (0002) or with the instance's first group."""


def open_dataset(source: Source, **options: Any) -> FileDataset:
    """Return the dataset of a path or of a binary file at its start; always with a transfer syntax.

    `options`: `stop_before_pixels` and `specific_tags` of `pydicom.dcmread`. Raises RefusedInstance
    NOT_DICOM, ARCHIVE_NOT_UNPACKED, HEADER_UNREADABLE, DEFLATED_TOO_LARGE, and OSError.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return _read(file, **options)
    return _read(source, **options)


def _read(file: BinaryIO, **options: Any) -> FileDataset:
    """As pydicom advises: force=True only where the file looks like DICOM without preamble."""
    if not looks_like_dicom(file):
        raise _not_dicom(file)
    try:
        if is_deflated(file):
            return read_deflated(file, **options)
        return _with_transfer_syntax(pydicom.dcmread(file, force=True, **options))
    except (RefusedInstance, MemoryError):
        raise
    except OSError as error:
        if error.errno is None:  # pydicom's own, of a sequence that cannot be parsed
            raise _unparsable() from None
        raise
    except Exception:  # noqa: BLE001  pydicom raises of every kind, and quotes values in the text
        raise _unparsable() from None


def _not_dicom(file: BinaryIO) -> RefusedInstance:
    """Name what the file is, if its signature says so: an archive may hold images, and is not passed over."""
    start = file.tell()
    kind = file_kind(file.read(HEAD))
    file.seek(start)
    nothing = "neither a DICOM preamble nor a first element that could be one"
    is_archive = kind is not None and kind.is_archive
    return refused(
        "ARCHIVE_NOT_UNPACKED" if is_archive else "NOT_DICOM",
        step=Step.HEADER,
        found=kind.name if kind else nothing,
        expected="a DICOM file (PS3.10)",
        advice="Unpack it, and give the files or the folder that it holds."
        if is_archive
        else "Only DICOM instances can be predicted.",
    )


def _unparsable() -> RefusedInstance:
    return unreadable(found="elements that cannot be parsed", expected="a DICOM file (PS3.10)")


def _with_transfer_syntax(dataset: FileDataset) -> FileDataset:
    """Fill in the transfer syntax that pydicom found by looking, when no file meta names it."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def looks_like_dicom(file: BinaryIO) -> bool:
    """Return whether a seekable binary file has the DICM mark or starts with a plausible element.

    The file's position is where it was, afterwards.
    """
    start = file.tell()
    head = file.read(_PREAMBLE + 4)
    file.seek(start)
    return head[_PREAMBLE:] == b"DICM" or _starts_with_element(head)


def _starts_with_element(head: bytes) -> bool:
    if len(head) < 16:
        return False
    group_little, element, length = struct.unpack_from("<HHI", head)
    (group_big,) = struct.unpack_from(">H", head)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = group_little in _FIRST_GROUPS and element < 0x2000 and length < 0x1_0000
    return implicit or (explicit and not _FIRST_GROUPS.isdisjoint({group_little, group_big}))
