"""The modules that all our objects have: patient, study, series, equipment, SOP common.

Nothing here depends on the clock or the machine: the same result gives the same bytes.
"""

from __future__ import annotations

from enum import Enum

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from worker.results.character_set import character_set_for
from worker.results.codes import PROCESSING_EQUIPMENT
from worker.results.patient_and_study import copy_patient_and_study
from worker.results.result_settings import ResultSettings
from worker.results.study_clock import StudyClock
from worker.results.study_result import StudyResult
from worker.results.uids import IMPLEMENTATION_CLASS_UID, UID_SCHEME_VERSION, ResultUids, device_uid


class ObjectKind(Enum):
    """What we send, one series each: SOP class, modality, Series Number, word in the description.

    Series Numbers are far above those of the modality.
    """

    REPORT = (Comprehensive3DSRStorage, "SR", 9101, "report")
    """The structured report."""
    CAPTURE = (SecondaryCaptureImageStorage, "OT", 9102, "picture")
    """Not CR or DX: rules that route radiographs to us must not send it back to be read."""


def base_dataset(
    result: StudyResult,
    source: Dataset,
    settings: ResultSettings,
    kind: ObjectKind,
    sop_instance_uid: str,
    instance_number: int = 1,
) -> Dataset:
    """Create a dataset with file meta, patient, study, series, equipment and SOP common modules.

    Args:
        result: The result that the object is about.
        source: The header from which patient and study are copied.
        settings: The site's choices for our objects.
        kind: Which of our objects it is.
        sop_instance_uid: Its UID.
        instance_number: From 1 within its series.
    """
    sop_class_uid, modality, series_number, what = kind.value
    clock = StudyClock.of(source, settings)
    dataset = Dataset()
    dataset.file_meta = _file_meta(sop_class_uid, sop_instance_uid)
    terms = character_set_for(source, settings.disclaimer)
    if terms:
        dataset.SpecificCharacterSet = list(terms)
    copy_patient_and_study(source, dataset)
    dataset.Modality = modality
    dataset.SeriesInstanceUID = ResultUids.of(result, settings).series(kind.name.lower())
    dataset.SeriesNumber = series_number
    dataset.SeriesDescription = f"Pneumonia, {what} of {result.model.label}"[:64]
    dataset.InstanceNumber = instance_number
    _add_equipment(dataset, result, settings)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = sop_instance_uid
    if clock.offset:
        dataset.TimezoneOffsetFromUTC = clock.offset
    for prefix in ("Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{prefix}Date", clock.date(result.finished_at))
        setattr(dataset, f"{prefix}Time", clock.time(result.finished_at))
    return dataset


def coded(code: Code) -> list[Dataset]:
    """Return a code as the only item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return [item]


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item that references an instance (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _file_meta(sop_class_uid: UID, sop_instance_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"PNEUMO_RESULT_{UID_SCHEME_VERSION}"
    return meta


def _add_equipment(dataset: Dataset, result: StudyResult, settings: ResultSettings) -> None:
    """PS3.3 C.7.5.2 Enhanced General Equipment: the model is the device, its digest its serial."""
    versions = [result.model.label, f"results {UID_SCHEME_VERSION}"]
    for holder in (dataset, contributing := Dataset()):
        holder.Manufacturer = settings.manufacturer
        holder.ManufacturerModelName = settings.device_name
        holder.DeviceSerialNumber = result.model.bundle_digest
        holder.SoftwareVersions = versions
    # IHE AIR: each algorithm is listed as contributing equipment.
    contributing.PurposeOfReferenceCodeSequence = coded(PROCESSING_EQUIPMENT)
    contributing.DeviceUID = device_uid(result.model)
    contributing.ContributionDescription = f"Pneumonia by {result.model.label}"
    dataset.ContributingEquipmentSequence = [contributing]
