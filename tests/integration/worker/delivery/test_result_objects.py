"""A destination that takes only reports, or only captures, gets these, and its rows say so."""

from __future__ import annotations

import pytest
from pynetdicom.sop_class import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from tests.builders.worker_runtime import query_rows
from worker.delivery.send import DeliveryEnd

STUDY_UID = "1.2.826.0.1.3680043.8.498.81"


def objects_on_record(sender, key) -> list[tuple[str, str]]:
    """SOP class and UID of what was sent of a study, as the rows have it."""
    sql = (
        "SELECT o.sop_class_uid, o.sop_instance_uid FROM result_object o "
        "JOIN result_delivery d ON d.id = o.delivery_id WHERE d.study_key = :key ORDER BY o.id"
    )
    rows = query_rows(sender.predicting, sql, key=key)
    return [(row["sop_class_uid"], row["sop_instance_uid"]) for row in rows]


@pytest.mark.parametrize(
    ("word", "sop_class", "count"),
    [("capture", SecondaryCaptureImageStorage, 2), ("sr", Comprehensive3DSRStorage, 1)],
)
def test_only_what_it_takes_is_sent_and_written_down(
    sender, pacs, tmp_path, word, sop_class, count
):
    archive = pacs(classes=[sop_class], commits=True)
    sender.destinations(archive.table(result_objects=[word], storage_commitment=True))
    key = sender.study(tmp_path, images=2)
    assert sender.deliver() == [DeliveryEnd.SENT]
    sent = [(dataset.SOPClassUID, dataset.SOPInstanceUID) for dataset in archive.received]
    assert [name for name, _ in sent] == [sop_class] * count
    assert objects_on_record(sender, key) == sent
    asked = archive.asked[-1].ReferencedSOPSequence
    assert [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in asked] == sent
    archive.stop()
    sender.destinations()


def test_what_was_refused_goes_once_the_file_says_what_it_takes(sender, pacs, tmp_path):
    archive = pacs(classes=[SecondaryCaptureImageStorage])
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert objects_on_record(sender, key) == []

    sender.destinations(archive.table(result_objects=["capture"]))
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert [name for name, _ in objects_on_record(sender, key)] == [SecondaryCaptureImageStorage]


def test_an_object_is_the_same_whatever_goes_with_it(sender, pacs, tmp_path):
    """One UID has one content (PS3.5 9.1); a later one names a report that somebody got."""
    both, one = pacs(), pacs()
    sender.destinations(both.table(), one.table(result_objects=["capture"]))
    key = sender.study(tmp_path, uid=STUDY_UID)
    assert sender.deliver() == [DeliveryEnd.SENT] * 2
    assert sender.study(tmp_path, uid=STUDY_UID) == key
    assert sender.deliver() == [DeliveryEnd.SENT] * 2

    captures = [d for d in both.received if d.Modality == "OT"]
    by_uid = sorted(captures, key=lambda d: d.SOPInstanceUID)
    assert by_uid == sorted(one.received, key=lambda d: d.SOPInstanceUID)
    first, second = (d for d in both.received if d.Modality == "SR")
    series = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_where_nobody_gets_reports_a_later_result_names_none(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table(result_objects=["capture"]))
    key = sender.study(tmp_path, uid=f"{STUDY_UID}.1")
    assert sender.deliver() == [DeliveryEnd.SENT]
    sender.study(tmp_path, uid=f"{STUDY_UID}.1")
    sender.destinations(archive.table())
    assert sender.deliver() == [DeliveryEnd.SENT]
    (report,) = [dataset for dataset in archive.received if dataset.Modality == "SR"]
    assert "PredecessorDocumentsSequence" not in report
    assert "Replaces the result of" in report.to_json()
    first, second = sender.deliveries(key)
    assert second["predecessor_id"] == first["id"]
