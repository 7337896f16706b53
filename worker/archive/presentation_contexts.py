"""Presentation contexts of queries and of C-GET.

C-GET proposes radiographs in every transfer syntax, and as many other classes as have room: an archive
cannot send what has no accepted presentation context (PS3.4 C.4.3.2), and an association has 128 at
most; so other classes of a study may have to be named first.
"""

from __future__ import annotations

from collections.abc import Collection

from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext, StoragePresentationContexts
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

MAX_CONTEXTS = 128
"""Of an association: their ids are the odd numbers of one byte (PS3.8 9.3.2.2)."""
RADIOGRAPHS = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
)
"""Proposed in each transfer syntax on its own, so that the archive need not transcode."""
NATIVE_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
COMPRESSED_SYNTAXES = tuple(
    uid for uid in AllTransferSyntaxes if uid not in NATIVE_SYNTAXES and uid.is_compressed
)
STILL_IMAGE_SYNTAXES = tuple(
    uid
    for uid in COMPRESSED_SYNTAXES
    if not any(word in uid.name for word in ("MPEG", "HEVC", "JPIP", "SMPTE", "Part 2"))
)
RELATED_TO_RADIOGRAPHS = (
    "1.2.840.10008.5.1.4.1.1.1.",  # mammography, intra-oral
    "1.2.840.10008.5.1.4.1.1.7.",  # multi-frame Secondary Capture
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key objects
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.12.",  # X-ray angiography and fluoroscopy
)
"""Classes that studies of radiographs also hold; proposed first, as not everything has room."""


def query_context(sop_class: str) -> PresentationContext:
    """Return the context of a query/retrieve service, in both uncompressed little endian syntaxes."""
    return build_context(sop_class, list(NATIVE_SYNTAXES[:2]))


def c_get_contexts(also: Collection[str] = ()) -> list[PresentationContext]:
    """Return C-GET itself, radiographs syntax by syntax, and as much of all other storage as has room.

    `also`: SOP classes to propose before others; may be private.
    """
    proposed = [query_context(StudyRootGet)]
    for sop_class in RADIOGRAPHS:
        proposed.append(build_context(sop_class, list(NATIVE_SYNTAXES)))
        proposed += [build_context(sop_class, syntax) for syntax in STILL_IMAGE_SYNTAXES]
    known = (str(it.abstract_syntax) for it in StoragePresentationContexts)
    others = dict.fromkeys([*also, *sorted(known, key=_is_far_from_radiographs)])
    proposed += [
        build_context(sop_class, [*NATIVE_SYNTAXES[:2], *STILL_IMAGE_SYNTAXES])
        for sop_class in others
        if sop_class not in RADIOGRAPHS
    ]
    return proposed[:MAX_CONTEXTS]


def _is_far_from_radiographs(sop_class: str) -> bool:
    return not sop_class.startswith(RELATED_TO_RADIOGRAPHS)
