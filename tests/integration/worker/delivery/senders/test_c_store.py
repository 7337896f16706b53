"""Results by C-STORE to a real Storage SCP: that takes, refuses, fails, is away, shows another face."""

from __future__ import annotations

import ssl

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import update

from db.deliveries.destinations import record_failure
from db.engine.clock import now
from db.models import Instance, ResultDestination
from tests.builders.certificates import make_authority, make_certificate
from tests.builders.pacs import ABORT
from worker.delivery.send import DeliveryEnd


def test_report_and_capture_arrive_as_they_were_made(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table())
    key = sender.study(tmp_path, images=2, PatientName="DOE^JANE", patient_id="P-1")

    assert sender.deliver() == [DeliveryEnd.SENT]
    assert [dataset.Modality for dataset in archive.received] == ["SR", "OT", "OT"]
    assert {str(dataset.PatientName) for dataset in archive.received} == {"DOE^JANE"}
    assert {dataset.PatientID for dataset in archive.received} == {"P-1"}
    (row,) = sender.deliveries(key)
    assert (row["state"], row["attempts"], row["warning"]) == ("sent", 1, None)
    assert sender.due() == []


def test_a_node_that_knows_only_implicit_vr_gets_that(sender, pacs, tmp_path):
    archive = pacs(syntaxes=[ImplicitVRLittleEndian])
    sender.destinations(archive.table())
    sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert {d.file_meta.TransferSyntaxUID for d in archive.received} == {ImplicitVRLittleEndian}
    assert archive.received[1].pixel_array.shape[2] == 3


@pytest.mark.parametrize("status", [0xB000, 0x0107, 0x0116])
def test_a_warning_counts_as_sent_and_is_kept(sender, pacs, tmp_path, status):
    archive = pacs(statuses=[status])
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.deliveries(key)[0]["warning"] == f"{status:04X}"


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_what_is_refused_is_parked_after_a_few_tries(sender, pacs, tmp_path, status):
    archive = pacs(statuses=[status] * 2)
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.deliver() == [DeliveryEnd.PARKED]
    (row,) = sender.deliveries(key)
    assert (row["error_code"], row["error_kind"]) == ("DESTINATION_REFUSES_RESULT", "rejected")
    assert f"{status:04X}" in row["error_sentence"]
    assert sender.wrong(archive) is None, (
        "the destination is well; `pneumo status` shows what is parked"
    )


@pytest.mark.parametrize(
    ("takes", "lacks", "instead"),
    [
        (SecondaryCaptureImageStorage, ["Comprehensive 3D SR Storage"], 'result_objects = ["capture"]'),
        (Comprehensive3DSRStorage, ["Secondary Capture Image Storage"], 'result_objects = ["sr"]'),
        (
            ComputedRadiographyImageStorage,
            ["Comprehensive 3D SR Storage", "Secondary Capture Image Storage"],
            None,
        ),
    ],
)  # fmt: skip
def test_a_class_that_a_node_does_not_take_is_told_by_its_name(
    sender, pacs, tmp_path, takes, lacks, instead
):
    archive = pacs(classes=[takes])
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    (row,) = sender.deliveries(key)
    assert row["error_code"] == "DESTINATION_LACKS_SOP_CLASS"
    assert f"does not take {' and '.join(lacks)}. Allow it there" in row["error_sentence"]
    if instead:
        assert instead in row["error_sentence"]
    else:
        assert "result_objects" not in row["error_sentence"]
    assert (archive.received, row["begun_at"]) == ([], None)
    assert sender.wrong(archive) is None
    archive.stop()
    sender.destinations()


@pytest.mark.parametrize("answers", [[0, ABORT], [0, 0xA700], [ABORT]])
def test_one_that_accepts_and_then_fails_gets_all_of_it_again(sender, pacs, tmp_path, answers):
    archive = pacs(statuses=list(answers))
    sender.destinations(archive.table())
    key = sender.study(tmp_path)

    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(archive) == "DESTINATION_FAILS"
    first = archive.received.copy()
    assert len(first) == answers.count(0)

    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.wrong(archive) is None
    assert len(set(archive.uids)) == 2
    again = {dataset.SOPInstanceUID: dataset for dataset in archive.received[len(first) :]}
    assert all(again[dataset.SOPInstanceUID] == dataset for dataset in first), "the same bytes"
    assert sender.states(key) == ["sent"]


