"""A frame decoded in a process of its own, which can be ended: a thread in a decoder's C code cannot.

For frames that may cost too much, or that may have killed a worker before. The child is this module run by
the interpreter; a request goes in as JSON, and one line of JSON and the pixels come back.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import Bug
from worker.imaging.decode_budget import PROCESS_BUDGET, DecodeLimits
from worker.imaging.header import InstanceHeader
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.pixels import NormalisedFrame, normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import Refusal, RefusedInstance, Step, refused
from worker.logging import configure_logging

COSTLY_PIXELS = 40_000_000
"""A frame with more is decoded in a process of its own in any lane; detectors have up to 20 million."""
_PIXEL_DATA = "(7FE0,0010) Pixel Data"
_DECODERS_FAULT = {
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS,
}  # fmt: skip
"""Signals that a process brings upon itself; SIGKILL comes from outside, mostly for want of memory."""


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What the child is asked for."""

    path: str
    frame_number: int
    spec: str
    """PreprocessingSpec as JSON."""
    limits: dict[str, int]
    """DecodeLimits of the parent."""
    cpu_s: int
    """After so many seconds of its own work the kernel ends the child, should its parent be gone."""


def is_costly(header: InstanceHeader) -> bool:
    """Whether decoding a frame of this instance may take long enough to need a time limit."""
    return (header.rows or 0) * (header.columns or 0) > COSTLY_PIXELS


def normalise_in_child(
    path: Path, spec: PreprocessingSpec, frame_number: int = 1, *, within_s: float
) -> NormalisedFrame:
    """As `normalise_frame(read_dataset(path), spec, frame_number)`, to the bit, but it ends in time.

    Raises RefusedInstance: theirs, DECODE_TIMEOUT after `within_s` seconds, DECODER_CRASHED if the child
    died of what it read. MemoryError if it was killed or found too little memory, OSError of the file, Bug
    DECODER_PROCESS_FAILED.
    """
    request = _Request(
        path=str(path),
        frame_number=frame_number,
        spec=spec.to_json(),
        limits=asdict(PROCESS_BUDGET.limits),
        cpu_s=math.ceil(within_s) + 1,
    )
    header = read_header(path)
    with PROCESS_BUDGET.reserved((header.rows or 0) * (header.columns or 0)):
        return _ask(request, within_s)


def _ask(request: _Request, within_s: float) -> NormalisedFrame:
    try:
        child = subprocess.run(  # noqa: S603  our own interpreter and module
            [sys.executable, "-m", __name__],
            input=json.dumps(asdict(request)).encode(),
            stdout=subprocess.PIPE,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _timeout(within_s) from None
    if child.returncode != 0:
        raise _died(child.returncode, within_s)
    end_of_line = child.stdout.index(b"\n")
    return _answer(json.loads(child.stdout[:end_of_line]), child.stdout, end_of_line + 1)


def _answer(said: dict[str, Any], content: bytes, start: int) -> NormalisedFrame:
    """The frame, whose pixels begin at `start` of the content, or what kept the child from making it."""
    if "refusal" in said:
        raise RefusedInstance(Refusal(**{**said["refusal"], "step": Step(said["refusal"]["step"])}))
    if "errno" in said:
        raise OSError(said["errno"], "the file cannot be read")
    if "memory" in said:
        raise MemoryError
    pixels = np.frombuffer(content, dtype=np.float32, offset=start)
    return NormalisedFrame(
        pixels=pixels.reshape(said["shape"]).copy(),  # bytes cannot be written to
        record=NormalisationRecord(**said["record"]),
    )


def _died(returncode: int, within_s: float) -> Exception:
    """Why a child ended without an answer: of the signal with the number -returncode, or by itself."""
    number = -returncode
    if number == signal.SIGXCPU:
        return _timeout(within_s)
    if number in _DECODERS_FAULT:
        return refused(
            "DECODER_CRASHED",
            step=Step.DECODE,
            tag=_PIXEL_DATA,
            found=f"pixel data that end their decoder's process with {signal.Signals(number).name}",
            expected="pixel data in their transfer syntax",
            advice="Send the instance again, or uncompressed.",
        )
    if number > 0:
        return MemoryError("the decoding process was killed")
    return Bug(
        "DECODER_PROCESS_FAILED",
        f"The decoding process ended with exit code {returncode} and gave no frame. Look at the worker's "
        "log, mend the cause, then run `pneumo retry`.",
    )


def _timeout(within_s: float) -> RefusedInstance:
    return refused(
        "DECODE_TIMEOUT",
        step=Step.DECODE,
        tag=_PIXEL_DATA,
        found=f"pixel data that were not decoded within {within_s:g} seconds",
        expected="a frame that is decoded in time",
        advice="Send the instance uncompressed; if this machine is slow, raise PNEUMO_DECODE_LIMIT_S.",
    )


def _child() -> None:
    """Read a request, answer it. What nobody foresaw was refused by the boundaries below."""
    configure_logging()
    request = _Request(**json.load(sys.stdin))
    PROCESS_BUDGET.limit(DecodeLimits(**request.limits))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # At the soft limit comes SIGXCPU, which ends a process that does not handle it; at the hard one SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_s, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the picture
    pixels = b""
    said: dict[str, Any]
    try:
        dataset = read_dataset(request.path)
        frame = normalise_frame(
            dataset, PreprocessingSpec.from_json(request.spec), request.frame_number
        )
        said = {"shape": frame.pixels.shape, "record": frame.record.to_dict()}
        pixels = frame.pixels.tobytes()
    except RefusedInstance as error:
        said = {"refusal": asdict(error.refusal)}
    except MemoryError:
        said = {"memory": "too little"}
    except OSError as error:
        said = {"errno": error.errno}
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + pixels)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _child()
