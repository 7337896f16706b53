"""What a set of predictions is worth."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; labels (n,) of 0 and 1, scores (n,) of any scale."""
    return float(roc_auc_score(labels, scores))