def test_one_that_is_away_is_probed_by_one_and_then_gets_everything(sender, pacs, tmp_path):
    archive = pacs()
    archive.stop()
    sender.destinations(archive.table())
    keys = [sender.study(tmp_path) for _ in range(3)]

    assert len(sender.due()) == 3
    assert sender.deliver().count(DeliveryEnd.PUT_OFF) >= 1
    assert sender.wrong(archive) == "DESTINATION_AWAY"
    assert len(sender.due()) == 1
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]

    archive.start()
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.deliver() == [DeliveryEnd.SENT, DeliveryEnd.SENT]
    assert [sender.states(key) for key in keys] == [["sent"]] * 3
    assert len(archive.uids) == len(set(archive.uids)) == 6
    assert sender.wrong(archive) is None


def test_a_result_that_the_destination_dies_of_does_not_keep_the_others(sender, pacs, tmp_path):
    archive = pacs(statuses=[ABORT])
    sender.destinations(archive.table())
    poison, other = sender.study(tmp_path), sender.study(tmp_path)
    (first, second) = sender.due()
    from worker.delivery.send import deliver

    assert deliver(first, sender.runtime) is DeliveryEnd.PUT_OFF
    assert deliver(second, sender.runtime) is DeliveryEnd.SENT
    assert {*sender.states(poison), *sender.states(other)} == {"waiting", "sent"}
    sender.deliver()


def test_one_that_does_not_know_us_is_told_as_such(sender, pacs, tmp_path):
    archive = pacs(calling=["SOMEBODY"])
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(archive) == "DESTINATION_REFUSES"
    assert "A-ASSOCIATE-RJ 1, 1, 3" in sender.deliveries(key)[0]["error_sentence"]
    archive.stop()
    archive.calling = []
    archive.start()
    assert sender.deliver() == [DeliveryEnd.SENT]


def test_a_wrong_certificate_is_a_condition_until_it_is_right(sender, pacs, tmp_path):
    ours, strangers = (make_authority(tmp_path, name) for name in ("ours", "strangers"))
    archive = pacs(ssl_context=serving(make_certificate(tmp_path, "wrong", strangers)))
    table = archive.table(tls=True, authorities=ours[0])
    sender.destinations(table)
    key = sender.study(tmp_path)

    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(archive) == "DESTINATION_CERTIFICATE"
    assert "authority that we do not trust" in sender.deliveries(key)[0]["error_sentence"]
    archive.stop()

    archive.ssl_context = serving(make_certificate(tmp_path, "right", ours))
    archive.start()
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.wrong(archive) is None


def test_a_certificate_for_another_host_is_refused(sender, pacs, tmp_path):
    ours = make_authority(tmp_path, "ours")
    other = make_certificate(tmp_path, "other", ours, host="127.0.0.2")
    archive = pacs(ssl_context=serving(other))
    sender.destinations(archive.table(tls=True, authorities=ours[0]))
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert "for another" in sender.deliveries(key)[0]["error_sentence"]
    assert archive.received == []
    archive.stop()


def serving(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_files_that_are_gone_park_the_delivery(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table())
    key = sender.study(tmp_path)
    with sender.runtime.database.transaction() as session:
        session.execute(update(Instance).values(file_removed_at=now(session)))
    ends = [*sender.deliver(), *sender.deliver()]
    with sender.runtime.database.transaction() as session:
        session.execute(update(Instance).values(file_removed_at=None))
    assert ends == [DeliveryEnd.PUT_OFF, DeliveryEnd.PARKED]
    assert sender.deliveries(key)[0]["error_code"] == "RESULT_FILES_GONE"
    assert archive.received == []


def test_a_mount_that_is_missing_parks_nothing(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table())
    keys = [sender.study(tmp_path) for _ in range(2)]
    with sender.runtime.database.transaction() as session:
        record_failure(session, archive.name)
    away = sender.settings.intake_dir.rename(tmp_path / "unmounted")
    for _ in range(5):
        assert set(sender.deliver()) == {DeliveryEnd.PUT_OFF}
    assert [sender.states(key) for key in keys] == [["waiting"], ["waiting"]]
    assert sender.conditions()["files of results"] == "FILE_MISSING"
    with sender.runtime.database.reading() as session:
        failures = session.get_one(ResultDestination, archive.name).failures
    assert failures == 1, "nobody spoke to it"

    away.rename(sender.settings.intake_dir)
    while ends := sender.deliver():
        assert set(ends) == {DeliveryEnd.SENT}
    assert "files of results" not in sender.conditions()
    assert [sender.states(key) for key in keys] == [["sent"], ["sent"]]
