"""The errors farthest beyond the threshold: what a person should look at first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from training.evaluate.evaluation import Evaluation
from training.evaluate.evaluation_set import EvaluationSet
from training.evaluate.shortcut_probes import saliency_maps
from worker.model.bundle import Bundle

MOST = 12


@dataclass(frozen=True, kw_only=True)
class Misclassification:
    """One image with a wrong prediction at the bundle's threshold."""

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


def largest_errors(
    bundle: Bundle, images: EvaluationSet, evaluation: Evaluation, most: int = MOST
) -> tuple[Misclassification, ...]:
    """At most `most` wrong predictions, the farthest beyond the threshold first, in logits."""
    rows = rows_of_largest_errors(
        evaluation.predictions.labels,
        evaluation.probabilities,
        evaluation.at_threshold.threshold,
        most,
    )
    if not len(rows):
        return ()
    planes = images.planes[rows]
    maps = saliency_maps(bundle.model, planes, bundle.manifest.preprocessing).numpy()
    return tuple(
        Misclassification(
            shown_as=images.radiographs[row].shown_as,
            subtype=images.radiographs[row].subtype,
            label=images.radiographs[row].label,
            probability=float(evaluation.probabilities[row]),
            plane=plane,
            saliency=saliency,
        )
        for row, plane, saliency in zip(rows, planes, maps, strict=True)
    )


def rows_of_largest_errors(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, most: int
) -> np.ndarray:
    """Row numbers of at most `most` wrong predictions, the largest error first.

    Both kinds are ordered together, by the distance from the threshold in logits: in probability,
    a low threshold would let no false alarm look as bad as any missed pneumonia.
    """
    wrong = np.flatnonzero((probabilities >= threshold) != (labels == 1))
    beyond = np.abs(logit(probabilities[wrong].clip(1e-12, 1 - 1e-12)) - logit(threshold))
    return wrong[np.argsort(-beyond, kind="stable")[:most]]
