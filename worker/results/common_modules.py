"""What all our objects have in common: whose study, which series, what made it, when.

Nothing here asks the clock or the machine: the same result gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from worker.results.character_set import character_set_for
from worker.results.codes import PROCESSING_EQUIPMENT
from worker.results.patient_and_study import copy_patient_and_study
from worker.results.result_settings import ResultSettings
from worker.results.study_clock import StudyClock
from worker.results.study_result import StudyResult
from worker.results.uids import IMPLEMENTATION_CLASS_UID, UID_SCHEME_VERSION, device_uid


@dataclass(frozen=True, kw_only=True)
class ObjectPlacement:
    """Where an object stands within its study."""

    sop_class_uid: str
    """What it is."""
    sop_instance_uid: str
    """Its own name."""
    series_instance_uid: str
    """Its series, which holds nothing but our objects."""
    series_number: int
    """Far behind those of the modality."""
    series_description: str
    """What a PACS lists."""
    modality: str
    """SR or OT."""
    instance_number: int
    """From 1 within the series."""


def base_dataset(
    result: StudyResult, source: Dataset, words: ResultSettings, place: ObjectPlacement
) -> Dataset:
    """A dataset with file meta, patient, study, series, equipment and SOP common modules.

    `source`: the header whose patient and study it has.
    """
    dataset = Dataset()
    dataset.file_meta = _file_meta(place)
    terms = character_set_for(source, words.disclaimer)
    if terms:
        dataset.SpecificCharacterSet = list(terms)
    copy_patient_and_study(source, dataset)
    _add_series(dataset, place)
    _add_equipment(dataset, result, words)
    _add_sop_common(dataset, result, StudyClock.of(source, words), place)
    return dataset


def coded(code: Code) -> list[Dataset]:
    """A code as the one item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return [item]


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item that names an instance (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _file_meta(place: ObjectPlacement) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(place.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(place.sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"PNEUMO_RESULT_{UID_SCHEME_VERSION}"
    return meta


def _add_series(dataset: Dataset, place: ObjectPlacement) -> None:
    dataset.Modality = place.modality
    dataset.SeriesInstanceUID = place.series_instance_uid
    dataset.SeriesNumber = place.series_number
    dataset.SeriesDescription = place.series_description[:64]
    dataset.InstanceNumber = place.instance_number


def _add_equipment(dataset: Dataset, result: StudyResult, words: ResultSettings) -> None:
    """PS3.3 C.7.5.2 Enhanced General Equipment: the model is the device, its digest the serial number."""
    versions = [result.model.label, f"results {UID_SCHEME_VERSION}"]
    for holder in (dataset, contributing := Dataset()):
        holder.Manufacturer = words.manufacturer
        holder.ManufacturerModelName = words.device_name
        holder.DeviceSerialNumber = result.model.bundle_digest
        holder.SoftwareVersions = versions
    # IHE AIR: each algorithm is named as contributing equipment.
    contributing.PurposeOfReferenceCodeSequence = coded(PROCESSING_EQUIPMENT)
    contributing.DeviceUID = device_uid(result.model)
    contributing.ContributionDescription = f"Pneumonia by {result.model.label}"
    dataset.ContributingEquipmentSequence = [contributing]


def _add_sop_common(
    dataset: Dataset, result: StudyResult, clock: StudyClock, place: ObjectPlacement
) -> None:
    dataset.SOPClassUID = place.sop_class_uid
    dataset.SOPInstanceUID = place.sop_instance_uid
    if clock.offset:
        dataset.TimezoneOffsetFromUTC = clock.offset
    for kind in ("Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{kind}Date", clock.date(result.finished_at))
        setattr(dataset, f"{kind}Time", clock.time(result.finished_at))
