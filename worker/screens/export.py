"""`pneumo export STUDY --deidentified`: images and results for somebody who must not know the patient."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from db.ledger.audit import append_entry
from db.ledger.model_registry import list_models
from db.ledger.pseudonyms import SiteKey
from db.studies.overview import study_detail
from db.values import ModelRecord
from db.values.study_details import InstanceDetail, StudyDetail
from db.vocabulary.enums import AuditEvent, Verdict
from worker.delivery.deidentification import deidentify, record_method, replace_uids
from worker.delivery.result_document import ReportedResult, result_objects
from worker.errors import PneumoError, Rejected, Resource
from worker.imaging.header_values import drop_unreadable
from worker.imaging.reading import read_dataset
from worker.inference.active_model import find_bundle
from worker.model.bundle import load_bundle
from worker.results.build import to_bytes
from worker.results.result_settings import ResultSettings
from worker.screens.console import (
    RESEARCH_ONLY,
    actor,
    counted,
    opened,
    resolve_study_key,
    titled_table,
    warning,
    wide_console,
)
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage
from worker.storage.site_key import read_site_key

DUMMY_TIME = datetime(1900, 1, 1, tzinfo=UTC)
"""In place of the time of a result: the profile keeps no dates."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One image of the study, de-identified, or why it is not."""

    number: int
    """Of the instance in its study."""
    dataset: Dataset | None = None
    """None: it is left out."""
    notice: str | None = None
    """What a person should know of it."""


def export_study(
    settings: Settings,
    study: str,
    *,
    deidentified: bool = False,
    output: Path | None = None,
    console: Console | None = None,
) -> int:
    """Write a study's images and results, de-identified, into an empty folder, and audit it.

    Return 1 if an image or the results had to be left out. Raises Rejected EXPORT_HOW, STUDY_UNKNOWN,
    EXPORT_FOLDER_NOT_EMPTY, and what `read_site_key` raises; Resource EXPORT_NOT_WRITTEN.
    """
    if not deidentified:
        raise Rejected(
            "EXPORT_HOW", "Only de-identified copies are exported: give --deidentified as well."
        )
    console, key = console or wide_console(), read_site_key(settings)
    with opened(settings) as database:
        with database.reading() as session:
            detail = _detail(session, resolve_study_key(session, study))
            models = list_models(session)
        folder = _empty_folder(output or Path(f"export-{detail.summary.study_key[:12]}"))
        images = [_export_image(item, settings, key) for item in _current(detail)]
        results, why = _export_results(detail, images, models, settings, key)
        table = _write(images, results, folder)
        left_out = sum(image.dataset is None for image in images)
        with database.transaction() as session:
            append_entry(
                session,
                AuditEvent.STUDY_EXPORTED,
                detail.summary.study_key,
                {
                    "profile": "113100 DCM",
                    "images": len(images) - left_out,
                    "left_out": left_out,
                    "results": len(results),
                },
                actor(),
            )
    console.print(table)
    for notice in _notices(images, why):
        console.print(notice)
    console.print(RESEARCH_ONLY)
    return 1 if left_out or why else 0


def _detail(session: Session, key: str) -> StudyDetail:
    detail = study_detail(session, key)
    assert detail is not None  # the same look has found its key
    return detail


def _current(detail: StudyDetail) -> list[InstanceDetail]:
    """Return the images that count: none that another content has replaced."""
    return [item for item in detail.instances if item.replaced_in_revision is None]


def _empty_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise _not_written(error) from None
    if not is_empty:
        raise Rejected(
            "EXPORT_FOLDER_NOT_EMPTY",
            "The folder of --output is not empty. Name another, so that nothing identified lies beside "
            "what is de-identified.",
        )
    return folder


