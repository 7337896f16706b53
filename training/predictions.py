"""What a network said of some images, image by image: the ground of every figure and picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

COLUMNS = ("file", "patient", "subtype", "label", "logit")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Of n images, in one order."""

    names: tuple[str, ...]
    """Files, relative to the set's root."""
    patients: np.ndarray
    """int64 (n,); equal number, same patient group."""
    subtypes: tuple[str, ...]
    """normal, bacteria, virus or pneumonia."""
    labels: np.ndarray
    """int64 (n,), 1 = PNEUMONIA."""
    logits: np.ndarray
    """float64 (n,), uncalibrated."""

    def probabilities(self, temperature: float, bias: float) -> np.ndarray:
        """float64 (n,): sigmoid(logit / temperature + bias)."""
        return expit(self.logits / temperature + bias)

    def rows(self, index: np.ndarray) -> Predictions:
        """Some of them; `index`: row numbers or bool (n,)."""
        chosen = np.arange(len(self.names))[index]
        return Predictions(
            names=tuple(self.names[row] for row in chosen),
            patients=self.patients[chosen],
            subtypes=tuple(self.subtypes[row] for row in chosen),
            labels=self.labels[chosen],
            logits=self.logits[chosen],
        )

    def write(self, path: Path, probabilities: np.ndarray) -> None:
        """One line for each image, for people and other programs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, "probability"])
            rows = (self.names, self.patients, self.subtypes, self.labels, self.logits)
            for *facts, logit, probability in zip(*rows, probabilities, strict=True):
                writer.writerow([*facts, f"{logit:.6f}", f"{probability:.6f}"])


def read_predictions(path: Path) -> Predictions:
    """What `write` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return Predictions(
        names=tuple(row["file"] for row in rows),
        patients=np.array([int(row["patient"]) for row in rows]),
        subtypes=tuple(row["subtype"] for row in rows),
        labels=np.array([int(row["label"]) for row in rows]),
        logits=np.array([float(row["logit"]) for row in rows]),
    )
