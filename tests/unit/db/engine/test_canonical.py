from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.engine.canonical import canonical_json, chained_hash

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.text(min_size=1), VALUES, min_size=1, max_size=5)
HASHES = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)


@given(VALUES)
def test_reading_it_gives_the_value_back(value):
    assert json.loads(canonical_json(value)) == value


@given(VALUES)
def test_it_is_ascii_without_spaces_of_its_own_and_stays_itself(value):
    written = canonical_json(value)
    assert written.isascii()
    assert canonical_json(json.loads(written)) == written


@given(RECORDS, st.randoms())
def test_the_order_of_keys_does_not_matter(record, random):
    shuffled = list(record.items())
    random.shuffle(shuffled)
    assert canonical_json(dict(shuffled)) == canonical_json(record)


@given(RECORDS, RECORDS, HASHES)
def test_different_records_have_different_hashes(one, other, previous):
    same = canonical_json(one) == canonical_json(other)
    assert (chained_hash(previous, one) == chained_hash(previous, other)) is same


@given(RECORDS, HASHES, HASHES)
def test_the_same_record_after_another_has_another_hash(record, one, other):
    assert (chained_hash(one, record) == chained_hash(other, record)) is (one == other)


@given(RECORDS, HASHES)
def test_a_hash_is_64_hex_digits(record, previous):
    digest = chained_hash(previous, record)
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": [1.5, None, True]}, '{"a":[1.5,null,true],"b":1}'),
        ({"é": "\x00"}, '{"\\u00e9":"\\u0000"}'),
        (1e22, "1e+22"),
        (0.1, "0.1"),
        ([], "[]"),
    ],
)
def test_known_writings(value, written):
    assert canonical_json(value) == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"deep": float("-inf")}]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1: "a"}, [{"a": {None: 1}}], ({True: 1},)])
def test_keys_that_are_no_text_are_refused(value):
    with pytest.raises(TypeError, match="Keys of canonical JSON are strings"):
        canonical_json(value)


def test_what_json_does_not_know_is_refused():
    with pytest.raises(TypeError):
        canonical_json({"a": b"bytes"})
