"""What one image does to its worker stays with that image: its neighbours are predicted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from pydicom.uid import generate_uid
from sqlalchemy import text

from db.vocabulary.enums import Lane
from tests.builders.dicom import chest_like_pixels, make_instance, write_instance
from tests.builders.worker_runtime import (
    accept_files,
    make_settings,
    query_rows,
    random_network,
    start_runtime,
    write_bundle,
)
from worker.imaging import guarded_decoding
from worker.pipeline.process_study import ProcessingOutcome, process_study


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard")
    runtime = start_runtime(make_settings(folder / "site"), write_bundle(folder, random_network(1)))
    runtime.identity = replace(runtime.identity, lanes=(*runtime.identity.lanes, Lane.SUSPECT))
    yield runtime
    runtime.close()


def pair(tmp_path, **spoilt):
    """Two files of one study, the second spoilt."""
    uid = generate_uid()
    return (
        write_instance(tmp_path / "good.dcm", study_instance_uid=uid, seed=1),
        write_instance(tmp_path / "bad.dcm", study_instance_uid=uid, seed=2, **spoilt),
    )


def instances(runtime, key):
    return query_rows(
        runtime,
        "SELECT i.state, i.refusal_code, i.file_name FROM instance i JOIN study s"
        " ON s.id = i.study_id WHERE s.study_key = :key ORDER BY i.id",
        key=key,
    )


def outcome(runtime, key):
    return [(row["state"], row["refusal_code"]) for row in instances(runtime, key)]


def suspected(runtime, key):
    with runtime.database.transaction() as session:
        session.execute(
            text("UPDATE study SET lane = 'suspect' WHERE study_key = :key"), {"key": key}
        )


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        ({"rescale": ("1e308", "0")}, "MODALITY_LUT_INVALID"),
        ({"window": [("1e308", "1e308")]}, "WINDOW_OUT_OF_BOUNDS"),
    ],
)
def test_extreme_numbers_refuse_their_image_alone(runtime, tmp_path, spoilt, code):
    key = accept_files(runtime, *pair(tmp_path, **spoilt))
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    assert outcome(runtime, key) == [("predicted", None), ("refused", code)]


def test_a_suspect_study_is_predicted_as_any_other(runtime, tmp_path):
    ways = []
    for lane in ("routine", "suspect"):
        pixels = chest_like_pixels(160, 144, seed=5)
        path = write_instance(
            tmp_path / f"{lane}.dcm", pixels=pixels, study_instance_uid=f"1.2.{len(ways)}"
        )
        key = accept_files(runtime, path)
        if lane == "suspect":
            suspected(runtime, key)
        assert process_study(key, runtime) is ProcessingOutcome.STORED
        (row,) = query_rows(
            runtime,
            "SELECT p.logit, p.normalisation FROM prediction p JOIN instance i ON i.id = p.instance_id"
            " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key",
            key=key,
        )
        ways.append(row)
    assert ways[0] == ways[1]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "DECODER_CRASHED"),
        ("import time; time.sleep(3600)", "DECODE_TIMEOUT"),
    ],
)
def test_a_decoder_that_crashes_or_hangs_refuses_its_image_alone(
    runtime, tmp_path, monkeypatch, program, code
):
    key = accept_files(runtime, *pair(tmp_path))
    suspected(runtime, key)
    _, bad = instances(runtime, key)
    original = subprocess.run

    def run(command, *, timeout, **options):
        if json.loads(options["input"])["path"].endswith(bad["file_name"]):
            return original([sys.executable, "-c", program], timeout=2, **options)
        return original(command, timeout=timeout, **options)

    monkeypatch.setattr(guarded_decoding.subprocess, "run", run)
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    assert outcome(runtime, key) == [("predicted", None), ("refused", code)]


def test_a_study_of_one_unreadable_header_and_a_good_image(runtime, tmp_path):
    """The header passed at the way in, and no longer does: as after an upgrade."""
    good, bad = pair(tmp_path)
    key = accept_files(runtime, good, bad)
    stored = runtime.storage.path_of(instances(runtime, key)[1]["file_name"])
    dataset = make_instance()
    dataset.add_new("NumberOfFrames", "FD", float("inf"))
    dataset.save_as(stored, enforce_file_format=True)
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    assert outcome(runtime, key) == [("predicted", None), ("refused", "HEADER_UNREADABLE")]
