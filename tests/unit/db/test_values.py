"""What may be logged shows nothing personal; what is promised in words is kept."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

import db
import db.values
import db.values.study_details
import db.vocabulary.enums
from db.ledger.audit import CHAINS, chain_of
from db.vocabulary.errors import (
    AmbiguousStudy,
    DatabaseRefusal,
    ModelConflict,
    ModelUnknown,
    StaleClaim,
)
from tests.builders.database import make_study

RECORDS = list(
    {
        value
        for module in (db.values, db.values.study_details)
        for value in vars(module).values()
        if dataclasses.is_dataclass(value)
    }
)
RECORDS.sort(key=lambda record: record.__name__)
WORDS = [
    value
    for value in vars(db.vocabulary.enums).values()
    if inspect.isclass(value) and value.__module__ == "db.vocabulary.enums"
]


def test_the_records_are_found():
    assert {db.values.ReceivedStudy, db.values.Claim, db.values.study_details.StudyDetail} <= {
        *RECORDS
    }


def test_a_received_study_shows_neither_identity_nor_uids():
    shown = repr(make_study(1, 2))
    assert "SECRET" not in shown
    assert "1.2.826" not in shown
    assert "1.2.840.10008.1.2.1" in shown  # a registered UID says nothing of a person


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_are_frozen_and_named_by_keyword(record):
    assert record.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(record))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_each_field_has_a_sentence(record):
    fields = [field.name for field in dataclasses.fields(record)]
    own = [name for name in fields if name in record.__annotations__]
    assert documented(record) == own


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words.__name__)
def test_each_word_has_a_sentence_and_is_lower_case(words):
    assert documented(words) == [member.name for member in words]
    # DICOM's own names have a hyphen: "wado-rs", "c-get".
    assert all(member.value.replace("-", "_") == member.name.lower() for member in words)


def documented(owner):
    """Names that are followed by a docstring, in order."""
    tree = ast.parse(inspect.getsource(owner)).body[0]
    pairs = zip(tree.body, tree.body[1:], strict=False)
    return [
        (first.target if isinstance(first, ast.AnnAssign) else first.targets[0]).id
        for first, second in pairs
        if isinstance(first, ast.AnnAssign | ast.Assign)
        and isinstance(second, ast.Expr)
        and isinstance(second.value, ast.Constant)
    ]


@pytest.mark.parametrize(
    "error",
    [
        StaleClaim(3),
        ModelConflict("MODEL_CONFLICT", "x"),
        ModelUnknown("MODEL_UNKNOWN", "x"),
        AmbiguousStudy("STUDY_AMBIGUOUS", "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_carry_a_code_and_a_sentence(error):
    assert isinstance(error, DatabaseRefusal)
    assert error.code.isupper()
    assert str(error) == f"{error.code}: {error.sentence}"


def test_a_stale_claim_says_what_to_do():
    assert "You need not do anything" in StaleClaim(3).sentence
    assert StaleClaim(3).token == 3


def test_studies_spread_over_all_chains():
    used = {chain_of(f"{number:032x}") for number in range(400)}
    assert used == set(range(CHAINS))
    assert chain_of(None) == 0


def test_this_package_imports_nothing_of_the_rest():
    for path in Path(db.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])]
            module = getattr(node, "module", None) or (names[0] if names else "")
            assert module.split(".")[0] not in {"worker", "training", "torch", "pydicom", "celery"}
