"""Every coded concept that our objects use, with its place in PS3.16 (CID, TID).

pydicom's dictionary has no concept of pneumonia, so it is defined here.
"""

from __future__ import annotations

from enum import Enum

from pydicom.sr.coding import Code

# The finding and its site
PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
LUNG = Code("39607008", "SCT", "Lung")
PRESENT = Code("52101004", "SCT", "Present")  # CID 240
ABSENT = Code("272519000", "SCT", "Absent")  # CID 240

# The score
PROBABILITY = Code("122157", "DCM", "Probability")
NO_UNITS = Code("1", "UCUM", "no units")

# What was done
PLAIN_CHEST_RADIOGRAPHY = Code("399208008", "SCT", "Plain chest X-ray")
PLAIN_RADIOGRAPHY = Code("168537006", "SCT", "Plain radiography")  # CID 10005
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")  # CID 100
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005
SOURCE_IMAGE = Code(  # CID 7202
    "121322", "DCM", "Source image for image processing operation"
)
SOURCE = Code("260753009", "SCT", "Source")

# Outcome of the analysis
SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
ANALYSES = Code("111065", "DCM", "Summary of Analyses")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500
COMMENT = Code("121106", "DCM", "Comment")


class Summary(Enum):
    """CID 6047: without it a reader could not tell "no finding" from "not run"."""

    WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
    """Everything was evaluated; no pneumonia."""
    WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
    """Everything was evaluated; pneumonia."""
    PARTLY_WITHOUT_FINDINGS = Code(
        "111243", "DCM", "Not all algorithms succeeded; without findings"
    )
    """An image was left out; no pneumonia on the others."""
    PARTLY_WITH_FINDINGS = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
    """An image was left out; pneumonia on another."""
    NOT_EVALUATED = Code("111245", "DCM", "No algorithms succeeded; without findings")
    """Nothing was evaluated: neither pneumonia nor its absence is reported."""


class Status(Enum):
    """CID 6042: status of the analysis of one image, or of the study."""

    SUCCEEDED = Code("111222", "DCM", "Succeeded")
    """Evaluated."""
    PARTIALLY_SUCCEEDED = Code("111223", "DCM", "Partially Succeeded")
    """Some images were."""
    NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")
    """Not evaluated."""
