"""De-identify a data set by the Basic Application Level Confidentiality Profile (PS3.15 Annex E).

Which attribute is removed, emptied or replaced is Table E.1-1 as `dicom-anonymizer` carries it. What that
library leaves to its caller is done here: items of sequences, UIDs that stay the same over several exports,
the file meta, and the coded record of what was done. Pixel data are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.metadata import version

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID_dictionary

from db.ledger.pseudonyms import SiteKey

EDITION = "dicomfields_2026c"
METHOD = (
    "PS3.15 2026c E.1-1 Basic Profile, UIDs replaced, "
    f"dicom-anonymizer {version('dicom-anonymizer')}"
)
"""(0012,0063), LO: at most 64 characters a value."""
NAME_DIGITS = 16
"""Of the patient's pseudonym, in place of a name."""
_Action = Callable[[Dataset, tuple[int, ...]], None]


def deidentify(dataset: Dataset, key: SiteKey) -> Dataset:
    """De-identify a data set in place, and return it.

    Patient ID and Patient's Name become the pseudonym, and UIDs others derived by the site's key, so that
    images and results of one study, and later exports of the same patient, still belong together.
    """
    patient = str(dataset.get("PatientID") or "").strip()
    issuer = str(dataset.get("IssuerOfPatientID") or "").strip()
    _apply(dataset, _rules(key))
    pseudonym = key.of_patient(patient, issuer) if patient else ""
    dataset.PatientID, dataset.PatientName = pseudonym, pseudonym[:NAME_DIGITS]
    record_method(dataset)
    _renew_file_meta(dataset)
    return dataset


def replace_uids(dataset: Dataset, uids: Collection[str], key: SiteKey) -> None:
    """Replace these UIDs wherever they stand in a data set, its items and its file meta."""

    def replace(_dataset: Dataset, element: object) -> None:
        if getattr(element, "VR", None) == "UI" and str(element.value) in uids:  # type: ignore[attr-defined]
            element.value = key.of_uid(str(element.value))  # type: ignore[attr-defined]

    dataset.walk(replace)
    dataset.file_meta.walk(replace)


def record_method(dataset: Dataset) -> None:
    """Say in the data set that, and how, it was de-identified (PS3.3 C.7.1.1, PS3.16 CID 7050)."""
    profile = Dataset()
    profile.CodeValue, profile.CodingSchemeDesignator = "113100", "DCM"
    profile.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [part.strip() for part in METHOD.split(",")]
    dataset.DeidentificationMethodCodeSequence = Sequence([profile])
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _rules(key: SiteKey) -> dict[tuple[int, ...], _Action]:
    """Return the profile's table, with our way to replace a UID."""
    table = dicom_anonymization_database_selector(EDITION)
    rules: dict[tuple[int, ...], _Action] = {
        tag: _or_remove(action) for tag, action in initialize_actions(EDITION).items()
    }
    rules |= {tag: _uid_rule(key) for tag in table["U_TAGS"]}
    rules |= dict.fromkeys(table["X_Z_U_STAR_TAGS"], _remove)
    return rules


def _apply(dataset: Dataset, rules: dict[tuple[int, ...], _Action]) -> None:
    """Apply the table to a data set, and to the items of every sequence that it leaves (PS3.15 E.1.1)."""
    anonymize_dataset(dataset, base_rules_gen=lambda: rules)
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _apply(item, rules)


def _or_remove(action: _Action) -> _Action:
    """Remove an element whose VR the library has no dummy value for."""

    def apply(dataset: Dataset, tag: tuple[int, ...]) -> None:
        try:
            action(dataset, tag)
        except Exception:  # noqa: BLE001  whatever it is: what cannot be cleaned must not stay
            _remove(dataset, tag)

    return apply


def _remove(dataset: Dataset, tag: tuple[int, ...]) -> None:
    if tag in dataset:
        del dataset[tag]


def _uid_rule(key: SiteKey) -> _Action:
    def apply(dataset: Dataset, tag: tuple[int, ...]) -> None:
        if tag not in dataset:
            return
        element = dataset[tag]
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        replaced = [_other_uid(str(value), key) for value in values if value]
        element.value = replaced if len(replaced) > 1 else "".join(replaced)

    return _or_remove(apply)


def _other_uid(uid: str, key: SiteKey) -> str:
    """Return another UID for all but those that the standard registers (PS3.6 Annex A)."""
    return uid if uid in UID_dictionary else key.of_uid(uid)


def _renew_file_meta(dataset: Dataset) -> None:
    """Keep of the file meta what is needed to read the file: the rest names systems and senders."""
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.preamble = b"\0" * 128
