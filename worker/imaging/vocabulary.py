"""The words that may be quoted. Any tag may hold a name, so what is not listed is described.

Terms come from PS3.3 (modality C.7.3.1.1.1, photometric C.7.6.3.1.2). Body parts and views, for which
consoles have words of their own, are those of `words.toml` and of the site.
"""

from __future__ import annotations

from pydicom.uid import UID, UID_dictionary


def _terms(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ABSENT = "no value"

MODALITIES = _terms(
    "AR AU BI BMD CR CT DG DOC DX ECG EPS ES FID GM HD IO IVOCT IVUS KER KO LEN LS MG MR NM OAM"
    " OCT OP OPM OPT OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTSTRUCT SEG"
    " SM SMR SR SRF STAIN TG US VA XA XC"
)
PHOTOMETRIC_INTERPRETATIONS = _terms(
    "MONOCHROME1 MONOCHROME2 RGB ARGB CMYK HSV YBR_FULL YBR_FULL_422 YBR_PARTIAL_420"
    " YBR_PARTIAL_422 YBR_ICT YBR_RCT XYB"
) | {"PALETTE COLOR"}
PRESENTATION_INTENTS = frozenset({"FOR PRESENTATION", "FOR PROCESSING"})
YES_NO = frozenset({"YES", "NO"})

VIEW_CODES = {
    ("SCT", "399348003"): "AP", ("SRT", "R-10206"): "AP",
    ("SCT", "272479007"): "PA", ("SRT", "R-40888"): "PA", ("SRT", "R-10214"): "PA",
    ("SCT", "399033003"): "FRONTAL", ("SRT", "R-10202"): "FRONTAL",
    ("SCT", "399067008"): "LATERAL", ("SRT", "R-102CD"): "LATERAL",
    ("SCT", "399173006"): "LATERAL", ("SRT", "R-10236"): "LATERAL",
    ("SCT", "399198007"): "LATERAL", ("SRT", "R-10232"): "LATERAL",
}  # fmt: skip
"""View Code Sequence, PS3.16 CID 4010; every other code there is neither AP nor PA."""
CHEST_CODES = frozenset({
    ("SCT", "816094009"), ("SCT", "51185008"), ("SRT", "T-D3000"),  # chest, thorax
    ("SCT", "39607008"), ("SRT", "T-28000"),  # lung
    ("SCT", "43799004"), ("SRT", "T-D3200"),  # thoracic cavity
})  # fmt: skip
"""Anatomic Region Sequence, PS3.16 CID 4009 and its retired spellings."""
CHEST_PROCEDURES = frozenset({
    ("SCT", "399208008"),  # plain chest X-ray
    ("LN", "30745-4"), ("LN", "36643-5"),  # chest views, 2 views
    ("LN", "36572-6"), ("LN", "42272-5"),  # AP; PA and lateral
    *(("C4", code) for code in ("71010", "71020", "71045", "71046", "71047", "71048")),
})  # fmt: skip
"""Procedure Code Sequence: radiographs of the chest in SNOMED CT, LOINC and CPT."""
SNOMED_ALIASES = {"SCT": "SCT", "SRT": "SRT", "SNM3": "SRT", "99SDM": "SRT"}
"""Coding schemes whose codes we can tell apart; a local scheme says nothing to us."""


def describe(value: str) -> str:
    """Return what may be said about a value that is no defined term: how long it is."""
    return f"a value of {len(value)} characters that is no defined term"


def term(value: str | None, terms: frozenset[str]) -> str | None:
    """Return the value in capitals if it is one of `terms`, a description if not, None if empty."""
    if value is None or not value.strip():
        return None
    upper = value.strip().upper()
    return upper if upper in terms else describe(upper)


def uid_name(uid: str, what: str) -> str:
    """Return the registered name of a UID; an unregistered one is only called what it should be."""
    return str(UID(uid).name) if uid in UID_dictionary else f"an unregistered {what}"
