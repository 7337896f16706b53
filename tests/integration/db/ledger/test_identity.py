from __future__ import annotations

from db.ledger.audit import verify_chains
from db.ledger.identity import erase_identity, studies_of_patient, was_erased
from tests.builders.database import (
    accept_one,
    claim_one,
    events_of,
    finish_one,
    one,
    rejected_outcome,
    rows,
    store,
    uid_of,
)


def erase(database, key):
    with database.transaction() as session:
        return erase_identity(session, key, "operator:ada")


def everything_as_text(database):
    tables = (
        "study_identity", "study", "instance", "inference_run", "prediction", "audit_record",
        "v1_studies", "v1_predictions",
    )  # fmt: skip
    return "\n".join(str(rows(database, f"SELECT * FROM {table}")) for table in tables)


def test_identity_is_kept_apart_and_can_be_erased(database):
    key = finish_one(database, 1)
    assert everything_as_text(database).count("SECRET") == 2
    before = rows(database, "SELECT * FROM prediction")

    assert erase(database, key)

    assert "SECRET" not in everything_as_text(database)
    assert rows(database, "SELECT * FROM prediction") == before
    with database.reading() as session:
        assert verify_chains(session).ok
    assert events_of(database, key)[-1] == "identity_erased"


def test_erasing_again_erases_nothing(database):
    key = finish_one(database)
    erase(database, key)

    assert not erase(database, key)
    assert not erase(database, "0" * 32)
    assert events_of(database, key).count("identity_erased") == 1


def test_a_study_that_names_somebody_in_its_images_alone_is_erased_all_the_same(database):
    """Patient's Name without a Patient ID: there is no row to delete, and a late image names them."""
    key = accept_one(database, patient_id=None, accession_number=None).study_key

    assert erase(database, key)
    assert not erase(database, key)

    assert events_of(database, key).count("identity_erased") == 1
    with database.reading() as session:
        assert was_erased(session, key)


def test_only_the_asked_study_is_erased(database):
    key = accept_one(database, uid="1.2.1").study_key
    accept_one(database, uid="1.2.2")

    erase(database, key)

    assert one(database, "SELECT count(*) FROM study_identity") == 1


def test_a_resend_does_not_bring_an_erased_identity_back(database):
    key = finish_one(database, 1)
    erase(database, key)

    accept_one(database, 1, 2)

    assert one(database, "SELECT count(*) FROM study_identity") == 0


def test_a_study_without_identity_keeps_none(database):
    accept_one(database, patient_id=None, accession_number=None)

    assert one(database, "SELECT count(*) FROM study_identity") == 0


def test_views_show_neither_identity_nor_uids(database):
    finish_one(database, uid=uid_of(1))
    refused = claim_one(database, accept_one(database, uid=uid_of(2)).study_key)
    store(database, refused, rejected_outcome(refused))

    for view in ("v1_studies", "v1_predictions", "v1_refusals_by_code"):
        shown = rows(database, f"SELECT * FROM {view}")
        assert shown, view
        assert "SECRET" not in str(shown)
        assert "1.2.826" not in str(shown)


def test_all_studies_of_a_patient_are_found_by_id_and_issuer(database):
    of = {
        number: accept_one(database, uid=uid_of(number), **values).study_key
        for number, values in enumerate(
            (
                {"patient_id": "P-1", "issuer_of_patient_id": "NORTH"},
                {"patient_id": "P-1", "issuer_of_patient_id": "SOUTH"},
                {"patient_id": "P-1"},
                {"patient_id": "P-11"},
            )
        )
    }
    with database.reading() as session:
        assert studies_of_patient(session, "P-1") == [of[0], of[1], of[2]]
        assert studies_of_patient(session, "P-1", issuer="NORTH") == [of[0], of[2]]
        assert studies_of_patient(session, "P-2") == []

    erase(database, of[0])

    with database.reading() as session:
        assert studies_of_patient(session, "P-1", issuer="NORTH") == [of[2]]
