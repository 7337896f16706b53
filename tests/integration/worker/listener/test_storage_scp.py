"""Real associations over loopback: what is answered with yes is on disk and in SQL, as it came."""

from __future__ import annotations

import hashlib
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage, Verification

from db.vocabulary.enums import InstanceReceipt
from tests.builders.dicom import ALL_SYNTAXES, make_instance, make_study, write_instance
from tests.builders.site import data_set_of, store_file, write_with_other_meta
from worker.errors import Resource
from worker.intake import accept
from worker.intake.accept import accept_study
from worker.listener.storage_scp import echo, start_listener

CR = ComputedRadiographyImageStorage
STUDY, SERIES, SOP = "1.2.3.10", "1.2.3.20", "1.2.3.30"


def codes(statuses):
    return [status.Status for status in statuses]


# -- what is taken ------------------------------------------------------------------------------


def test_every_transfer_syntax_in_one_association_is_kept_byte_for_byte(site, tmp_path):
    site.listen()
    files = [
        write_instance(
            tmp_path / f"{n}.dcm",
            transfer_syntax=syntax,
            bits_stored=8 if syntax == JPEGBaseline8Bit else 12,
            rows=40,
            columns=32,
            study_instance_uid=STUDY,
            sop_instance_uid=f"{SOP}.{n}",
        )
        for n, syntax in enumerate(ALL_SYNTAXES)
    ]
    with site.association(*((CR, syntax) for syntax in ALL_SYNTAXES)) as opened:
        statuses = [store_file(opened, path) for path in files]

    assert codes(statuses) == [0x0000] * len(ALL_SYNTAXES)
    for n, (path, syntax) in enumerate(zip(files, ALL_SYNTAXES, strict=True)):
        kept = site.file_of(f"{SOP}.{n}")
        assert data_set_of(kept) == data_set_of(path.read_bytes()), syntax.name
    found = site.rows("SELECT transfer_syntax_uid, transfer_syntax_name FROM instance ORDER BY id")
    assert found == [(str(syntax), syntax.name) for syntax in ALL_SYNTAXES]
    assert site.one("SELECT count(*) FROM study") == 1


def test_the_kept_file_is_a_dicom_file_that_says_what_it_is(site):
    site.listen()
    dataset = make_instance(sop_instance_uid=SOP)
    site.send(dataset)
    (path,) = site.stored_files()
    kept = dcmread(path)
    assert kept == dataset
    assert kept.file_meta.MediaStorageSOPInstanceUID == SOP
    assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert kept.file_meta.ImplementationVersionName == "PNEUMO_1"


UNUSUAL = {
    "a private SOP class": ("1.2.826.0.1.3680043.9.9999.1", ExplicitVRLittleEndian),
    "a retired SOP class": ("1.2.840.10008.5.1.4.1.1.6", ExplicitVRLittleEndian),
    "a private transfer syntax": (CR, "1.2.826.0.1.3680043.9.9999.2"),
    "a video": ("1.2.840.10008.5.1.4.1.1.77.1.1.1", "1.2.840.10008.1.2.4.102"),
}


@pytest.mark.parametrize(("sop_class", "syntax"), UNUSUAL.values(), ids=UNUSUAL)
def test_what_nobody_asked_for_is_taken_and_left_to_the_eligibility_table(
    site, tmp_path, sop_class, syntax
):
    site.listen()
    dataset = make_instance(sop_class_uid=sop_class, sop_instance_uid=SOP)
    path = write_with_other_meta(tmp_path / "a.dcm", dataset, syntax=syntax)
    with site.association((sop_class, syntax)) as opened:
        assert store_file(opened, path).Status == 0x0000
    assert data_set_of(site.file_of(SOP)) == data_set_of(path.read_bytes())
    assert site.rows("SELECT sop_class_uid, transfer_syntax_uid FROM instance") == [
        (sop_class, str(syntax))
    ]


def test_uids_as_real_consoles_write_them_are_taken(site):
    """Components with leading zeros break PS3.5 9.1 and are met every day."""
    site.listen()
    odd = "1.2.003.04"
    assert codes(site.send(make_instance(sop_instance_uid=odd, study_instance_uid=odd))) == [0]
    assert site.one("SELECT study_instance_uid FROM study") == odd


def test_the_study_stays_open_and_its_sender_is_known(site):
    site.listen()
    site.send(make_instance(patient_id="P-7"), calling="CR_ROOM_2")
    assert site.rows("SELECT state, source, site_ae_title, priority, lane FROM study") == [
        ("receiving", "c_store", "CR_ROOM_2", "routine", "routine")
    ]
    assert site.one("SELECT patient_id FROM study_identity") == "P-7"


