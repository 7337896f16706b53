"""Who is learnt from and who is held out: always whole patients, never single images.

Two parts are held out. VALIDATION is a random 15 % of the patients, stratified by class: it gives
the temperature and the threshold. BLOCK is the patients of the lowest numbers: the set's authors
made their own test folder by ranges of numbers, and a block imitates that shift better than a
random draw. BLOCK decides nothing; it is looked at once, at the release.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.data import Radiograph
from worker.errors import Rejected

FOLDS, VALIDATION_FOLDS = 20, 3
"""3 of 20 folds are the 15 % of validation."""

BLOCK_ENDS = (("NORMAL2-IM-", 520), ("IM-", 250), ("person", 260))
"""The last patient number of the block for each of the set's numberings."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers into the list of radiographs, int64, ascending; no patient is in two parts."""

    train: np.ndarray
    """What the network learns from."""
    validation: np.ndarray
    """Grouped 15 %: temperature and threshold are chosen here."""
    block: np.ndarray
    """The lowest patient numbers: reported only. Empty for sets with other file names."""

    def digest(self) -> str:
        """SHA-256 of the three parts, so that a resumed run proves it holds out the same."""
        parts = (self.train, self.validation, self.block)
        return hashlib.sha256(b"|".join(p.astype("<i8").tobytes() for p in parts)).hexdigest()


def make_split(radiographs: Sequence[Radiograph], seed: int) -> Split:
    """Hold out the block, then 15 % of the remaining patients by class."""
    groups = group_patients(radiographs)
    labels = np.array([r.label for r in radiographs])
    in_block = _whole_groups(groups, [is_in_block(r.patient_key) for r in radiographs])
    rest = np.flatnonzero(~in_block)
    fewest = int(np.bincount(labels[rest], minlength=2).min())
    if fewest < FOLDS:
        raise Rejected(
            "TRAINING_DATA_TOO_SMALL",
            f"A class has only {fewest} images outside the block; at least {FOLDS} are needed to "
            "hold out whole patients of both classes.",
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = [held for _, held in folds.split(rest, labels[rest], groups[rest])]
    validation = np.sort(rest[np.concatenate(parts[:VALIDATION_FOLDS])])
    return Split(
        train=np.setdiff1d(rest, validation), validation=validation, block=np.flatnonzero(in_block)
    )


def group_patients(radiographs: Sequence[Radiograph]) -> np.ndarray:
    """One group number per radiograph, int64 (n,).

    A person's number occurs with bacterial and with viral files; whether that is one child is not
    known, so both are one group. Byte-identical images join their groups too.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for r in radiographs:
        parent[root(r.sha256)] = root(r.patient_key.rpartition(":")[2])
    roots = [root(r.sha256) for r in radiographs]
    return np.unique(roots, return_inverse=True)[1]


def is_in_block(patient_key: str) -> bool:
    """Whether the patient's number lies in the block of its numbering."""
    person = patient_key.rpartition(":")[2]
    for prefix, end in BLOCK_ENDS:
        if match := re.fullmatch(rf"{prefix}(\d+)", person):
            return int(match[1]) <= end
    return False


def _whole_groups(groups: np.ndarray, chosen: Sequence[bool]) -> np.ndarray:
    """bool (n,): True for every member of a group of which one is chosen."""
    return np.isin(groups, groups[np.array(chosen, dtype=bool)])
