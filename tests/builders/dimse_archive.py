"""A Query/Retrieve SCP of a test's own on loopback (pynetdicom), which can fail as real ones do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move


@dataclass
class DimseArchive:
    """What it has, how it behaves, and what it was asked."""

    studies: dict[str, list[Dataset]] = field(default_factory=dict)
    status: int | None = None
    """Answered at once to every question and retrieval."""
    retrieval_status: int | None = None
    """Answered at once to every retrieval."""
    stops: int | None = None
    """Answered to a retrieval of a whole study, of which nothing is sent."""
    says_counts: bool = True
    says_classes: bool = True
    says_versions: bool = True
    """Software Versions of an object, an optional key."""
    breaks_after: int | None = None
    """Aborts after so many images."""
    stranger: Dataset | None = None
    """Given in place of what was asked for."""
    destinations: dict[str, int] = field(default_factory=dict)
    """AE title -> port, of move destinations."""
    counts: dict[str, int] = field(default_factory=dict)
    says_modalities: bool = True
    most: int | None = None
    """So many answers to a query, then it ends with `cut_status`."""
    cut_status: int = 0x0000
    only_refuses: bool = False
    """Where there are more than `most` it gives none at all."""
    matches_time: bool = True
    asked: list[Dataset] = field(default_factory=list)
    port: int = 0

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Matches UID, date and range of time; of modalities it knows nothing."""
        query = event.identifier
        self.asked.append(query)
        if self.status is not None:
            yield self.status, None
            return
        if query.QueryRetrieveLevel != "STUDY":
            yield from self._find_within(query)
            return
        found = [uid for uid, datasets in self.studies.items() if self._matches(query, datasets[0])]
        is_cut = self.most is not None and len(found) > self.most
        for uid in [] if is_cut and self.only_refuses else found[: self.most]:
            datasets = self.studies[uid]
            answer = Dataset()
            answer.QueryRetrieveLevel = "STUDY"
            answer.StudyInstanceUID = uid
            if self.says_modalities:
                answer.ModalitiesInStudy = datasets[0].Modality
            if self.says_counts:
                answer.NumberOfStudyRelatedInstances = self.counts.get(uid, len(datasets))
            yield 0xFF00, answer
        if is_cut and self.cut_status:
            yield self.cut_status, None

    def _find_within(self, query: Dataset) -> Iterator[tuple[int, Dataset]]:
        """Every object as the answer, without what it does not give at this level."""
        level = query.QueryRetrieveLevel
        for dataset in self.studies.get(query.StudyInstanceUID, []):
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            answer.SeriesInstanceUID = dataset.SeriesInstanceUID
            if level == "SERIES":
                answer.Modality = dataset.Modality
                answer.SeriesDescription = dataset.get("SeriesDescription", "")
            elif query.SeriesInstanceUID != dataset.SeriesInstanceUID:
                continue
            else:
                answer.SOPInstanceUID = dataset.SOPInstanceUID
                if self.says_classes:
                    answer.SOPClassUID = dataset.SOPClassUID
                if self.says_versions:
                    answer.SoftwareVersions = dataset.get("SoftwareVersions", "")
            yield 0xFF00, answer

    def _matches(self, query: Dataset, study: Dataset) -> bool:
        """A study without a time is in no range."""
        if query.StudyInstanceUID not in ("", study.StudyInstanceUID):
            return False
        if query.get("StudyDate") not in (None, "", study.StudyDate):
            return False
        time = str(query.get("StudyTime") or "")
        if not (time and self.matches_time):
            return True
        begin, end = time.split("-")
        return begin <= str(study.get("StudyTime") or "") <= end

    def get(self, event: Any) -> Iterator[Any]:
        datasets = self._asked_for(event)
        yield len(datasets)
        yield from self._give(event, datasets)

    def move(self, event: Any) -> Iterator[Any]:
        datasets = self._asked_for(event)
        port = self.destinations.get(event.move_destination)
        if port is None:
            yield None, None
            return
        yield "127.0.0.1", port, {"ae_title": event.move_destination}
        yield len(datasets)
        yield from self._give(event, datasets)

    def _asked_for(self, event: Any) -> list[Dataset]:
        self.asked.append(event.identifier)
        datasets = self.studies.get(event.identifier.StudyInstanceUID, [])
        one = event.identifier.get("SOPInstanceUID")
        return [it for it in datasets if one in (None, it.SOPInstanceUID)]

    def _give(self, event: Any, datasets: list[Dataset]) -> Iterator[tuple[int, Dataset | None]]:
        whole = event.identifier.QueryRetrieveLevel == "STUDY"
        said = [self.status, self.retrieval_status, self.stops if whole else None]
        for status in (it for it in said if it is not None):
            yield status, None
            return
        for number, dataset in enumerate(datasets):
            if number == self.breaks_after:
                event.assoc.abort()
                return
            yield 0xFF00, self.stranger or dataset


@contextmanager
def serve_dimse_archive(
    archive: DimseArchive,
    *,
    knows: str | None = None,
    services: tuple[str, ...] = (Find, Get, Move),
    tls: Any = None,
    sends: tuple[str, ...] = (),
) -> Iterator[DimseArchive]:
    """On loopback, until the block ends. `knows`: the only calling AE title that it lets in.

    `sends`: SOP classes that it can send beside CR.
    """
    ae = AE(ae_title="ARCHIVE")
    ae.maximum_associations = 100  # those that have just ended still count for a moment
    if knows is not None:
        ae.require_calling_aet = [knows]
    for service in services:
        ae.add_supported_context(service)
    for sop_class in (ComputedRadiographyImageStorage, *sends):
        ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
        ae.add_requested_context(sop_class)
    handlers = [
        (evt.EVT_C_FIND, archive.find),
        (evt.EVT_C_GET, archive.get),
        (evt.EVT_C_MOVE, archive.move),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    archive.port = server.server_address[1]
    try:
        yield archive
    finally:
        ae.shutdown()
