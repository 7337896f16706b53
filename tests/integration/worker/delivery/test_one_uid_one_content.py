"""One SOP Instance UID stands for one content (PS3.5 9.1), whoever makes the object and however often."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pydicom
from rich.console import Console

from tests.builders.dicom import write_instance
from tests.builders.waiting import scaled
from tests.builders.worker_runtime import accept_files, query_rows
from worker.delivery.send import DeliveryEnd
from worker.pipeline.process_study import process_study
from worker.results.build import to_bytes
from worker.results.result_settings import ResultSettings
from worker.screens.result_files import show_results

STUDY = "1.2.826.0.1.3680043.8.498.92"


def predecessors(report: pydicom.Dataset) -> list[str]:
    return [
        document.ReferencedSOPInstanceUID
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for document in series.ReferencedSOPSequence
    ]


def comparable(dataset: pydicom.Dataset) -> bytes:
    """Without the file meta, which is the receiver's."""
    plain = pydicom.dcmread(io.BytesIO(to_bytes(dataset)))
    return plain.to_json().encode()


def test_files_of_a_delivered_revision_are_what_was_delivered(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table())
    for number in (1, 2):
        path = write_instance(
            tmp_path / f"{number}.dcm",
            study_instance_uid=STUDY,
            sop_instance_uid=f"{STUDY}.{number}",
            seed=number,
        )
        key = accept_files(sender.predicting, path)
        process_study(key, sender.predicting)
        assert sender.deliver() == [DeliveryEnd.SENT]
    sent = {str(d.SOPInstanceUID): comparable(d) for d in archive.received}
    assert len(predecessors(archive.received[2])) == 1, "the second report names the first"

    out = tmp_path / "out"
    assert show_results(sender.settings, key, out, Console(file=io.StringIO())) == 0
    files = [pydicom.dcmread(path) for path in out.iterdir()]
    assert len(files) == 3
    for file in files:
        assert comparable(file) == sent[file.SOPInstanceUID], file.Modality


def test_other_words_between_two_tries_give_a_report_that_names_the_first(
    sender, pacs, tmp_path, monkeypatch
):
    """A worker is killed while it sends, and the operator starts it with another disclaimer."""
    archive, second = pacs(statuses=[0, 0xA700]), pacs()
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    other = ResultSettings.of(
        sender.settings.model_copy(update={"result_disclaimer": "Research only."})
    )
    monkeypatch.setattr(sender.runtime, "words", other)
    archive.statuses[:] = [0, 0xA700]
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.deliver() == [DeliveryEnd.SENT]

    reports = [d for d in archive.received if d.Modality == "SR"]
    assert [len(predecessors(report)) for report in reports] == [0, 1, 1]
    assert predecessors(reports[1]) == [reports[0].SOPInstanceUID]
    assert comparable(reports[1]) == comparable(reports[2])
    events = query_rows(
        sender.predicting, "SELECT event FROM audit_record WHERE study_key = :key", key=key
    )
    assert "result_differs" not in {row["event"] for row in events}
    assert second.received == []


PROGRAM = """
import hashlib
from tests.builders.results import WHEN, make_header, make_result_settings
from worker.model.bundle import default_bundle, load_bundle
from worker.results.build import build_results, to_bytes
from worker.results.study_result import (
    FrameResult, InstanceResult, ModelUsed, ResultVerdict, StudyResult,
)
from worker.results.picture import picture_of
bundle = load_bundle(default_bundle())
model, spec = ModelUsed.of(bundle.manifest), bundle.manifest.preprocessing
for seed in range(2):
    header = make_header(seed=seed, rows=1500, columns=1200)
    frame = FrameResult(
        frame_number=1, probability=0.99, verdict=ResultVerdict.POSITIVE, predicted_at=WHEN
    )
    result = StudyResult(
        study_key="5f" * 16, revision=1, model=model, verdict=ResultVerdict.POSITIVE, finished_at=WHEN,
        instances=(InstanceResult(header=header, frames=(frame,)),),
    )
    picture = lambda item, number: picture_of(header, number, bundle.model, spec)
    made = build_results(result, make_result_settings(), picture)
    print(*(hashlib.sha256(to_bytes(d)).hexdigest() for d in made))
"""


def drawn(**environment: str) -> str:
    """Digests of reports and captures, made with the packaged model in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), **environment}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment, capture_output=True, text=True, check=True, timeout=scaled(120),
    )  # fmt: skip
    assert len(said.stdout.split()) == 4
    return said.stdout


def test_a_capture_hangs_on_no_number_of_cores():
    one, other = (drawn(OMP_NUM_THREADS=cores, MKL_NUM_THREADS=cores) for cores in "12")
    assert one == other
