"""What nobody foresaw refuses one instance and leaves a traceback; what is the machine's passes."""

from __future__ import annotations

import errno
import io
from dataclasses import replace

import pytest
import structlog

from tests.builders.dicom import make_instance, write_instance
from worker.imaging import eligibility, pixels, reading
from worker.imaging.eligibility import check_eligibility
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import group_by_study, read_dataset, read_header
from worker.imaging.refusals import RefusedInstance
from worker.imaging.rules import RULES


def content() -> io.BytesIO:
    buffer = io.BytesIO()
    make_instance(patient_name="DOE^JANE").save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return buffer


def failing(error: BaseException):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


BOUNDARIES = {
    "read_header": (reading, "read_age", lambda: read_header(content())),
    "read_dataset": (reading, "required_uids", lambda: read_dataset(content())),
    "normalise_frame": (
        pixels,
        "padding_range",
        lambda: normalise_frame(make_instance(), PreprocessingSpec()),
    ),
}
UNFORESEEN = [
    RuntimeError("DOE^JANE"),
    RecursionError("DOE^JANE"),
    OverflowError("DOE^JANE"),
    OSError("DOE^JANE"),
    KeyError("DOE^JANE"),
]


@pytest.mark.parametrize("name", BOUNDARIES)
@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda e: type(e).__name__)
def test_the_unforeseen_is_refused_with_a_reference_to_its_traceback(name, error, monkeypatch):
    module, called, boundary = BOUNDARIES[name]
    monkeypatch.setattr(module, called, failing(error))

    with structlog.testing.capture_logs() as logs, pytest.raises(RefusedInstance) as caught:
        boundary()

    (line,) = [line for line in logs if line["event"] == "traceback_kept"]
    assert caught.value.code == line["code"] == "HEADER_UNREADABLE"
    assert line["reference"] in caught.value.sentence
    assert line["frames"][-1] == f"raised {type(error).__name__}"
    assert "DOE" not in caught.value.sentence + str(logs)


@pytest.mark.parametrize("name", BOUNDARIES)
@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.EIO, "broken disk")], ids=lambda e: type(e).__name__
)
def test_what_the_machine_lacks_is_no_refusal(name, error, monkeypatch):
    module, called, boundary = BOUNDARIES[name]
    monkeypatch.setattr(module, called, failing(error))
    with structlog.testing.capture_logs() as logs, pytest.raises(type(error)):
        boundary()
    assert logs == []


def test_memory_that_runs_out_while_an_element_is_parsed_is_no_refusal(monkeypatch):
    monkeypatch.setattr("pydicom.dataset.Dataset.get", failing(MemoryError()))
    with pytest.raises(MemoryError):
        read_header(content())


def test_a_rule_that_fails_refuses_its_header_and_no_other(monkeypatch):
    broken = replace(RULES[0], passes=lambda h, _: 1 / (h.rows - 160) > 0)
    monkeypatch.setattr(eligibility, "RULES", (broken, *RULES[1:]))
    header = read_header(content())

    with structlog.testing.capture_logs() as logs:
        refused, passed = check_eligibility(header), check_eligibility(replace(header, rows=200))

    (refusal,) = refused.refusals
    assert (refusal.code, refusal.step) == ("HEADER_UNREADABLE", "eligibility")
    assert logs[0]["reference"] in refusal.sentence
    assert refused.frame_numbers == ()
    assert passed.eligible


def test_one_unreadable_file_does_not_keep_its_folder_from_being_read(tmp_path):
    good = write_instance(tmp_path / "a.dcm", study_instance_uid="1.2.3")
    bad = tmp_path / "b.dcm"
    frames = make_instance()
    frames.add_new("NumberOfFrames", "FD", float("inf"))
    frames.save_as(bad, enforce_file_format=True)

    by_study, refused = group_by_study([bad, good])

    assert [path for path, _ in by_study["1.2.3"]] == [good]
    assert [(path, reason.code) for path, reason in refused] == [(bad, "HEADER_UNREADABLE")]
