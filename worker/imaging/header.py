"""What we keep of a DICOM header: identifiers, a few numbers, and words that may be quoted."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.imaging.subject import Subject


@dataclass(frozen=True, kw_only=True)
class PixelSize:
    """Height and width of a pixel as one element tells them."""

    element: str
    """e.g. "Pixel Aspect Ratio"."""
    height: float
    """Above 0; from row to row, in mm or as a part of a ratio."""
    width: float
    """Above 0; from column to column, in the same unit."""

    def __str__(self) -> str:
        return f"{self.element} {self.height:g}\\{self.width:g}"


@dataclass(frozen=True, kw_only=True)
class InstanceHeader:
    """One instance without its pixels.

    `repr` shows no identifier. The text fields hold a defined term or a description such as
    "a value of 8 characters that is no defined term", never free text: any tag may hold a name.
    """

    study_instance_uid: str = field(repr=False)
    """(0020,000D); digits and dots, at most 64 characters."""
    series_instance_uid: str = field(repr=False)
    """(0020,000E); likewise."""
    sop_instance_uid: str = field(repr=False)
    """(0008,0018); likewise."""
    sop_class_uid: str = field(repr=False)
    """(0008,0016); likewise."""
    transfer_syntax_uid: str = field(repr=False)
    """(0002,0010), or the encoding pydicom found when the file meta is absent."""
    patient_id: str | None = field(default=None, repr=False)
    """(0010,0020), personal."""
    issuer_of_patient_id: str | None = field(default=None, repr=False)
    """(0010,0021), personal beside the id."""
    accession_number: str | None = field(default=None, repr=False)
    """(0008,0050), personal."""
    patient_sex: str | None = field(default=None, repr=False)
    """(0010,0040) as "M", "F" or "O"; None if it says anything else."""
    patient_age_years: float | None = field(default=None, repr=False)
    """(0010,1010) in years; without it, Study Date less Birth Date."""
    is_age_unreadable: bool = False
    """Whether there is an age, or a birth date, and nobody can say what it means."""
    modality: str | None = None
    """(0008,0060)."""
    body_part_examined: str | None = None
    """(0018,0015)."""
    anatomic_region: str | None = None
    """(0008,2218): "CHEST", "NOT CHEST", or None if absent or in a code we do not know."""
    view_position: str | None = None
    """(0018,5101)."""
    view_code: str | None = None
    """(0054,0220), which DX has to carry: "AP", "PA", "FRONTAL", "LATERAL", "OTHER" or None."""
    patient_orientation: str | None = None
    """(0020,0020), direction of the rows and of the columns, as "L\\F"."""
    photometric_interpretation: str | None = None
    """(0028,0004)."""
    presentation_intent_type: str | None = None
    """(0008,0068)."""
    burned_in_annotation: str | None = None
    """(0028,0301)."""
    manufacturer: str | None = field(default=None, repr=False)
    """(0008,0070), printable characters, at most 64 of them."""
    series_description: str | None = field(default=None, repr=False)
    """(0008,103E), as it stands: may be personal."""
    software_versions: str | None = field(default=None, repr=False)
    """(0018,1020), all values with backslashes between."""
    samples_per_pixel: int | None = None
    """(0028,0002)."""
    bits_allocated: int | None = None
    """(0028,0100)."""
    bits_stored: int | None = None
    """(0028,0101)."""
    high_bit: int | None = None
    """(0028,0102)."""
    pixel_representation: int | None = None
    """(0028,0103): 0 unsigned, 1 two's complement."""
    rows: int | None = None
    """(0028,0010), H."""
    columns: int | None = None
    """(0028,0011), W."""
    pixel_sizes: tuple[PixelSize, ...] = ()
    """Every element that tells a pixel's height and width, less those that say 0 for unknown."""
    number_of_frames: int = 1
    """(0028,0008); 1 where it is absent."""
    subject: Subject = field(default_factory=Subject)
    """Who or what was put before the detector."""
    describes_lateral: bool = False
    """Whether (0008,103E), (0018,1030) or (0018,1400) names a lateral view."""
    describes_post_mortem: bool = False
    """Whether a description says that the person was dead."""
    unreadable: frozenset[str] = frozenset()
    """Keywords of elements that have a value of which nobody can say what it means."""
    decimal_commas: frozenset[str] = frozenset()
    """Keywords of elements in which a comma was read as a point."""
