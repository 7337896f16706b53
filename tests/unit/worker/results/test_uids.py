"""The same result has the same names, another one has others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.uid import UID

from tests.builders.results import MODEL, STUDY_KEY, make_result_settings
from worker.results.uids import IMPLEMENTATION_CLASS_UID, ResultUids, device_uid, uid_of

UIDS = ResultUids(study_key=STUDY_KEY, revision=1, model=MODEL, settings=make_result_settings())


def all_of(uids: ResultUids) -> set[str]:
    series = {uids.series("report"), uids.series("capture")}
    return {*series, uids.report, uids.capture(), uids.capture("1.2.3")}


def test_they_are_uids_and_differ_from_one_another():
    made = {*all_of(UIDS), UIDS.tracking("1.2.3", 1), device_uid(MODEL), IMPLEMENTATION_CLASS_UID}
    assert len(made) == 8
    for uid in made:
        assert UID(uid).is_valid
        assert uid.startswith("2.25.")
        assert len(uid) <= 64


def test_they_never_change():
    """Written down on the day of the first release: another value would orphan what was sent."""
    assert uid_of("report", "1") == "2.25.69730109296775510613465765861013993534"


def test_they_are_the_same_each_time():
    again = ResultUids(
        study_key=STUDY_KEY, revision=1, model=replace(MODEL), settings=make_result_settings()
    )
    assert all_of(again) == all_of(UIDS)


@pytest.mark.parametrize(
    "other",
    [
        replace(UIDS, revision=2),
        replace(UIDS, study_key="a0" * 16),
        replace(UIDS, model=replace(MODEL, version="9.9.10")),
        replace(UIDS, model=replace(MODEL, bundle_digest="f" * 64)),
        replace(UIDS, settings=make_result_settings(disclaimer="For research only.")),
        replace(UIDS, settings=make_result_settings(time_zone="Europe/Berlin")),
    ],
    ids=["revision", "study", "version", "digest", "disclaimer", "time zone"],
)
def test_another_result_has_no_name_in_common(other):
    assert not all_of(other) & all_of(UIDS)


def test_what_is_tracked_stays_the_same_over_revisions_and_models():
    later = replace(UIDS, revision=2, model=replace(MODEL, version="10.0.0"))
    assert later.tracking("1.2.3", 1) == UIDS.tracking("1.2.3", 1)
    assert UIDS.tracking("1.2.3", 2) != UIDS.tracking("1.2.3", 1)


def test_parts_do_not_run_into_one_another():
    assert uid_of("ab", "c") != uid_of("a", "bc")


def test_a_new_model_is_a_new_device():
    assert device_uid(MODEL) != device_uid(replace(MODEL, bundle_digest="f" * 64))