def _export_image(item: InstanceDetail, settings: Settings, key: SiteKey) -> Exported:
    """De-identify one image; one that names somebody in its pixels is left out."""
    number = item.number
    if item.file_removed_at is not None:
        return Exported(number=number, notice="its file was removed by the retention rule")
    try:
        dataset = drop_unreadable(read_dataset(settings.intake_dir / item.file_name))
    except (PneumoError, OSError) as error:
        code = error.code if isinstance(error, PneumoError) else "FILE_MISSING"
        return Exported(number=number, notice=f"it cannot be read ({code})")
    burned_in = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if burned_in not in {"", "NO"}:
        return Exported(number=number, notice="its pixels hold annotation (Burned In Annotation)")
    unsure = None if burned_in else "does not say whether its pixels hold annotation: look at it"
    return Exported(number=number, dataset=deidentify(dataset, key), notice=unsure)


def _export_results(
    detail: StudyDetail,
    images: list[Exported],
    models: list[ModelRecord],
    settings: Settings,
    key: SiteKey,
) -> tuple[list[Dataset], str | None]:
    """Build the results anew from the de-identified images; return them, or why there are none."""
    if detail.summary.verdict in {None, Verdict.FAILED}:
        return [], "the study has no result"
    if any(image.dataset is None for image in images):
        return [], "an image that they are about was left out"
    try:
        objects = _rebuild(detail, images, models, settings)
    except PneumoError as error:
        return [], f"they cannot be built ({error.code})"
    # Their own UIDs are known to the PACS that they were sent to.
    own = {str(uid) for o in objects for uid in (o.SOPInstanceUID, o.SeriesInstanceUID)}
    for dataset in objects:
        replace_uids(dataset, own, key)
        record_method(dataset)
    return objects, None


def _rebuild(
    detail: StudyDetail, images: list[Exported], models: list[ModelRecord], settings: Settings
) -> list[Dataset]:
    (model,) = (m for m in models if m.name == detail.summary.model_name)
    bundle = load_bundle(find_bundle(model, settings))
    verdict = detail.summary.verdict
    assert verdict is not None  # _export_results has checked it
    reported = ReportedResult(
        revision=detail.summary.revision,
        model_name=model.name,
        verdict=verdict,
        finished_at=DUMMY_TIME,
    )
    current = _current(detail)
    with tempfile.TemporaryDirectory() as folder:
        storage = IntakeStorage(Path(folder))
        for item, image in zip(current, images, strict=True):
            path = storage.path_of(item.file_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            dcmwrite(path, image.dataset, enforce_file_format=True)
        only_current = replace(detail, instances=tuple(current))
        return result_objects(only_current, reported, bundle, storage, ResultSettings.of(settings))


def _write(images: list[Exported], results: list[Dataset], folder: Path) -> Table:
    """Write the files under names that say nothing of the patient."""
    table = titled_table(f"De-identified copies in {folder}", "file", "content")
    contents = {
        f"image-{image.number}.dcm": (image.dataset, f"image no. {image.number}")
        for image in images
        if image.dataset is not None
    }
    for number, dataset in enumerate(results):
        is_report = dataset.Modality == "SR"
        name = "report.dcm" if is_report else f"capture-{number}.dcm"
        contents[name] = dataset, "structured report" if is_report else "capture for viewers"
    try:
        for name, (dataset, what) in contents.items():
            (folder / name).write_bytes(to_bytes(dataset))
            table.add_row(name, what)
    except OSError as error:
        raise _not_written(error) from None
    return table


def _not_written(error: OSError) -> Resource:
    return Resource(
        "EXPORT_NOT_WRITTEN",
        f"The copies could not be written ({type(error).__name__}). Give another folder with --output.",
    )


def _notices(images: list[Exported], why: str | None) -> list[Text]:
    left_out = [image for image in images if image.dataset is None]
    unsure = [image for image in images if image.dataset is not None and image.notice]
    notices = [
        warning(f"Image no. {image.number} is left out:", f"{image.notice}.") for image in left_out
    ]
    notices += [Text(f"Image no. {i.number} {i.notice}.", style="yellow") for i in unsure]
    if why:
        notices.append(warning("No results are exported:", f"{why}."))
    notices.append(
        Text(
            f"{counted(len(images) - len(left_out), 'image')}: the header is de-identified by PS3.15 "
            "Annex E, the pixels are unchanged. Look at each image before you pass it on."
        )
    )
    return notices
