"""A study in an archive, a node that fetches it, and the error that a fetch fails with."""

from __future__ import annotations

import json

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from db.studies.results import schedule_retry
from tests.builders.database import make_failure
from tests.builders.dicom import make_instance
from tests.builders.dimse_archive import DimseArchive
from tests.builders.fetching_node import FetchingNode, configure_peers
from tests.builders.waiting import scaled
from worker.errors import PneumoError

UID = "1.2.3.7"
"""Study Instance UID of the study that is fetched."""
PRIVATE = "1.2.826.0.1.3680043.9.9999.1"
"""A SOP class that no standard knows."""
LABEL = "resnet50-9.9.9"
SENT = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
"""SOP classes of our results."""


def web_node(site, folder, archive, *lines: str) -> FetchingNode:
    """A node that fetches by WADO-RS; `lines` are further lines of the archive's table."""
    says = "\n".join(('retrieve = "wado-rs"', *lines))
    configure_peers(site, folder, f'[web]\ndicomweb = "{archive.url}/"\n{says}\n')
    return FetchingNode(site)


def failed_web_fetch(site, folder, archive, *lines: str) -> tuple[FetchingNode, PneumoError]:
    """A node, and the error that its fetch of our study fails with."""
    node = web_node(site, folder, archive, *lines)
    return node, node.failure_of(UID)


def answer_status(code):
    """A behaviour of a web archive: answer every request with this status."""

    def answer(request):
        request.send_response(code)
        request.send_header("Content-Length", "0")
        if code == 302:
            request.send_header("Location", "http://127.0.0.1:1/elsewhere")
        request.end_headers()
        return True

    return answer


def dimse_node(site, folder, archive, way: str, *lines: str) -> FetchingNode:
    """A node that fetches by C-GET or C-MOVE."""
    says = "\n".join((f'retrieve = "{way}"', *lines))
    configure_peers(
        site,
        folder,
        f'[pacs]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {archive.port}\n{says}\n',
        archive_timeout_s=scaled(5),
    )
    return FetchingNode(site)


def failed_dimse_fetch(
    site, folder, archive, way: str, *lines: str
) -> tuple[FetchingNode, PneumoError]:
    """A node, and the error that its fetch of our study fails with."""
    node = dimse_node(site, folder, archive, way, *lines)
    return node, node.failure_of(UID)


def object_beside(sop_class: str, **values) -> Dataset:
    """Another object of our study, in a series of its own."""
    return make_instance(
        study_instance_uid=UID, series_instance_uid=f"{UID}.9", sop_instance_uid=f"{UID}.9.1",
        sop_class_uid=sop_class, **values,
    )  # fmt: skip


def fetch_detail(site) -> dict:
    """What the audit trail says of the fetch."""
    detail = site.one("SELECT detail FROM audit_record WHERE event = 'study_fetched'")
    return json.loads(detail) if isinstance(detail, str) else detail


def results_of_another_installation(**values) -> list[Dataset]:
    """A report and a picture as `worker.results.common_modules` writes them."""
    versions = {"SoftwareVersions": [LABEL, "results 2"]} | values
    kinds = (("report", "SR", SENT[0]), ("picture", "OT", SENT[1]))
    return [
        make_instance(
            study_instance_uid=UID, series_instance_uid=f"2.25.{n}", sop_instance_uid=f"2.25.{n}1",
            sop_class_uid=sop_class, modality=modality, rows=8, columns=8,
            SeriesDescription=f"Pneumonia, {kind} of {LABEL}", **versions,
        )
        for n, (kind, modality, sop_class) in enumerate(kinds, start=1)
    ]  # fmt: skip


def archive_moving_to_us(site, datasets, **behaves) -> DimseArchive:
    """An archive with these objects that knows our listener, which runs, as a move destination."""
    archive = DimseArchive({UID: datasets}, **behaves)
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    return archive


def postpone_study(node: FetchingNode, key: str, error: PneumoError) -> None:
    """Let the failed attempt end, and the study be due again at once."""
    with node.database.transaction() as session:
        schedule_retry(session, node.held(key), make_failure("transient", error.code), delay_s=0)
