"""List the objects of a study one by one: C-FIND at series and image level (PS3.4 C.4.1.2.2.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.archive.find.c_find import open_c_find
from worker.archive.presentation_contexts import RADIOGRAPHS
from worker.imaging.header_values import text
from worker.imaging.identifiers import is_uid
from worker.peers.peers_file import Peer
from worker.settings import Settings

NEVER_RADIOGRAPHS = frozenset({"CT", "DOC", "KO", "MR", "NM", "PR", "PT", "SR", "US"})
"""Modalities of series; used where an archive does not return the SOP class, an optional key."""
_OF_SERIES = ("SeriesInstanceUID", "Modality", "SeriesDescription")
_OF_OBJECT = ("SOPInstanceUID", "SOPClassUID", "SoftwareVersions")


@dataclass(frozen=True, kw_only=True)
class ListedObject:
    """What an archive says of one object of a study."""

    series_instance_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str | None
    """None if the archive does not say."""
    modality: str
    """Of its series; empty if the archive does not say."""
    series_description: str | None = field(default=None, repr=False)
    """May hold personal data."""
    software_versions: str | None = field(default=None, repr=False)
    """All values with backslashes between; many archives do not return it."""

    @property
    def may_be_radiograph(self) -> bool:
        """Whether the study could have another verdict without this object."""
        if self.sop_class_uid is not None:
            return self.sop_class_uid in RADIOGRAPHS
        return self.modality not in NEVER_RADIOGRAPHS


def list_objects(peer: Peer, settings: Settings, study_instance_uid: str) -> list[ListedObject]:
    """Return every object of a study, series by series. Raises as `association`, SEARCH_FAILED."""
    of_study = {"StudyInstanceUID": study_instance_uid}
    with open_c_find(peer, settings) as archive:
        series = archive.matches("SERIES", of_study | dict.fromkeys(_OF_SERIES, ""))
        return [
            ListedObject(
                series_instance_uid=uid,
                sop_instance_uid=str(match.SOPInstanceUID),
                sop_class_uid=text(match, "SOPClassUID"),
                modality=text(of_series, "Modality") or "",
                series_description=text(of_series, "SeriesDescription"),
                software_versions=text(match, "SoftwareVersions"),
            )
            for uid, of_series in {text(it, "SeriesInstanceUID") or "": it for it in series}.items()
            for match in archive.matches(
                "IMAGE", of_study | {"SeriesInstanceUID": uid} | dict.fromkeys(_OF_OBJECT, "")
            )
            if is_uid(str(match.get("SOPInstanceUID") or ""))
        ]
