"""The cache: every image decoded once into one memory-mapped file of grey planes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from training.data.decoding import decode_plane
from training.data.found import Skipped, require_both_classes
from training.data.pool import Pool
from training.data.radiograph import Radiograph, Tell, fingerprint, silent
from worker.errors import Rejected, Resource
from worker.imaging.preprocessing import PreprocessingSpec

_AT_ONCE = 64
"""Images decoded between two writes: bounds the memory, and Ctrl-C waits for no more."""
_MOST_THREADS = 8
_HEADER_BYTES = 128
"""Of the .npy file; its shape is filled in at the end, when it is known how many were readable."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def load_pool(
    pool: Pool, spec: PreprocessingSpec, cache: Path, *, strict: bool = False, tell: Tell = silent
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
                    pool.root, pool.radiographs, spec, cache, strict=strict, tell=tell
                )
    for failure in failures.values() if strict else ():
        raise failure.as_error()
    readable = pool.without(failures.keys(), tuple(failures.values()))
    require_both_classes(
        readable.radiographs, readable.skipped, expected=lambda _: "files that can be decoded"
    )
    return readable, np.load(_planes_path(readable.radiographs, spec, cache), mmap_mode="r")


def load_planes(
    root: Path,
    radiographs: Sequence[Radiograph],
    spec: PreprocessingSpec,
    cache: Path,
    *,
    tell: Tell = silent,
) -> np.ndarray:
    """Planes uint8 (n, S, S) in the order of `radiographs`, as `load_pool` with `strict`."""
    path = _planes_path(radiographs, spec, cache)
    if not path.exists():
        with _one_at_a_time(cache):
            if not path.exists():
                _decode_all(root, radiographs, spec, cache, strict=True, tell=tell)
    return np.load(path, mmap_mode="r")


def _planes_path(radiographs: Sequence[Radiograph], spec: PreprocessingSpec, cache: Path) -> Path:
    return cache / f"planes-{_key(radiographs, spec)}.npy"


def _failures_path(radiographs: Sequence[Radiograph], spec: PreprocessingSpec, cache: Path) -> Path:
    return cache / f"unreadable-{_key(radiographs, spec)}.json"


def _key(radiographs: Sequence[Radiograph], spec: PreprocessingSpec) -> str:
    return hashlib.sha256(f"{fingerprint(radiographs)} {spec.to_json()}".encode()).hexdigest()[:16]


def _known_failures(
    radiographs: Sequence[Radiograph], spec: PreprocessingSpec, cache: Path
) -> dict[int, Skipped] | None:
    """Row -> why it could not be decoded, from an earlier call; None if there was none."""
    if _planes_path(radiographs, spec, cache).exists():
        return {}
    record = _failures_path(radiographs, spec, cache)
    if not record.exists():
        return None
    failures = {
        row: Skipped(shown_as=radiographs[row].shown_as, code=code, sentence=sentence)
        for row, code, sentence in json.loads(record.read_text())
    }
    rest = [r for row, r in enumerate(radiographs) if row not in failures]
    return failures if not rest or _planes_path(rest, spec, cache).exists() else None


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    """Let a second process wait until the first has decoded, and find it done."""
    with _told_as_resource(cache):
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
    tell: Tell,
) -> dict[int, Skipped]:
    """Write the planes of every file that can be decoded; gives the others by their row.

    The planes appear under their name when they are complete; a half-written file is removed.
    Plain writes, no writing through the memory map: a full disk is an error there, a crash here.
    """
    require_space(cache, len(radiographs) * spec.size**2)
    failures: dict[int, Skipped] = {}
    part = cache / "planes.part"
    try:
        with _told_as_resource(cache), part.open("wb") as file:
            file.write(bytes(_HEADER_BYTES))
            for row, plane in enumerate(_decoded(root, radiographs, spec)):
                if isinstance(plane, Rejected):
                    failures[row] = Skipped(
                        shown_as=radiographs[row].shown_as, code=plane.code, sentence=plane.sentence
                    )
                    if strict:
                        raise failures[row].as_error()
                else:
                    file.write(plane.tobytes())
                tell(row + 1, len(radiographs))
            file.seek(0)
            file.write(_npy_header(len(radiographs) - len(failures), spec.size))
            file.flush()
            os.fsync(file.fileno())
        readable = [r for row, r in enumerate(radiographs) if row not in failures]
        part.replace(_planes_path(readable, spec, cache))
    finally:
        part.unlink(missing_ok=True)
    if failures:
        rows = [[row, failure.code, failure.sentence] for row, failure in failures.items()]
        with _told_as_resource(cache):
            _failures_path(radiographs, spec, cache).write_text(json.dumps(rows))
    return failures


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


def _npy_header(count: int, size: int) -> bytes:
    """The first 128 bytes of a .npy file, version 1.0, of uint8 (count, size, size)."""
    said = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {size}, {size}), }}"
    body = said.ljust(_HEADER_BYTES - 11).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def require_space(folder: Path, needed: int) -> None:
    """Raise Resource("NO_SPACE_LEFT") if the disk of `folder` has not `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Resource(
            "NO_SPACE_LEFT",
            f"The decoded images need {_megabytes(needed)} in the folder {folder.name}, whose disk "
            f"has {_megabytes(free)} free; free some, or choose a folder on another disk.",
        )


@contextmanager
def _told_as_resource(cache: Path) -> Iterator[None]:
    """Turn an OSError of writing into Resource."""
    try:
        yield
    except OSError as error:
        full = error.errno in _NO_SPACE
        raise Resource(
            "NO_SPACE_LEFT" if full else "CACHE_NOT_WRITTEN",
            f"The decoded images could not be written into the folder {cache.name}: "
            f"{error.strerror}. Nothing half-written was kept; "
            f"{'free some space' if full else 'check its rights'}, or choose another folder.",
        ) from None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
