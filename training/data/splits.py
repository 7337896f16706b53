"""Which patients are trained on and which are held out: always whole patients, never single images.

By default two parts are held out. VALIDATION is a random 15 % of the patients, stratified by class.
BLOCK is the patients of the lowest numbers: the set's authors made their own test folder by ranges
of numbers, and a block imitates that shift better than a random draw. Five runs that each hold out
another fifth give every image a prediction out of sample; a run that holds out nothing is the one
to release after everything has been chosen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.data.radiograph import CLASSES, Radiograph
from worker.errors import Rejected

FOLDS, VALIDATION_FOLDS = 20, 3
"""3 of 20 folds are the 15 % of validation."""
FIFTHS = 5

BLOCK_ENDS = (("NORMAL2-IM-", 520), ("IM-", 250), ("person", 260))
"""The last patient number of the block for each of the set's numberings."""


class HoldOut(StrEnum):
    """What a run is not trained on."""

    VALIDATION = "validation"
    """The block, and 15 % of the other patients."""
    FOLD_1 = "fold-1"
    """The first of five parts of all patients; the block is not held out."""
    FOLD_2 = "fold-2"
    """The second."""
    FOLD_3 = "fold-3"
    """The third."""
    FOLD_4 = "fold-4"
    """The fourth."""
    FOLD_5 = "fold-5"
    """The fifth."""
    NONE = "none"
    """Nothing: the run is trained on every image."""

    @property
    def fold(self) -> int | None:
        """Which of the five, counted from 0."""
        return int(self.value[-1]) - 1 if self.value.startswith("fold-") else None


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers into the list of radiographs, int64, ascending; no patient is in two parts."""

    train: np.ndarray
    """What the network is trained on."""
    validation: np.ndarray
    """Grouped 15 %, or a fifth: what the run is measured by."""
    block: np.ndarray
    """The lowest patient numbers: reported only. Empty for sets with other file names."""

    def parts(self) -> dict[str, np.ndarray]:
        """The three by their names."""
        return {"train": self.train, "validation": self.validation, "block": self.block}

    def digest(self) -> str:
        """SHA-256 of the three parts, so that a resumed run proves it holds out the same."""
        parts = self.parts().values()
        return hashlib.sha256(b"|".join(p.astype("<i8").tobytes() for p in parts)).hexdigest()


def make_split(
    radiographs: Sequence[Radiograph], seed: int, hold_out: HoldOut | str = HoldOut.VALIDATION
) -> Split:
    """Hold out what `hold_out` names, both classes alike. Raises Rejected.

    HOLD_OUT_UNKNOWN; TRAINING_DATA_TOO_SMALL where a class has fewer patients than folds.
    """
    held = _known(hold_out)
    groups = group_patients(radiographs)
    labels = np.array([r.label for r in radiographs])
    everything, nothing = np.arange(len(radiographs)), np.array([], dtype=np.int64)
    if held is HoldOut.NONE:
        return Split(train=everything, validation=nothing, block=nothing)
    if held.fold is not None:
        fifths = _folds(everything, labels, groups, FIFTHS, seed, where="")
        validation = fifths[held.fold]
        return Split(
            train=np.setdiff1d(everything, validation), validation=validation, block=nothing
        )
    in_block = _whole_groups(groups, [is_in_block(r.patient_key) for r in radiographs])
    rest = np.flatnonzero(~in_block)
    folds = _folds(rest, labels, groups, FOLDS, seed, where=" outside the block")
    validation = np.sort(np.concatenate(folds[:VALIDATION_FOLDS]))
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
        parent[root(r.sha256)] = root(r.person)
    roots = [root(r.sha256) for r in radiographs]
    return np.unique(roots, return_inverse=True)[1]


def is_in_block(patient_key: str) -> bool:
    """Whether the patient's number lies in the block of its numbering."""
    person = patient_key.partition(":")[2]
    for prefix, end in BLOCK_ENDS:
        if match := re.fullmatch(rf"{prefix}(\d+)", person):
            return int(match[1]) <= end
    return False


def _whole_groups(groups: np.ndarray, chosen: Sequence[bool]) -> np.ndarray:
    """bool (n,): True for every member of a group of which one is chosen."""
    return np.isin(groups, groups[np.array(chosen, dtype=bool)])


def _known(hold_out: HoldOut | str) -> HoldOut:
    try:
        return HoldOut(hold_out)
    except ValueError:
        raise Rejected(
            "HOLD_OUT_UNKNOWN",
            f"{hold_out!r} cannot be held out; expected one of {', '.join(HoldOut)}.",
        ) from None


def _folds(
    rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, count: int, seed: int, *, where: str
) -> list[np.ndarray]:
    """`rows` cut into `count` parts of whole patients, each ascending and of both classes alike."""
    for label, name in enumerate(CLASSES):
        of_class = rows[labels[rows] == label]
        for number, what in ((len(of_class), "images"), (len({*groups[of_class]}), "patients")):
            if number < count:
                raise Rejected(
                    "TRAINING_DATA_TOO_SMALL",
                    f"Class {name} has only {number} {what}{where}; at least {count} are needed to "
                    "hold out whole patients of both classes.",
                )
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [np.sort(rows[held]) for _, held in folds.split(rows, labels[rows], groups[rows])]
