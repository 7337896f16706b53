"""What is sent: good radiographs, bad ones, and two kinds that end a process; each with its expected fate."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from tests.builders.dicom import make_instance
from tests.chaos.crash_at import CRASHES_DECODER, CRASHES_WORKER

UID = "1.2.826.0.1.3680043.8.498.9"


class Kind(StrEnum):
    """What a study is."""

    GOOD = "good"
    """It is predicted."""
    BAD = "bad"
    """It is refused by a code."""
    CRASHES_WORKER = "crashes a worker"
    """It is parked after two workers died of it alone."""
    CRASHES_DECODER = "crashes a decoder"
    """It is refused after its decoder died in a process of its own."""


SPOILED = {
    # refusal code: how to make an image that is refused by it
    "PHOTOMETRIC_NOT_MONOCHROME": {"photometric": "RGB"},
    "BODY_PART_NOT_CHEST": {"body_part": "KNEE"},
    "ROWS_OUT_OF_RANGE": {"rows": 16, "columns": 16},
    "VIEW_NOT_FRONTAL": {"view_position": "LL"},
}
"""Bad images."""


@dataclass(frozen=True, kw_only=True)
class ChaosStudy:
    """One study with one instance."""

    uid: str
    kind: Kind

    @property
    def sop_instance_uid(self) -> str:
        """The UID of its only instance, which is also its file's name."""
        return f"{self.uid}.2"


def choose_kinds(count: int, draw: random.Random) -> list[Kind]:
    """Return 90 % good, 8 % bad, 2 % that crash, at least one of each, in random order."""
    crashing, bad = max(1, round(count * 0.02)), max(1, round(count * 0.08))
    kinds = [Kind.CRASHES_DECODER, Kind.CRASHES_WORKER] * crashing
    kinds = kinds[:crashing]
    kinds += [Kind.BAD] * bad
    kinds += [Kind.GOOD] * (count - len(kinds))
    draw.shuffle(kinds)
    return kinds


def write_studies(folder: Path, count: int, draw: random.Random) -> list[ChaosStudy]:
    """Write one file for each study into `folder`."""
    folder.mkdir(parents=True)
    pictures = {kind: _pictures(kind) for kind in Kind}
    studies = []
    for number, kind in enumerate(choose_kinds(count, draw)):
        study = ChaosStudy(uid=f"{UID}.{number}", kind=kind)
        dataset = draw.choice(pictures[kind])
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study.uid, f"{study.uid}.1"
        dataset.SOPInstanceUID = study.sop_instance_uid
        dataset.file_meta.MediaStorageSOPInstanceUID = study.sop_instance_uid
        dataset.save_as(folder / f"{study.sop_instance_uid}.dcm", enforce_file_format=True)
        studies.append(study)
    return studies


def _pictures(kind: Kind) -> list:
    if kind is Kind.GOOD:
        return [make_instance(seed=seed) for seed in range(3)]
    if kind is Kind.BAD:
        return [make_instance(**values) for values in SPOILED.values()]
    rows = CRASHES_WORKER if kind is Kind.CRASHES_WORKER else CRASHES_DECODER
    return [make_instance(pixels=np.arange(rows * 320, dtype=np.uint16).reshape(rows, 320) % 4096)]
