"""Images of two patients in one study: the verdict stands, and no object is filed under either."""

from __future__ import annotations

from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import accept_files, query_rows
from worker.delivery.send import DeliveryEnd
from worker.pipeline.process_study import process_study

STUDY = "1.2.826.0.1.3680043.8.498.91"


def test_nothing_is_sent_of_a_study_of_two_patients(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table())
    paths = [
        write_instance(
            tmp_path / f"{number}.dcm",
            study_instance_uid=STUDY,
            sop_instance_uid=f"{STUDY}.{number}",
            patient_id=patient,
            seed=number,
        )
        for number, patient in enumerate(("TEMP-1", "REAL-2"), start=1)
    ]
    key = accept_files(sender.predicting, *paths)
    process_study(key, sender.predicting)

    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.deliver() == [DeliveryEnd.PARKED]
    assert archive.received == []
    (row,) = sender.deliveries(key)
    assert (row["error_code"], row["begun_at"]) == ("RESULT_PATIENTS_DIFFER", None)
    assert "TEMP" not in row["error_sentence"]
    assert sender.wrong(archive) is None
    (study,) = query_rows(sender.predicting, "SELECT * FROM study WHERE study_key = :key", key=key)
    assert (study["state"], study["verdict"] in {"positive", "negative"}) == ("done", True)
