"""From a logit to a probability that means what it says: the two numbers of Platt's scaling."""

from __future__ import annotations

import math


def calibrated_probability(logit: float, *, temperature: float, bias: float) -> float:
    """sigmoid(logit / temperature + bias) in double precision, in [0, 1], for any finite logit."""
    return sigmoid(logit / temperature + bias)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow, for any finite x."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
