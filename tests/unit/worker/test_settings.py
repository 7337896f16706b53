"""A wrong setting is one clear sentence at start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from worker.errors import Rejected
from worker.settings import Settings, read_settings


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PNEUMO_LEASE_S", "soon", "PNEUMO_LEASE_S: Input should be a valid number"),
        ("PNEUMO_LISTEN_PORT", "70000", "PNEUMO_LISTEN_PORT: Input should be less than or equal"),
        ("PNEUMO_AE_TITLE", "A_TITLE_THAT_IS_TOO_LONG", "PNEUMO_AE_TITLE: .*at most 16"),
        ("PNEUMO_DEVICE", "gpu", "PNEUMO_DEVICE: String should match"),
        ("PNEUMO_LEASE_RENEWAL_S", "90", "must be at most half of lease_s"),
        ("PNEUMO_LOG_LEVEL", "LOUD", "PNEUMO_LOG_LEVEL: Input should be 'DEBUG'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_variable_and_what_was_expected(
    monkeypatch, variable, value, words
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(Rejected, match=words) as refusal:
        read_settings()
    assert refusal.value.code == "SETTINGS_INVALID"


def test_a_password_in_a_wrong_value_is_not_repeated(monkeypatch):
    monkeypatch.setenv("PNEUMO_MAX_BATCH", "s3cret")
    with pytest.raises(Rejected) as refusal:
        read_settings()
    assert "s3cret" not in str(refusal.value)


def test_everything_follows_from_the_state_folder(tmp_path):
    site = read_settings(state_dir=tmp_path)
    assert site.database_url == f"sqlite:///{tmp_path / 'pneumo.sqlite'}"
    assert site.intake_dir.parent == site.models_dir.parent == site.log_dir.parent == tmp_path


def test_settings_are_frozen(tmp_path):
    site = read_settings(state_dir=tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        site.lease_s = 1.0


def test_children_read_the_same_settings_from_their_environment(monkeypatch, tmp_path):
    site = read_settings(state_dir=tmp_path, lease_s=33, lease_renewal_s=11, log_format="text")
    for name, value in site.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == site
