"""When the disk counts as low and as nearly full, and when that ends."""

from __future__ import annotations

import pytest

from worker.errors import Rejected, Resource
from worker.settings import read_settings
from worker.storage.disk import (
    DiskLevel,
    DiskMonitor,
    DiskSpace,
    DiskThresholds,
    bytes_of,
    disk_space_of,
    format_bytes,
    refuse_when_nearly_full,
)

GB = 10**9
THRESHOLDS = DiskThresholds(warn="10%", refuse="2GB")
ENOUGH, LOW, NEARLY_FULL = DiskLevel


@pytest.mark.parametrize(
    ("free", "before", "expected"),
    [
        (50.0, ENOUGH, ENOUGH),
        (10.0, ENOUGH, ENOUGH),
        (9.9, ENOUGH, LOW),
        (10.5, LOW, LOW),
        (11.0, LOW, ENOUGH),
        (2.0, LOW, LOW),
        (1.9, ENOUGH, NEARLY_FULL),
        (2.1, NEARLY_FULL, NEARLY_FULL),
        (2.3, NEARLY_FULL, LOW),
        (50.0, NEARLY_FULL, ENOUGH),
        (0.0, NEARLY_FULL, NEARLY_FULL),
    ],
)
def test_a_level_ends_a_little_above_where_it_begins(free, before, expected):
    assert THRESHOLDS.level_for(DiskSpace(free=int(free * GB), total=100 * GB), before) is expected


def test_nought_switches_a_level_off():
    never = DiskThresholds(warn="0%", refuse="0GB")
    assert never.level_for(DiskSpace(free=0, total=100 * GB), NEARLY_FULL) is ENOUGH


def test_what_refuses_comes_before_what_warns_whatever_was_set():
    upside_down = DiskThresholds(warn="1GB", refuse="5GB")
    assert upside_down.level_for(DiskSpace(free=3 * GB, total=9 * GB), ENOUGH) is NEARLY_FULL


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("5%", 5 * GB), ("2.5%", 2.5 * GB), ("2GB", 2 * GB), ("500MB", GB / 2), ("1.5TB", 1500 * GB)],
)
def test_a_share_or_an_amount(limit, expected):
    assert bytes_of(limit, 100 * GB) == expected


@pytest.mark.parametrize(("size", "words"), [(1_900_000_000, "1.9 GB"), (12_345, "0.0123 MB")])
def test_sizes_in_words(size, words):
    assert format_bytes(size) == words


@pytest.mark.parametrize("value", ["", "much", "101%", "5", "-1GB", "2 GiB", "2KB"])
def test_what_is_no_room_is_refused_in_words(value):
    with pytest.raises(Rejected, match=r"PNEUMO_DISK_REFUSE_FREE: expected a share of the disk"):
        read_settings(disk_refuse_free=value)


def test_spaces_and_small_letters_are_understood():
    assert read_settings(disk_warn_free="12 gb").disk_warn_free == "12GB"


def test_a_real_disk_is_measured_where_the_folder_will_be(tmp_path):
    room = disk_space_of(tmp_path / "not" / "yet" / "made")
    assert 0 < room.free < room.total
    assert str(room).endswith("are free")


def test_a_burst_asks_the_disk_once(tmp_path):
    watch = DiskMonitor(tmp_path, DiskThresholds(warn="0%", refuse="100%"))
    assert watch.level() is NEARLY_FULL
    tmp_path.rmdir()
    assert watch.level() is NEARLY_FULL
    assert "less than 100% (PNEUMO_DISK_REFUSE_FREE)" in watch.sentence()


def test_the_refusal_says_what_to_do_and_no_path(tmp_path):
    site = read_settings(state_dir=tmp_path, disk_refuse_free="100%")
    with pytest.raises(Resource, match=r"DISK_NEARLY_FULL: .* Make room; .* be sent again") as told:
        refuse_when_nearly_full(site)
    assert str(tmp_path) not in str(told.value)
