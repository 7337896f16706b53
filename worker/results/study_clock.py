"""Moments of the rows (UTC) as dates and times of a DICOM object (local)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.dataset import Dataset

from worker.imaging.header_values import text
from worker.results.result_settings import ResultSettings

_OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)")


@dataclass(frozen=True, kw_only=True)
class StudyClock:
    """The clock by which all dates and times of one object are read."""

    zone: tzinfo
    """The source's own offset, else the site's zone."""
    offset: str | None
    """(0008,0201) Timezone Offset From UTC, if the source states it; then ours must as well, since it
    is said of every date and time of an object, the copied ones too (PS3.3 C.12.1)."""

    @classmethod
    def of(cls, source: Dataset, words: ResultSettings) -> StudyClock:
        """The clock of a study."""
        offset = text(source, "TimezoneOffsetFromUTC") or ""
        found = _OFFSET.fullmatch(offset)
        if found is None or (found[2], found[3]) > ("14", "00"):
            return cls(zone=words.time_zone, offset=None)
        distance = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return cls(zone=timezone(-distance if found[1] == "-" else distance), offset=offset)

    def date(self, moment: datetime) -> str:
        """As VR DA."""
        return f"{moment.astimezone(self.zone):%Y%m%d}"

    def time(self, moment: datetime) -> str:
        """As VR TM."""
        return f"{moment.astimezone(self.zone):%H%M%S}"

    def date_time(self, moment: datetime) -> str:
        """As VR DT, with its offset, so that nobody need guess."""
        return f"{moment.astimezone(self.zone):%Y%m%d%H%M%S.%f%z}"

    def for_display(self, moment: datetime) -> str:
        """e.g. `2026-11-23 10:50 CET`."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"