# -- how often ----------------------------------------------------------------------------------


def test_a_resend_is_answered_with_yes_and_changes_nothing(site):
    site.listen()
    dataset = make_instance()
    assert codes([*site.send(dataset, dataset), *site.send(dataset)]) == [0, 0, 0]
    assert site.one("SELECT count(*) FROM study") == 1
    assert site.one("SELECT count(*) FROM instance") == 1
    assert len(site.stored_files()) == 1


def test_another_content_under_the_same_uids_is_a_revision_and_both_stay(site):
    site.listen()
    uids = {"study_instance_uid": STUDY, "sop_instance_uid": SOP}
    first, second = (make_instance(seed=n, **uids) for n in (1, 2))
    assert codes(site.send(first, second)) == [0, 0]
    assert sorted(dcmread(path).PixelData for path in site.stored_files()) == sorted(
        [first.PixelData, second.PixelData]
    )
    events = [event for (event,) in site.rows("SELECT event FROM audit_record ORDER BY id")]
    assert events == ["study_revised", "changed_instance_received"]
    assert site.one("SELECT revision FROM study") == 2


def test_eight_senders_of_one_study_at_once_make_one_study(site, tmp_path):
    site.listen()
    paths = make_study(tmp_path / "in", n_instances=3, study_instance_uid=STUDY)
    datasets = [dcmread(path) for path in paths]
    barrier = threading.Barrier(8)

    def send(_):
        barrier.wait()
        return codes(site.send(*datasets))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(8))) == [[0, 0, 0]] * 8
    assert site.rows("SELECT study_instance_uid FROM study") == [(STUDY,)]
    assert site.one("SELECT count(*) FROM instance") == 3
    assert len(site.stored_files()) == 3


def test_a_study_given_as_files_meanwhile_is_the_same_study(site, tmp_path):
    site.listen()
    paths = make_study(tmp_path / "in", n_instances=2, study_instance_uid=STUDY)
    site.send(dcmread(paths[0]))
    accepted = accept_study(paths[1], database=site.database, site=site.settings)
    assert not accepted.is_new
    assert accepted.instances[0].outcome is InstanceReceipt.NEW
    assert site.one("SELECT count(*) FROM instance") == 2


# -- how urgent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "called", "expected"),
    [
        (0, "PNEUMO", "routine"),  # MEDIUM
        (1, "PNEUMO", "stat"),  # HIGH
        (2, "PNEUMO", "routine"),  # LOW
        (2, "PNEUMO_STAT", "stat"),
        (0, "ANYTHING", "routine"),
    ],
)
def test_stat_is_high_priority_or_the_stat_ae_title(site, priority, called, expected):
    site.listen()
    site.send(make_instance(), priority=priority, called=called)
    assert site.rows("SELECT priority, lane FROM study") == [(expected, expected)]


def test_one_urgent_instance_makes_the_study_urgent(site):
    site.listen()
    uids = {"study_instance_uid": STUDY}
    site.send(make_instance(**uids), priority=0)
    site.send(make_instance(seed=1, **uids), priority=1)
    assert site.rows("SELECT priority, lane FROM study") == [("stat", "stat")]


# -- what is refused, and how -------------------------------------------------------------------


def assert_nothing_was_taken(site):
    assert site.stored_files() == []
    assert site.one("SELECT count(*) FROM study") == 0


REFUSED = {
    "no study UID": ({"StudyInstanceUID": ""}, 0xC000, "STUDY_UID_MISSING"),
    "a UID with a name in it": ({"series_instance_uid": "DOE"}, 0xC000, "SERIES_UID_INVALID"),
    "another instance inside": ({"sop_instance_uid": "1.2.3.99"}, 0xA900, "OTHER_INSTANCE"),
    "another class inside": (
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, 0xA900, "OTHER_INSTANCE",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("keywords", "status", "comment"), REFUSED.values(), ids=REFUSED)
def test_a_header_that_cannot_be_used_is_refused_with_its_code(
    site, tmp_path, keywords, status, comment
):
    site.listen()
    dataset = make_instance(**{"sop_instance_uid": SOP, **keywords})
    path = write_with_other_meta(tmp_path / "a.dcm", dataset, sop_class=CR, sop_instance=SOP)
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        answer = store_file(opened, path)
    assert (answer.Status, answer.ErrorComment) == (status, comment)
    assert_nothing_was_taken(site)


def test_bytes_that_are_no_data_set_are_refused(site, tmp_path):
    site.listen()
    path = write_instance(tmp_path / "a.dcm")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - len(data_set_of(content))] + b"DOE^JANE " * 99)
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        answer = store_file(opened, path)
        good = opened.send_c_store(make_instance())
    assert answer.Status == 0xC000
    assert "DOE" not in str(answer)
    assert good.Status == 0x0000, "the association goes on"
    assert site.one("SELECT count(*) FROM instance") == 1


