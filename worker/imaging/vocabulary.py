"""The words that may be quoted. Any tag may hold a name, so what is not listed is described.

Terms come from PS3.3 (modality C.7.3.1.1.1, view C.8.1.1 and C.8.11.5, photometric C.7.6.3.1.2)
and PS3.16 annex L (body parts), with the spellings that real consoles write.
"""

from __future__ import annotations

import re

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

CHEST_WORDS = frozenset({"CHEST", "THORAX", "TORAX", "LUNG", "LUNGS"})
"""A body part with one of these words is a chest, if every other word is a `QUALIFIER`."""
QUALIFIERS = _terms(
    "PA AP FRONTAL ERECT UPRIGHT STANDING SUPINE SITTING PORT PORTABLE MOBILE BEDSIDE"
    " VIEW VIEWS 1 2"
)
"""Words that consoles put beside a chest or a frontal view without making it another one."""
FRONTAL_WORDS = frozenset({"PA", "AP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR"})
"""A view with one of these words is frontal, if every other word is a `QUALIFIER`."""
OTHER_VIEW_WORDS = _terms(
    "LL RL LLD RLD LLO RLO LAO RAO LPO RPO LAT LATERAL OBLIQUE OBL DECUB DECUBITUS LORDOTIC AXIAL"
    " TANGENTIAL SAGITTAL CC MLO ML LM XCCL CV LEFT RIGHT SWIMMERS"
)
OTHER_BODY_PART_WORDS = _terms(
    "ABDOMEN ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS"
    " CALF CARDIAC CAROTID CERVICAL CERVIX CHEEK CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON"
    " CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW EXTREMITY EYE EYELID FACE FEMUR"
    " FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM JAW JEJUNUM"
    " JOINT KIDNEY KNEE LARYNX LEG LIVER LOWER LSPINE LSSPINE LUMBAR MANDIBLE MAXILLA MEDIASTINUM"
    " MOUTH NECK NECKCHEST NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PHANTOM"
    " PROSTATE RECTUM RIB RIBS SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SINUS SKULL SPINE"
    " SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THORACIC THUMB THYMUS THYROID TIBIA TOE TONGUE"
    " TRACHEA TSPINE TLSPINE UPPER URETER URETHRA UTERUS VAGINA VERTEBRA VULVA WHOLEBODY WRIST"
    " ZYGOMA"
)
VIEW_WORDS = FRONTAL_WORDS | OTHER_VIEW_WORDS | QUALIFIERS
BODY_PART_WORDS = CHEST_WORDS | OTHER_BODY_PART_WORDS | VIEW_WORDS

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
SNOMED_ALIASES = {"SCT": "SCT", "SRT": "SRT", "SNM3": "SRT", "99SDM": "SRT"}
"""Coding schemes whose codes we can tell apart; a local scheme says nothing to us."""


def words(value: str) -> frozenset[str]:
    """Return the words of a term in capitals: "Chest, PA" -> {"CHEST", "PA"}."""
    return frozenset(re.findall(r"[^\W_]+", value.upper()))


def describe(value: str) -> str:
    """Return what may be said about a value that is no defined term: how long it is."""
    return f"a value of {len(value)} characters that is no defined term"


def term(value: str | None, terms: frozenset[str]) -> str | None:
    """Return the value in capitals if it is one of `terms`, a description if not, None if empty."""
    if value is None or not value.strip():
        return None
    upper = value.strip().upper()
    return upper if upper in terms else describe(upper)


def phrase(value: str | None, allowed: frozenset[str]) -> str | None:
    """As `term`, for values of several words, each of which must be in `allowed`."""
    if value is None or not value.strip():
        return None
    upper = " ".join(value.upper().split())
    found = words(upper)
    return upper if found and found <= allowed else describe(upper)


def says(value: str, subject: frozenset[str]) -> bool:
    """Return whether a phrase names one of `subject` and nothing that would make it something else."""
    found = words(value)
    return bool(found & subject) and found <= subject | QUALIFIERS


def uid_name(uid: str, what: str) -> str:
    """Return the registered name of a UID; an unregistered one is only called what it should be."""
    return str(UID(uid).name) if uid in UID_dictionary else f"an unregistered {what}"
