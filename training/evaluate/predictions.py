"""What a network predicts, image by image: the ground of every metric and figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit

from training.data.planes import plane_batches
from training.data.radiograph import Radiograph
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network

COLUMNS = ("file", "patient", "subtype", "label", "logit", "probability")


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

    @classmethod
    def of(
        cls, radiographs: Sequence[Radiograph], patients: np.ndarray, logits: np.ndarray
    ) -> Predictions:
        """Of n radiographs of patients int64 (n,), with logits (n,)."""
        return cls(
            names=tuple(r.path.as_posix() for r in radiographs),
            patients=patients,
            subtypes=tuple(r.subtype for r in radiographs),
            labels=np.array([r.label for r in radiographs]),
            logits=logits.astype(np.float64),
        )

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

    def to_csv(self, probabilities: np.ndarray) -> str:
        """A CSV with one line for each image, for people and other programs."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = (self.names, self.patients, self.subtypes, self.labels, self.logits)
        for *facts, logit, probability in zip(*rows, probabilities, strict=True):
            writer.writerow([*facts, f"{logit:.6f}", f"{probability:.6f}"])
        return text.getvalue()


def calibrated(logits: np.ndarray, temperature: float, bias: float) -> np.ndarray:
    """Probabilities float64 (n,) in [0, 1]: sigmoid(logit / temperature + bias) (Platt 1999)."""
    probabilities: np.ndarray = expit(logits.astype(np.float64) / temperature + bias)
    return probabilities


def logits_of(
    model: Network,
    planes: np.ndarray,
    spec: PreprocessingSpec,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
) -> np.ndarray:
    """Logits float32 (n,) of planes uint8 (n, S, S), each changed by `change` before.

    Computed where the model is, in fp32 unless the caller casts (`torch.autocast`).
    """
    device, logits = next(model.parameters()).device, []
    with torch.inference_mode():
        for batch in plane_batches(planes, 32):
            inputs = standardise(change(batch.to(device).float() / 255), spec)
            logits.append(model(inputs.to(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(logits).numpy()
