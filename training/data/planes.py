"""The cache: every image decoded once into one memory-mapped file of grey planes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from training.data.decoding import decode_plane
from training.data.files import complete_or_absent, os_errors_as
from training.data.pool import Pool, Skipped
from training.data.radiograph import ProgressCallback, Radiograph, fingerprint, ignore_progress
from worker.errors import Rejected, Resource
from worker.imaging.preprocessing import PreprocessingSpec

PLANES, UNREADABLE = "planes-{}.npy", "unreadable-{}.json"
_AT_ONCE = 64
"""Images decoded between two writes: bounds the memory, and Ctrl-C waits for no more."""
_MOST_THREADS = 8
_os_errors = partial(
    os_errors_as, "CACHE_NOT_WRITTEN", "The decoded images", when_full="NO_SPACE_LEFT"
)


def load_pool(
    pool: Pool,
    spec: PreprocessingSpec,
    cache: Path,
    *,
    strict: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[Pool, np.ndarray]:
    """The pool less what cannot be decoded, and its planes uint8 (n, S, S), memory-mapped.

    Decodes at the first call only, in one process at a time. Raises Rejected (with `strict` at the
    first file that cannot be decoded; TRAINING_DATA_EMPTY where nothing of a class is left),
    Resource (NO_SPACE_LEFT, CACHE_NOT_WRITTEN).
    """
    failures = _known_failures(pool.radiographs, spec, cache)
    if failures is None:
        with _one_at_a_time(cache):
            failures = _known_failures(pool.radiographs, spec, cache)
            if failures is None:
                failures = _decode_all(
                    pool.root, pool.radiographs, spec, cache, strict=strict, on_progress=on_progress
                )
    for failure in failures.values() if strict else ():
        raise failure.as_error()
    readable = pool.without(failures.keys(), tuple(failures.values()))
    readable.require_both_classes(lambda _: "files that can be decoded")
    return readable, np.load(_path(cache, PLANES, readable.radiographs, spec), mmap_mode="r")


def _path(
    cache: Path, name: str, radiographs: Sequence[Radiograph], spec: PreprocessingSpec
) -> Path:
    """PLANES or UNREADABLE of these images by this recipe."""
    key = hashlib.sha256(f"{fingerprint(radiographs)} {spec.to_json()}".encode()).hexdigest()
    return cache / name.format(key[:16])


def _known_failures(
    radiographs: Sequence[Radiograph], spec: PreprocessingSpec, cache: Path
) -> dict[int, Skipped] | None:
    """Row -> why an earlier call could not decode it; None if there was no such call."""
    if _path(cache, PLANES, radiographs, spec).exists():
        return {}
    record = _path(cache, UNREADABLE, radiographs, spec)
    if not record.exists():
        return None
    failures = {
        row: Skipped(shown_as=radiographs[row].shown_as, code=code, sentence=sentence)
        for row, code, sentence in json.loads(record.read_text())
    }
    rest = [r for row, r in enumerate(radiographs) if row not in failures]
    return failures if not rest or _path(cache, PLANES, rest, spec).exists() else None


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    """Let a second process wait until the first has decoded, and find it done."""
    with _os_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "decoding.lock").open("ab")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _decode_all(
    root: Path,
    radiographs: Sequence[Radiograph],
    spec: PreprocessingSpec,
    cache: Path,
    *,
    strict: bool,
    on_progress: ProgressCallback,
) -> dict[int, Skipped]:
    """Write the planes of every file that can be decoded; return the others by their row.

    The planes appear under their name when they are complete; a half-written file is removed.
    Plain writes, no writing through the memory map: a full disk is an error there, a crash here.
    """
    require_space(cache, len(radiographs) * spec.size**2)
    failures: dict[int, Skipped] = {}
    with (
        _os_errors(cache),
        complete_or_absent(cache / "planes.npy") as part,
        part.open("wb") as file,
    ):
        _write_header(file, len(radiographs), spec)
        for row, plane in enumerate(_decoded(root, radiographs, spec)):
            if isinstance(plane, Rejected):
                failures[row] = Skipped.because(plane, radiographs[row].shown_as)
                if strict:
                    raise failures[row].as_error()
            else:
                file.write(plane.tobytes())
            on_progress(row + 1, len(radiographs))
        file.seek(0)
        _write_header(file, len(radiographs) - len(failures), spec)
    readable = [r for row, r in enumerate(radiographs) if row not in failures]
    with _os_errors(cache):
        (cache / "planes.npy").replace(_path(cache, PLANES, readable, spec))
        if failures:
            rows = [[row, failure.code, failure.sentence] for row, failure in failures.items()]
            _path(cache, UNREADABLE, radiographs, spec).write_text(json.dumps(rows))
    return failures


def _write_header(file: BinaryIO, count: int, spec: PreprocessingSpec) -> None:
    """The header of uint8 (count, S, S); NumPy pads it so that its length does not depend on `count`."""
    shape = (count, spec.size, spec.size)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )


def _decoded(
    root: Path, radiographs: Sequence[Radiograph], spec: PreprocessingSpec
) -> Iterator[np.ndarray | Rejected]:
    """One plane, or the reason why there is none, for each image in its order."""

    def decode(radiograph: Radiograph) -> np.ndarray | Rejected:
        try:
            return decode_plane(root / radiograph.path, radiograph.encoding, spec)
        except Rejected as reason:
            return reason

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        for start in range(0, len(radiographs), _AT_ONCE):
            yield from threads.map(decode, radiographs[start : start + _AT_ONCE])


def require_space(folder: Path, needed: int) -> None:
    """Raise Resource("NO_SPACE_LEFT") if the disk of `folder` has not `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Resource(
            "NO_SPACE_LEFT",
            f"The decoded images need {_megabytes(needed)} in the folder {folder.name}, whose disk "
            f"has {_megabytes(free)} free; free some, or choose a folder on another disk.",
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def plane_batches(planes: np.ndarray, size: int) -> Iterator[torch.Tensor]:
    """The planes uint8 (n, S, S) as tensors uint8 (b, 1, S, S) of at most `size` images, in order."""
    for start in range(0, len(planes), size):
        yield torch.from_numpy(np.array(planes[start : start + size]))[:, None]
