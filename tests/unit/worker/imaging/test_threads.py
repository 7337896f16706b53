"""What threads share gives each of them what one thread alone gets, to the bit."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydicom.uid import UID, JPEGBaseline8Bit

from tests.builders.dicom import ALL_SYNTAXES, make_instance
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.reading import read_dataset, read_header

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
SPEC = PreprocessingSpec()


def file_of(syntax: UID, seed: int) -> bytes:
    buffer = io.BytesIO()
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    dataset = make_instance(seed=seed, transfer_syntax=syntax, bits_stored=bits)
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(content: bytes) -> tuple[object, np.ndarray, np.ndarray]:
    """Everything that is made of a file before the network sees it."""
    frame = normalise_frame(read_dataset(io.BytesIO(content)), SPEC)
    tensor = preprocess(frame.pixels, SPEC)
    return (read_header(io.BytesIO(content)), frame.record), frame.pixels, tensor.numpy()


def test_eight_threads_read_every_syntax_as_one_thread_does() -> None:
    files = [file_of(syntax, seed) for seed in (1, 2) for syntax in ALL_SYNTAXES]
    alone = [read(content) for content in files]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(read, files * 3))
    assert len({pixels.tobytes() for _, pixels, _ in alone}) > 2
    for (words, *arrays), (same_words, *same) in zip(alone * 3, together, strict=True):
        assert words == same_words
        assert all(np.array_equal(one, other) for one, other in zip(arrays, same, strict=True))
