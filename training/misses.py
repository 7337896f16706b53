"""The verdicts that a network was most wrongly sure of: what a person should look at first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.evaluation import Evaluation
from training.evaluation_set import EvaluationSet
from training.probes import cam_batches
from worker.model.bundle import Bundle

MOST = 12


@dataclass(frozen=True, kw_only=True)
class Miss:
    """One image that was called wrongly at the bundle's threshold."""

    shown_as: str
    """How messages name it, never by a DICOM file's own name."""
    subtype: str
    """normal, bacteria, virus or pneumonia."""
    label: int
    """1 = PNEUMONIA, and missed."""
    probability: float
    """Calibrated."""
    plane: np.ndarray
    """uint8 (S, S)."""
    saliency: np.ndarray
    """float32 (S, S) in [0, 1]: Grad-CAM for pneumonia."""


def worst_misses(
    bundle: Bundle, images: EvaluationSet, evaluation: Evaluation, most: int = MOST
) -> tuple[Miss, ...]:
    """Wrong verdicts, the farthest beyond the threshold first, on the scale of the logit."""
    rows = worst_rows(
        evaluation.predictions.labels,
        evaluation.probabilities,
        evaluation.at_threshold.threshold,
        most,
    )
    if not len(rows):
        return ()
    planes = images.planes[rows]
    maps = torch.cat(cam_batches(bundle.model, planes, bundle.manifest.preprocessing)).numpy()
    return tuple(
        Miss(
            shown_as=images.radiographs[row].shown_as,
            subtype=images.radiographs[row].subtype,
            label=images.radiographs[row].label,
            probability=float(evaluation.probabilities[row]),
            plane=plane,
            saliency=saliency,
        )
        for row, plane, saliency in zip(rows, planes, maps, strict=True)
    )


def worst_rows(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, most: int
) -> np.ndarray:
    """Row numbers of at most `most` wrong verdicts, worst first.

    Both kinds are ordered together, by the distance from the threshold in logits: in probability,
    a low threshold would let no false alarm look as bad as any missed pneumonia.
    """
    wrong = np.flatnonzero((probabilities >= threshold) != (labels == 1))
    beyond = np.abs(_logit(probabilities[wrong]) - _logit(np.array(threshold)))
    return wrong[np.argsort(-beyond, kind="stable")[:most]]


def _logit(probabilities: np.ndarray) -> np.ndarray:
    inside = probabilities.clip(1e-12, 1 - 1e-12)
    result: np.ndarray = np.log(inside / (1 - inside))
    return result
