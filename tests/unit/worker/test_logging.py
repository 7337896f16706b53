"""No log line repeats what an exception or a library says about a dataset."""

from __future__ import annotations

import io
import json
import logging
import warnings

import pytest

from worker.logging import configure_logging, get_logger, log_traceback, traceback_frames


@pytest.fixture
def written():
    """Configure JSON logs; call the result to get the lines written so far."""
    root, stream = logging.getLogger(), io.StringIO()
    before = root.handlers[:]
    with warnings.catch_warnings():
        configure_logging("DEBUG", "json", stream)
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before


def fail() -> None:
    raise ValueError("PatientName DOE^JANE is no number")


def test_a_kept_traceback_holds_frames_and_no_words(written):
    try:
        fail()
    except ValueError as error:
        reference = log_traceback(error, get_logger("test"), code="BUG")
    (line,) = written()
    assert line["reference"] == reference
    assert line["error_type"] == "ValueError"
    assert any("fail" in frame for frame in line["frames"])
    assert "DOE" not in json.dumps(line)


@pytest.mark.parametrize("name", ["test", "celery.worker", "kombu.connection"])
def test_exc_info_loses_its_words_whoever_logs(written, name):
    try:
        fail()
    except ValueError:
        logging.getLogger(name).exception("it failed")
    (line,) = written()
    assert line["error_type"] == "ValueError"
    assert "DOE" not in json.dumps(line)


@pytest.mark.parametrize("name", ["pydicom", "pynetdicom", "pynetdicom.acse", "pynetdicom.new.one"])
def test_talkative_libraries_stay_closed(written, name):
    logging.getLogger(name).error("Invalid value DOE^JANE")
    assert written() == []


def test_causes_come_before_what_they_caused():
    try:
        try:
            fail()
        except ValueError as cause:
            raise KeyError("x") from cause
    except KeyError as error:
        frames = traceback_frames(error)
    assert frames.index("raised ValueError") < frames.index("raised KeyError")
