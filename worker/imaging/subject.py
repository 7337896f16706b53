"""Who or what was put before the detector: a person, an animal, a phantom, a specimen.

A radiograph of a dog is a chest to every other element. What says so is read from the Patient module
(PS3.3 C.7.1.1), the General Image module (C.7.6.1) and the Specimen module (C.7.6.22). Names and ids are no
evidence, whatever they are called.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from worker.imaging.header_values import (
    code_string,
    first_item,
    folded,
    is_filled,
    snomed_code,
    text,
)

HUMAN = "Homo sapiens"
_HUMAN_WORDS = frozenset({"HOMO SAPIENS", "HOMO SAPIENS SAPIENS", "H. SAPIENS", "HUMAN", "HUMANS"})
_HUMAN_CODES = frozenset({("SCT", "337915000"), ("SRT", "L-85B00")})
"""PS3.16 CID 7454, Animal Taxonomic Rank Values."""
BREEDING = (
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "StrainDescription",
    "StrainStockSequence",
    "StrainCodeSequence",
    "GeneticModificationsSequence",
    "PatientSexNeutered",
)
"""Elements that C.7.1.1, C.7.1.4 and C.7.2.2 have for animals; a person may carry one that is empty."""
ORIENTATION_TYPES = frozenset({"BIPED", "QUADRUPED"})
RESPONSIBLE_PERSON_ROLES = frozenset(
    [
        "OWNER",
        "PARENT",
        "CHILD",
        "SPOUSE",
        "SIBLING",
        "RELATIVE",
        "GUARDIAN",
        "CUSTODIAN",
        "AGENT",
        "INVESTIGATOR",
        "VETERINARIAN",
    ]
)
"""PS3.3 C.7.1.1.1.2."""
QUALITY_CONTROL = frozenset({"YES", "NO", "BOTH"})
_TEST_WORDS = frozenset({"TEST", "TESTPATTERN", "QA", "QC", "PHANTOM", "CALIBRATION", "FLATFIELD"})
_BESIDE_TEST = frozenset({"PATTERN", "IMAGE"})
_TEST_PHRASES = frozenset({"QUALITY CONTROL", "QUALITY ASSURANCE", "FLAT FIELD"})
_SPECIMEN = ("SpecimenDescriptionSequence", "SpecimenSequence", "SpecimenAccessionNumber")

SUBJECT_KEYWORDS = (
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "AnatomicalOrientationType"),
    *("ResponsiblePersonRole", "QualityControlImage", "ImageType"),
    *BREEDING,
    *_SPECIMEN,
    "PatientDeathDateInAlternativeCalendar",
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the header says of whom it shows; nothing of it is quoted but defined terms."""

    species: str | None = None
    """(0010,2201) Patient Species Description: `HUMAN`, "another species", or None."""
    species_code: str | None = None
    """(0010,2202) Patient Species Code Sequence: likewise."""
    breeding: tuple[str, ...] = ()
    """Those of `BREEDING` that have a value."""
    anatomical_orientation_type: str | None = None
    """(0010,2210): BIPED or QUADRUPED."""
    responsible_person_role: str | None = None
    """(0010,2298), one of `RESPONSIBLE_PERSON_ROLES`."""
    quality_control_image: str | None = None
    """(0028,0300): YES, NO or BOTH."""
    test_image_type: str | None = None
    """The value of (0008,0008) Image Type that says test or quality control."""
    is_specimen: bool = False
    """Whether there is a specimen module."""
    is_deceased: bool = False
    """Whether there is a date of death."""

    @property
    def is_said_to_be_human(self) -> bool:
        """Whether a species is given and it is ours."""
        said = {self.species, self.species_code} - {None}
        return said == {HUMAN}


def read_subject(dataset: Dataset) -> Subject:
    """Read what the header says of whom it shows. Raises RefusedInstance HEADER_UNREADABLE."""
    return Subject(
        species=_species(dataset),
        species_code=_species_code(dataset),
        breeding=tuple(keyword for keyword in BREEDING if is_filled(dataset, keyword)),
        anatomical_orientation_type=_term(dataset, "AnatomicalOrientationType", ORIENTATION_TYPES),
        responsible_person_role=_term(dataset, "ResponsiblePersonRole", RESPONSIBLE_PERSON_ROLES),
        quality_control_image=_term(dataset, "QualityControlImage", QUALITY_CONTROL),
        test_image_type=_test_image_type(dataset),
        is_specimen=any(is_filled(dataset, keyword) for keyword in _SPECIMEN),
        is_deceased=is_filled(dataset, "PatientDeathDateInAlternativeCalendar"),
    )


def unknown_terms(dataset: Dataset) -> tuple[str, ...]:
    """The keywords of code strings with a value that the standard does not define."""
    terms = {
        "AnatomicalOrientationType": ORIENTATION_TYPES,
        "ResponsiblePersonRole": RESPONSIBLE_PERSON_ROLES,
        "QualityControlImage": QUALITY_CONTROL,
    }
    return tuple(
        kw for kw, known in terms.items() if code_string(dataset, kw) not in {None, *known}
    )


def _species(dataset: Dataset) -> str | None:
    said = folded(text(dataset, "PatientSpeciesDescription"))
    return None if said is None else HUMAN if said in _HUMAN_WORDS else "another species"


def _species_code(dataset: Dataset) -> str | None:
    item = first_item(dataset, "PatientSpeciesCodeSequence")
    if not item:
        return None
    meaning = folded(text(item, "CodeMeaning"))
    is_human = snomed_code(dataset, "PatientSpeciesCodeSequence") in _HUMAN_CODES
    return HUMAN if is_human or meaning in _HUMAN_WORDS else "another species"


def _term(dataset: Dataset, keyword: str, terms: frozenset[str]) -> str | None:
    value = code_string(dataset, keyword)
    return value if value in terms else None


def _test_image_type(dataset: Dataset) -> str | None:
    for value in (code_string(dataset, "ImageType") or "").split("\\"):
        phrase = value.replace("_", " ").replace("-", " ").strip()
        words = set(phrase.split())
        if phrase in _TEST_PHRASES or (words & _TEST_WORDS and words <= _TEST_WORDS | _BESIDE_TEST):
            return phrase
    return None
