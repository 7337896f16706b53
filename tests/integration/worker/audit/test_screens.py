"""`pneumo audit verify`, `checkpoint` and `export`, as a person calls them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from lxml import etree
from sqlalchemy import text

from db.ledger.audit import chain_of
from tests.builders.audit_schema import audit_schema
from tests.builders.database import finish_one, uid_of, without_triggers
from worker.audit.signed_note import make_key
from worker.errors import Rejected
from worker.screens.audit import export_trail, print_checkpoint, show_audit_report


@pytest.fixture
def signed(site, tmp_path, capsys):
    """A site with five records in two chains, its settings, and a file with a checkpoint of it."""
    key = finish_one(site.database, uid=uid_of(1))
    while chain_of(key) == 0:  # chain 0 has the models' records
        key = finish_one(site.database, uid=uid_of(2))
    verifier = make_key(tmp_path / "key", "audit.example")
    settings = site.settings.model_copy(update={"audit_key": tmp_path / "key"})
    print_checkpoint(settings)
    (tmp_path / "checkpoints").write_text(capsys.readouterr().out)
    site.settings = settings
    return site, key, tmp_path / "checkpoints", str(verifier)


def tamper(site, *statements, **values):
    with without_triggers(site.database) as connection:
        for statement in statements:
            connection.execute(text(statement), values)


def said(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_an_untouched_site_is_as_recorded(signed, capsys):
    site, _, checkpoints, public = signed
    assert show_audit_report(site.settings, against=checkpoints, public_key=public) == 0
    out = said(capsys)
    assert "The audit trail is unbroken, and the results are as recorded." in out
    assert "1 checkpoint compared" in out
    assert "Not on this machine, so not compared: resnet50-1.0.0." in out


def test_a_changed_verdict_is_named_with_study_field_and_both_values(signed, capsys):
    site, key, *_ = signed
    tamper(site, "UPDATE study SET verdict = 'negative' WHERE study_key = :k", k=key)
    assert show_audit_report(site.settings) == 1
    assert (
        f"Study {key}, study: verdict was recorded as positive, and the row has negative."
        in said(capsys)
    )


def test_a_study_removed_with_its_records_and_head_is_found_by_a_checkpoint_alone(signed, capsys):
    site, key, checkpoints, _ = signed
    chain = chain_of(key)
    tamper(
        site,
        "DELETE FROM prediction",
        *(f"DELETE FROM {table}" for table in ("inference_run", "instance", "study_identity")),
        "DELETE FROM study",
        "DELETE FROM audit_record WHERE study_key IS NOT NULL",
        "UPDATE audit_chain_head SET sequence = 0, hash = :none WHERE chain <> 0",
        none="0" * 64,
    )
    assert show_audit_report(site.settings) == 0
    assert show_audit_report(site.settings, against=checkpoints) == 1
    assert f"Chain {chain}, record 3: it is missing, and was there at" in said(capsys)


def test_a_checkpoint_of_another_key_is_worth_nothing(signed, tmp_path, capsys):
    site, _, checkpoints, _ = signed
    other = make_key(tmp_path / "other", "audit.example")
    assert show_audit_report(site.settings, against=checkpoints, public_key=str(other)) == 1
    assert "Checkpoint 1 has no valid signature of audit.example" in said(capsys)


def test_a_file_without_checkpoints_is_refused(signed, tmp_path):
    site, *_ = signed
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(Rejected, match="CHECKPOINTS_MISSING"):
        show_audit_report(site.settings, against=tmp_path / "empty")
    with pytest.raises(Rejected, match="CHECKPOINTS_UNREADABLE"):
        show_audit_report(site.settings, against=tmp_path / "none")


def test_a_checkpoint_needs_a_key(site):
    with pytest.raises(Rejected, match="AUDIT_KEY_MISSING"):
        print_checkpoint(site.settings)


def test_replaced_weights_are_found(signed, capsys):
    site, *_ = signed
    folder = site.settings.models_dir / "resnet50-1.0.0"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert show_audit_report(site.settings) == 1
    assert "Bundle of resnet50-1.0.0: digest was recorded as" in said(capsys)


def exported(site, capsys, **options):
    defaults = {"output": None, "first": None, "last": None, "study": None, "send": False}
    export_trail(site.settings, **(defaults | options))
    return capsys.readouterr().out


def test_the_trail_is_exported_in_every_form(signed, capsys):
    site, key, *_ = signed
    lines = exported(site, capsys, format="json").splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["event"] for r in records[:2]] == ["model_registered", "model_activated"]
    assert records[-1]["detail"]["verdict"] == "positive"
    rows = list(csv.DictReader(io.StringIO(exported(site, capsys, format="csv"))))
    assert [row["hash"] for row in rows] == [record["hash"] for record in records]
    assert len(exported(site, capsys, format="json", study=key).splitlines()) == 3
    schema = audit_schema()
    messages = exported(site, capsys, format="dicom").splitlines()
    assert len(messages) == len(records)
    assert all(schema.validate(etree.fromstring(message)) for message in messages)


def test_messages_are_sent_in_their_own_form_and_to_a_collector(site, capsys):
    with pytest.raises(Rejected, match="EXPORT_WHICH"):
        exported(site, capsys, format="json", send=True)
    with pytest.raises(Rejected, match="AUDIT_COLLECTOR_MISSING"):
        exported(site, capsys, format="dicom", send=True)
