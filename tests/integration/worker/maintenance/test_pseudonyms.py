"""The site's key, and the relay's part in using it."""

from __future__ import annotations

import pytest

from tests.builders.database import accept_one, one
from tests.builders.worker_runtime import make_settings
from worker.errors import Rejected
from worker.maintenance.housekeeping import Housekeeping
from worker.storage.site_key import read_site_key


def test_the_key_is_made_once_for_its_owner_alone(settings):
    first = read_site_key(settings)
    path = settings.state_dir / "identity.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first.secret) == 64
    assert read_site_key(settings) == first
    assert [p.name for p in settings.state_dir.iterdir() if "identity" in p.name] == [path.name]


def test_a_site_may_bring_its_own_key(tmp_path):
    path = tmp_path / "secret"
    path.write_text("x" * 32 + "\n")
    settings = make_settings(tmp_path / "state", identity_key=path)
    assert read_site_key(settings).secret == b"x" * 32
    assert not (settings.state_dir / "identity.key").exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "IDENTITY_KEY_UNREADABLE"), (b"short", "IDENTITY_KEY_TOO_SHORT")],
)
def test_a_key_that_is_no_key_is_refused(tmp_path, content, code):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    settings = make_settings(tmp_path / "state", identity_key=path)
    with pytest.raises(Rejected, match=code):
        read_site_key(settings)


def test_the_relay_fills_pseudonyms_in(settings, database):
    accept_one(database, patient_id="P-1", issuer_of_patient_id="NORTH")

    Housekeeping(settings, database).run_once()

    expected = read_site_key(settings).of_patient("P-1", "NORTH")
    assert one(database, "SELECT patient_pseudonym FROM v1_studies") == expected


def test_an_unusable_key_is_a_condition_until_it_is_mended(tmp_path, settings, database):
    path = tmp_path / "secret"
    broken = settings.model_copy(update={"identity_key": path})
    accept_one(database, patient_id="P-1")

    housekeeping = Housekeeping(broken, database)
    housekeeping.run_once()
    active = "SELECT code FROM site_condition WHERE subject = 'identity key' AND ended_at IS NULL"
    assert one(database, active) == "IDENTITY_KEY_UNREADABLE"

    path.write_text("x" * 32)
    Housekeeping(broken, database).run_once()
    ended = (
        "SELECT count(*) FROM site_condition WHERE subject = 'identity key' AND ended_at IS NULL"
    )
    assert one(database, ended) == 0
    assert one(database, "SELECT patient_pseudonym FROM v1_studies")
