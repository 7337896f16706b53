"""What a site can choose about our objects: disclaimer, names, time zone, font."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from worker.errors import Rejected
from worker.results.typography import check_glyphs
from worker.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ResultSettings:
    """The settings PNEUMO_RESULT_*, checked."""

    disclaimer: str
    """Appears in every report and at the foot of every capture."""
    manufacturer: str
    """(0008,0070)."""
    device_name: str
    """(0008,1090), and the name of the observing device."""
    time_zone: ZoneInfo
    """Time zone of our dates and times, unless the source states an offset."""
    font: Path | None = None
    """A TrueType or OpenType font for the captures; None: DejaVu Sans."""

    @classmethod
    def of(cls, settings: Settings) -> ResultSettings:
        """Check and return the result settings.

        Raises Rejected TIME_ZONE_UNKNOWN, FONT_UNREADABLE, LETTER_NOT_IN_FONT.
        """
        check_glyphs(settings.result_disclaimer, settings.result_font)
        return cls(
            disclaimer=settings.result_disclaimer,
            manufacturer=settings.result_manufacturer,
            device_name=settings.result_device_name,
            time_zone=_zone(settings.result_time_zone),
            font=settings.result_font,
        )

    @property
    def as_strings(self) -> tuple[str, ...]:
        """All of them as strings, from which our UIDs are derived."""
        chosen = (self.disclaimer, self.manufacturer, self.device_name)
        return (*chosen, self.time_zone.key, self.font.name if self.font else "")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Rejected(
            "TIME_ZONE_UNKNOWN",
            f"PNEUMO_RESULT_TIME_ZONE: found {name!r}; expected a name from the time zone database, "
            "e.g. Europe/Berlin. Correct the variable and start again.",
        ) from None
