"""The picture and the page tell of this house and no other."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "docs" / "draw_rooms.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_rooms"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_of_this_code(drawing):
    assert drawing.PICTURE.read_text() == drawing.draw(), "run `make picture`"


def test_no_two_rooms_import_each_other(drawing):
    edges = drawing.room_edges(grimp.build_graph(*drawing.PACKAGES))
    assert len(edges) > 50
    assert drawing.circles(edges) == []


def test_a_circle_would_be_seen(drawing):
    assert drawing.circles({("a", "b"), ("b", "c"), ("c", "a")}) == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("package", ["db", "worker"])
def test_a_package_has_few_loose_modules(package):
    loose = [path for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= 10


FOLDERS_OF_SHORT_NAMES = [
    "worker/listener", "worker/imaging", "worker/storage", "worker/pipeline", "worker/delivery",
    "worker/model", "db/studies", "db/ledger", "db/deliveries", "worker/messaging",
]  # fmt: skip


def test_every_file_that_the_page_names_exists():
    named = set(re.findall(r"`([a-z_/]+\.(?:py|md|sql))`", PAGE))
    assert len(named) > 30
    missing = {
        name
        for name in named
        if not (ROOT / name).is_file()
        and not any((ROOT / folder / name).is_file() for folder in FOLDERS_OF_SHORT_NAMES)
        and not (ROOT / "worker" / name).is_file()
    }
    assert not missing


def test_the_glossary_explains_each_term_once():
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    terms = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    terms = [term for term in terms if term not in ("term", "stored")]
    assert len(terms) > 50
    assert len(terms) == len(set(terms))
