from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from db.engine.columns import UtcDateTime, stored_by_value
from db.vocabulary.enums import Lane

DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}
ZONES = st.integers(min_value=-14 * 60, max_value=14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(
    min_value=datetime(1900, 1, 2),  # noqa: DTZ001  hypothesis adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=ZONES,
)


@pytest.mark.parametrize("name", DIALECTS)
@given(moment=MOMENTS)
def test_a_moment_survives(name, moment):
    column, dialect = UtcDateTime(), DIALECTS[name]

    stored = column.process_bind_param(moment, dialect)
    back = column.process_result_value(stored, dialect)

    assert back == moment
    assert back.tzinfo is UTC


@given(one=MOMENTS, other=MOMENTS)
def test_sqlites_text_sorts_as_moments_do(one, other):
    column, dialect = UtcDateTime(), DIALECTS["sqlite"]
    first, second = (column.process_bind_param(moment, dialect) for moment in (one, other))
    written = [moment.strftime("%Y-%m-%d %H:%M:%S.%f") for moment in (first, second)]
    assert (written[0] < written[1]) is (one < other)


@pytest.mark.parametrize("name", DIALECTS)
def test_no_moment_stays_none(name):
    column, dialect = UtcDateTime(), DIALECTS[name]
    assert column.process_bind_param(None, dialect) is None
    assert column.process_result_value(None, dialect) is None


def test_a_naive_moment_is_refused():
    with pytest.raises(ValueError, match="needs a time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), DIALECTS["sqlite"])  # noqa: DTZ001


def test_words_are_stored_by_value():
    column = stored_by_value(Lane, "lane")
    assert column.enums == ["stat", "routine", "suspect"]
    assert not column.native_enum
