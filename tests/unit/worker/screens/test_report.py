"""`pneumo report` and `pneumo show` in a narrow terminal: fewer columns, but nothing cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders.database import finish_one
from worker.screens.report import show_report
from worker.screens.study import show_study
from worker.settings import read_settings


@pytest.fixture
def settings(tmp_path):
    settings = read_settings(state_dir=tmp_path)
    upgrade(settings.database_url)
    return settings


@pytest.fixture
def finished(settings):
    """The key of a finished study."""
    database = Database(settings.database_url)
    yield finish_one(database)
    database.dispose()


def printed(show, *arguments, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    show(*arguments, console=console)
    return console.export_text()


@pytest.mark.parametrize(("width", "left_out"), [(80, True), (140, False)])
def test_columns_that_do_not_fit_are_left_out_and_counted(settings, finished, width, left_out):
    text = printed(show_report, settings, width=width)
    assert "…" not in text
    assert finished[:12] in text
    assert "1 row of v1_studies" in text
    assert ("1 row of v1_studies; no room for" in text) is left_out
    assert "error" in text, "why a study is parked matters most"


def test_a_study_is_shown_whole_in_80_columns(settings, finished):
    text = printed(show_study, settings, finished, width=80)
    assert "…" not in text
    assert f"Study {finished}" in text
    assert "1 attempt," in text
