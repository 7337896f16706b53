"""What free text says beside the coded elements: enough to warn of, too little to refuse for.

Only whether a word occurs leaves this module: a description may hold a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom.dataset import Dataset

from worker.imaging.header_values import text

DESCRIPTION_KEYWORDS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProcedureStepDescription",
    "StudyDescription",
)
_OF_ONE_IMAGE = DESCRIPTION_KEYWORDS[:3]
"""A study or a procedure may well have both views; these describe what this image is one of."""
_LATERAL = frozenset(
    [
        "LAT",
        "LATERAL",
        "LATERALE",
        "LATERALES",
        "LATERALIS",
        "LATERALT",
        "LATERÁL",
        "LATÉRAL",
        "LATÉRALE",
        "LATERALNA",
        "LATERALNE",
        "LL",
        "LLAT",
        "RLAT",
        "SEITLICH",
        "SEITL",
        "SEITE",
        "SIDE",
        "PROFIL",
        "PROFILE",
        "PERFIL",
        "PROFILO",
        "SAGITTAL",
        "ZIJDELINGS",
        "BOCZNE",
        "BOCZNA",
        "BOCZNY",
        "BOČNÍ",
        "BOČNO",
        "OLDALIRÁNYÚ",
        "OLDAL",
        "SIDA",
        "YAN",
        "LATERALES",
        "БОКОВАЯ",
        "БОКОВОЙ",
        "БОК",
        "СТРАНИЧНА",
        "ΠΛΑΓΙΑ",
        "ΠΡΟΦΙΛ",
        "جانبي",
        "جانبية",
    ]
)
_LATERAL_SIGNS = ("側面", "側位", "侧位", "侧面", "측면")
"""Scripts that put no blank between words."""
_POST_MORTEM = frozenset(
    [
        "POSTMORTEM",
        "AUTOPSY",
        "AUTOPSIE",
        "AUTOPSIA",
        "OBDUKTION",
        "FORENSIC",
        "CADAVER",
        "NECROPSY",
        "DECEASED",
    ]
)


def describes_lateral(dataset: Dataset) -> bool:
    """Whether a description of the image names a lateral view."""
    return any(
        words & _LATERAL or any(sign in said for sign in _LATERAL_SIGNS)
        for said, words in _said(dataset, _OF_ONE_IMAGE)
    )


def describes_post_mortem(dataset: Dataset) -> bool:
    """Whether a description says that the person was dead."""
    return any(
        words & _POST_MORTEM or {"POST", "MORTEM"} <= words
        for _, words in _said(dataset, DESCRIPTION_KEYWORDS)
    )


def _said(dataset: Dataset, keywords: tuple[str, ...]) -> Iterator[tuple[str, frozenset[str]]]:
    for keyword in keywords:
        said = text(dataset, keyword) or ""
        yield said, frozenset(re.findall(r"[^\W_]+", said.upper()))
