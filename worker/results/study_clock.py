"""Convert the rows' times (UTC) into dates and times of a DICOM object (local)."""

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
    """The local time of one object: all its dates and times are in it."""

    zone: tzinfo
    """The source's offset, else the site's time zone."""
    offset: str | None
    """(0008,0201) Timezone Offset From UTC, if the source states it; then our objects must state it as
    well, since it applies to every date and time of an object, copied ones included (PS3.3 C.12.1)."""

    @classmethod
    def of(cls, source: Dataset, settings: ResultSettings) -> StudyClock:
        """Return the clock for objects of this source."""
        offset = text(source, "TimezoneOffsetFromUTC") or ""
        found = _OFFSET.fullmatch(offset)
        if found is None or (found[2], found[3]) > ("14", "00"):
            return cls(zone=settings.time_zone, offset=None)
        distance = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return cls(zone=timezone(-distance if found[1] == "-" else distance), offset=offset)

    def date(self, moment: datetime) -> str:
        """Return the date as VR DA."""
        return f"{moment.astimezone(self.zone):%Y%m%d}"

    def time(self, moment: datetime) -> str:
        """Return the time as VR TM."""
        return f"{moment.astimezone(self.zone):%H%M%S}"

    def date_time(self, moment: datetime) -> str:
        """Return date and time as VR DT, with the offset, so that it is unambiguous."""
        return f"{moment.astimezone(self.zone):%Y%m%d%H%M%S.%f%z}"

    def for_display(self, moment: datetime) -> str:
        """Return date and time for people, e.g. `2026-11-23 10:50 CET`."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"
