"""Which objects a study has, one by one: C-FIND at series and image level (PS3.4 C.4.1.2.2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from worker.archive import errors
from worker.archive.associations import association, refuse_status
from worker.archive.presentation_contexts import NATIVE_SYNTAXES, RADIOGRAPHS
from worker.imaging.header_values import text
from worker.imaging.identifiers import is_uid
from worker.peers.peers_file import Peer
from worker.settings import Settings

NEVER_RADIOGRAPHS = frozenset({"CT", "DOC", "KO", "MR", "NM", "PR", "PT", "SR", "US"})
"""Modalities of series; looked at where an archive does not say the SOP class, which it need not."""


@dataclass(frozen=True, kw_only=True)
class ListedObject:
    """What an archive says of one object of a study."""

    series_instance_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str | None
    """None if it does not say."""
    modality: str
    """Of its series; empty if it does not say."""
    series_description: str | None = field(default=None, repr=False)
    """May be personal."""
    software_versions: str | None = field(default=None, repr=False)
    """All values with backslashes between; many archives do not say it."""

    @property
    def may_be_radiograph(self) -> bool:
        """Whether a study without it could have another verdict."""
        if self.sop_class_uid is not None:
            return self.sop_class_uid in RADIOGRAPHS
        return self.modality not in NEVER_RADIOGRAPHS


def list_objects(peer: Peer, settings: Settings, study_instance_uid: str) -> list[ListedObject]:
    """Every object of a study, series by series. Raises as `association`, RETRIEVE_FAILED."""
    with association(
        peer, settings, [build_context(StudyRootFind, list(NATIVE_SYNTAXES[:2]))]
    ) as opened:
        series = _ask(
            peer,
            opened,
            "SERIES",
            StudyInstanceUID=study_instance_uid,
            SeriesInstanceUID="",
            Modality="",
            SeriesDescription="",
        )
        return [
            _listed(of_series, answer)
            for of_series in {text(it, "SeriesInstanceUID") or "": it for it in series}.values()
            for answer in _ask(
                peer, opened, "IMAGE", StudyInstanceUID=study_instance_uid,
                SeriesInstanceUID=text(of_series, "SeriesInstanceUID") or "",
                SOPInstanceUID="", SOPClassUID="", SoftwareVersions="",
            )
            if is_uid(str(answer.get("SOPInstanceUID") or ""))
        ]  # fmt: skip


def _listed(series: Dataset, answer: Dataset) -> ListedObject:
    return ListedObject(
        series_instance_uid=text(series, "SeriesInstanceUID") or "",
        sop_instance_uid=str(answer.SOPInstanceUID),
        sop_class_uid=text(answer, "SOPClassUID"),
        modality=text(series, "Modality") or "",
        series_description=text(series, "SeriesDescription"),
        software_versions=text(answer, "SoftwareVersions"),
    )


def _ask(peer: Peer, opened: Any, level: str, **keys: str) -> Iterator[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    if not opened.is_established:
        raise errors.away(peer, "broke off the association")
    for status, answer in opened.send_c_find(query, StudyRootFind):
        refuse_status(peer, status)
        if answer is not None:
            yield answer
