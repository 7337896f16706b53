"""What a bridge does."""

from __future__ import annotations

import secrets

import pytest

from tests.builders.dicom import make_study


@pytest.fixture
def hand_over(site):
    """What a bridge does: write under another name, rename, tell the name."""

    def make(*studies: str, suffix: str = "") -> str:
        name = secrets.token_hex(16) + suffix
        part = site.settings.handed_over_dir / f"{name}.part"
        for uid in studies:
            make_study(part / uid[-2:], n_instances=2, study_instance_uid=uid)
        part.mkdir(parents=True, exist_ok=True)
        part.rename(site.settings.handed_over_dir / name)
        return name

    return make