def test_while_the_database_is_away_the_answer_is_no_and_afterwards_yes(
    site, tmp_path, monkeypatch
):
    monkeypatch.setattr(accept, "C_STORE_DATABASE_TIMEOUT_S", 0.3)
    site.listen()
    dataset = make_instance()
    here, away = tmp_path / "database", tmp_path / "elsewhere"

    site.database.dispose()
    here.rename(away)
    (refused,) = site.send(dataset)
    away.rename(here)
    (taken,) = site.send(dataset)

    assert (refused.Status, refused.ErrorComment) == (0xA700, "DATABASE_AWAY")
    assert taken.Status == 0x0000
    assert site.one("SELECT count(*) FROM instance") == 1
    assert len(site.stored_files()) == 1


def test_a_database_that_was_never_migrated_is_no_reason_to_say_yes(site, tmp_path):
    site.listen()
    site.database.dispose()
    (tmp_path / "database").rename(tmp_path / "elsewhere")
    (tmp_path / "database").mkdir()
    (refused,) = site.send(make_instance())
    assert (refused.Status, refused.ErrorComment) == (0xA700, "DATABASE_FAILED")


def test_while_the_disk_is_full_the_answer_is_no_and_afterwards_yes(site):
    site.listen()
    dataset = make_instance(rows=600, columns=600)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        (refused,) = site.send(dataset)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (refused.Status, refused.ErrorComment) == (0xA700, "DISK_FULL")
    assert_nothing_was_taken(site)
    assert codes(site.send(dataset)) == [0x0000]


def test_what_nobody_foresaw_is_no_yes_either(site, monkeypatch):
    """The one thing that cannot be brought about from outside is put in by hand."""
    site.listen()
    monkeypatch.setattr("worker.listener.c_store.accept_instance", lambda *_a, **_k: 1 / 0)
    (refused,) = site.send(make_instance())
    assert (refused.Status, refused.ErrorComment) == (0xC211, "LISTENER_FAILED")


# -- the node itself ----------------------------------------------------------------------------


def test_echo_tells_whether_the_listener_answers(site):
    assert not echo(site.settings, timeout_s=1)
    listener = site.listen()
    assert echo(site.settings)
    listener.close()
    assert not echo(site.settings, timeout_s=1)


def test_other_services_are_not_offered(site):
    site.listen()
    patient_root_find = "1.2.840.10008.5.1.4.1.2.1.1"
    with site.association(
        (patient_root_find, ExplicitVRLittleEndian), (Verification, ExplicitVRLittleEndian)
    ) as opened:
        assert [cx.abstract_syntax for cx in opened.accepted_contexts] == [Verification]


def test_a_taken_port_is_one_sentence(site):
    site.listen()
    with pytest.raises(Resource, match=r"PORT_TAKEN: Port \d+ on 127.* PNEUMO_LISTEN_PORT"):
        start_listener(site.settings, site.database)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_one_sentence(site, host):
    elsewhere = site.settings.model_copy(update={"listen_host": host})
    with pytest.raises(Resource, match=r"PORT_REFUSED: .* PNEUMO_LISTEN_HOST"):
        start_listener(elsewhere, site.database)


def test_the_digest_in_sql_is_that_of_the_kept_bytes(site):
    site.listen()
    site.send(make_instance())
    (path,) = site.stored_files()
    content = path.read_bytes()
    assert site.rows("SELECT file_sha256, file_bytes FROM instance") == [
        (hashlib.sha256(content).hexdigest(), len(content))
    ]


def test_a_sender_that_asks_for_nothing_gets_no_context(site):
    """An association without a single acceptable context is of no use, and does no harm."""
    site.listen()
    unit = AE()
    unit.add_requested_context("1.2.840.10008.5.1.4.1.2.1.1")
    assert not unit.associate("127.0.0.1", site.settings.listen_port).is_established
    assert echo(site.settings)
