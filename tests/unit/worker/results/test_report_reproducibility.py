"""The report's dates, offsets and bytes: the same rows give the same object, wherever it is made."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.builders.results import (
    WHEN,
    make_result,
    make_result_settings,
    predicted_instance,
    read_report_back,
    refused_instance,
)
from worker.results.build import to_bytes
from worker.results.structured_report import build_report
from worker.results.uids import ResultUids


def test_moments_are_those_of_the_rows_in_the_sites_zone():
    report = read_report_back(make_result(predicted_instance(0.9)), time_zone="Europe/Berlin")
    assert (report.ContentDate, report.ContentTime) == ("20261123", "105007")
    assert report.InstanceCreationTime == "105007"
    assert "TimezoneOffsetFromUTC" not in report  # it would be said of the copied study time, too
    (group,) = report.content.get_image_measurement_groups()
    assert group[0].ObservationDateTime == "20261123105007.250000+0100"


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [("-0930", "20261123", "002007"), ("+1400", "20261123", "235007"), ("-1000", "20261122", None)],
)
def test_an_offset_of_the_source_is_followed_and_stated(offset, date, time):
    moment = WHEN if time else WHEN.replace(hour=3)
    item = predicted_instance(0.9, TimezoneOffsetFromUTC=offset)
    report = read_report_back(make_result(item, finished_at=moment), time_zone="Europe/Berlin")
    assert report.TimezoneOffsetFromUTC == offset
    assert report.ContentDate == date
    assert report.ContentTime == (time or "175007")


@pytest.mark.parametrize("offset", ["+1500", "CET", "+01", ""])
def test_an_offset_that_is_none_is_not_followed(offset):
    report = read_report_back(make_result(predicted_instance(0.9, TimezoneOffsetFromUTC=offset)))
    assert "TimezoneOffsetFromUTC" not in report
    assert report.ContentTime == "095007"


# --- the same each time -----------------------------------------------------------------------------


def test_rows_in_another_order_give_the_same_bytes():
    def instances():
        return [
            predicted_instance(0.9, number=1),
            refused_instance(2),
            predicted_instance(0.2, number=3),
        ]

    forth, back = make_result(*instances()), make_result(*reversed(instances()))
    assert to_bytes(build_report(forth, make_result_settings())) == to_bytes(
        build_report(back, make_result_settings())
    )


def test_its_names_are_those_that_anybody_can_make_again():
    result = make_result(predicted_instance(0.9))
    report, uids = (
        build_report(result, make_result_settings()),
        ResultUids.of(result, make_result_settings()),
    )
    assert report.SOPInstanceUID == uids.report
    assert report.SeriesInstanceUID == uids.series("report")


def test_another_process_gives_the_same_bytes():
    """Nothing depends on the clock, on hashing or on the machine's time zone."""
    program = (
        "import hashlib;"
        "from tests.builders.results import *;"
        "from worker.results.build import build_results, to_bytes;"
        "instances = predicted_instance(.9), refused_instance(2);"
        "made = build_results(make_result(*instances), make_result_settings(), picture_of_any);"
        "print(*(hashlib.sha256(to_bytes(d)).hexdigest() for d in made))"
    )
    environments = [
        {
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": ":".join(sys.path),
        }
        for seed, zone in (("1", "UTC"), ("2", "Pacific/Auckland"))
    ]
    said = [
        subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        ).stdout
        for env in environments
    ]
    assert len(said[0].split()) == 2
    assert said[0] == said[1]
