"""A real child process: the same frame to the bit, the same refusals, and an end when it takes too long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless

from tests.builders.dicom import make_instance, write_instance
from worker.errors import Bug
from worker.imaging import guarded_decoding
from worker.imaging.decode_budget import BYTES_PER_PIXEL, DecodeBudget, DecodeLimits
from worker.imaging.guarded_decoding import is_costly, normalise_in_child
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance

SPEC = PreprocessingSpec(stretch_percentiles=(1.0, 99.0))
LONG = 120.0
"""Seconds; a busy machine takes some to start Python and to import torch."""


def test_a_frame_is_the_same_to_the_bit(tmp_path: Path) -> None:
    frames = np.stack([make_instance(seed=seed).pixel_array for seed in (1, 2)])
    path = write_instance(tmp_path / "a.dcm", pixels=frames, transfer_syntax=JPEG2000Lossless)
    here = normalise_frame(read_dataset(path), SPEC, 2)
    there = normalise_in_child(path, SPEC, 2, within_s=LONG)
    assert np.array_equal(here.pixels, there.pixels)
    assert there.pixels.dtype == np.float32
    assert here.record == there.record
    there.pixels[0, 0] = 0.5  # nobody else holds it


def test_a_refusal_comes_back_as_it_is(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "a.dcm", pixels=np.full((160, 160), 7, np.uint16))
    with pytest.raises(RefusedInstance) as here:
        normalise_frame(read_dataset(path), SPEC)
    with pytest.raises(RefusedInstance) as there:
        normalise_in_child(path, SPEC, within_s=LONG)
    assert here.value.refusal == there.value.refusal


def test_the_limits_of_the_parent_are_those_of_the_child(tmp_path: Path, monkeypatch) -> None:
    path = write_instance(tmp_path / "a.dcm")
    room = 160 * 144 * BYTES_PER_PIXEL
    for spare, fits in ((0, True), (-1, False)):
        limits = DecodeLimits(frame_bytes=room + spare, process_bytes=room)
        monkeypatch.setattr(guarded_decoding, "PROCESS_BUDGET", DecodeBudget(limits))
        if fits:
            normalise_in_child(path, SPEC, within_s=LONG)
        else:
            with pytest.raises(RefusedInstance, match="FRAME_TOO_LARGE"):
                normalise_in_child(path, SPEC, within_s=LONG)


def test_a_file_that_is_not_there_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        normalise_in_child(tmp_path / "absent.dcm", SPEC, within_s=LONG)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_instance(tmp_path / "plain.dcm")


@pytest.fixture
def child_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Put a program of the test's in the place of the child's; its process id goes to a file."""

    def install(body: str) -> Path:
        program, pid = tmp_path / "child.py", tmp_path / "pid"
        program.write_text(
            f"import os, pathlib\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
            + textwrap.dedent(body)
        )
        original = subprocess.run

        def run(_command: list[str], **options: object) -> object:
            return original([sys.executable, str(program)], **options)

        monkeypatch.setattr(guarded_decoding.subprocess, "run", run)
        return pid

    return install


def test_a_decoder_that_hangs_is_ended_and_its_instance_refused(child_that, plain) -> None:
    pid = child_that("import time\ntime.sleep(3600)")
    with pytest.raises(
        RefusedInstance, match=r"not decoded within 3 seconds.*PNEUMO_DECODE_LIMIT_S"
    ) as refusal:
        normalise_in_child(plain, SPEC, within_s=3)
    assert refusal.value.code == "DECODE_TIMEOUT"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_decoder_that_dies_of_what_it_read_refuses_its_instance(
    name: str, child_that, plain
) -> None:
    child_that(f"import os, signal\nos.kill(os.getpid(), signal.{name})")
    with pytest.raises(RefusedInstance, match=f"decoder's process with {name}") as refusal:
        normalise_in_child(plain, SPEC, within_s=LONG)
    assert refusal.value.code == "DECODER_CRASHED"


def test_a_child_that_is_killed_from_outside_is_the_machines_fault(child_that, plain) -> None:
    child_that("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(MemoryError):
        normalise_in_child(plain, SPEC, within_s=LONG)


def test_a_child_that_fails_otherwise_is_our_fault(child_that, plain) -> None:
    child_that("raise SystemExit(3)")
    with pytest.raises(Bug, match=r"DECODER_PROCESS_FAILED: .* exit code 3"):
        normalise_in_child(plain, SPEC, within_s=LONG)


def test_a_child_without_parent_is_ended_by_the_kernel(tmp_path: Path) -> None:
    """SIGXCPU after `cpu_s` seconds of its own work, whoever waits for it."""
    path = write_instance(tmp_path / "a.dcm")
    request = {"path": str(path), "frame_number": 1, "spec": SPEC.to_json(), "cpu_s": 1}
    request["limits"] = asdict(DecodeLimits())
    program = (
        "from worker.imaging import guarded_decoding as g\n"
        "def spin(*_):\n    while True: pass\n"
        "g.read_dataset = spin\ng._child()"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        timeout=LONG,
        check=False,
    )
    assert -child.returncode == signal.SIGXCPU


@pytest.mark.parametrize(
    ("rows", "columns", "costly"), [(4300, 3500, False), (12_000, 4_000, True), (None, 9, False)]
)
def test_what_is_costly(rows: int | None, columns: int, costly: bool, tmp_path: Path) -> None:
    header = read_header(write_instance(tmp_path / "a.dcm"))
    assert is_costly(replace(header, rows=rows, columns=columns)) is costly
