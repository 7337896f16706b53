"""From a batch of inputs to calibrated probabilities, on the device that there is.

On CUDA a batch is one forward pass. On the CPU each item is a pass of its own, on one core, as many
side by side as there are cores: the figure then does not depend on what else was in the batch (as
part of a batch a ResNet50's logit moved by up to 2.4e-5), and the cores are as busy as with one
large batch, whose parts would wait for each other at every layer.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from worker.errors import Bug, Rejected
from worker.model.bundle import Bundle
from worker.model.calibration import calibrated_probability
from worker.model.golden import check_golden


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the network says of one frame."""

    logit: float
    """As it came out, finite; positive speaks for pneumonia."""
    probability: float
    """Calibrated, in [0, 1]: sigmoid(logit / temperature + bias) in double precision."""
    distance: float | None = None
    """From the training set, see wrong_image.py; None if the bundle has no guard."""


class Predictor:
    """A verified network on one device. Not for several threads at once (see batching.py)."""

    def __init__(
        self, bundle: Bundle, *, device: str = "auto", max_batch: int = 16, cpu_threads: int = 0
    ) -> None:
        """`device`: auto, cpu, cuda or cuda:N; `cpu_threads`: cores to use there, 0 for all.

        Raises Rejected("DEVICE_ABSENT").
        """
        self.device = choose_device(device)
        self.device_name = describe_device(self.device)
        self.max_batch = max_batch
        self._temperature, self._bias = bundle.manifest.temperature, bundle.manifest.bias
        self._guard = bundle.guard.to(self.device) if bundle.guard else None
        self._model = bundle.model.to(self.device).to(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            # TF32 rounds to 10 bits; a device that does so, or is faulty, fails the golden check.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
            spec = bundle.manifest.preprocessing
            check_golden(bundle.golden, bundle.model, bundle.guard, spec, self.device)
        self._cores = (
            ThreadPoolExecutor(cpu_threads or os.cpu_count() or 1, "forward")
            if self.device.type == "cpu"
            else None
        )
        if self._cores:
            torch.set_num_threads(1)  # parallel by items, not within one

    def predict(self, batch: torch.Tensor) -> list[Score]:
        """Scores of a batch float32 (N, 3, S, S), in its order.

        More than `max_batch` items are split, and a batch for which memory does not suffice is
        halved until it does. Raises torch.OutOfMemoryError if a single item does not fit, and
        Bug("NON_FINITE_OUTPUT") if any logit or distance is not a number: a failure is never a
        negative.
        """
        if self._cores:
            scores = [x for part in self._cores.map(self._forward, batch.split(1)) for x in part]
        else:
            scores = [x for part in batch.split(self.max_batch) for x in self._halving(part)]
        if not all(math.isfinite(s.logit) and math.isfinite(s.distance or 0) for s in scores):
            raise Bug(
                "NON_FINITE_OUTPUT",
                "The network gave a logit or a distance that is no finite number. Nothing was "
                "predicted; check the device's memory and the bundle (`pneumo model list`).",
            )
        return scores

    def close(self) -> None:
        """Give back the threads; the predictor is not used again."""
        if self._cores:
            self._cores.shutdown()

    def _halving(self, batch: torch.Tensor) -> list[Score]:
        """Scores of a batch, in as many pieces as memory asks for."""
        try:
            return self._forward(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        # Outside the handler, where the failed attempt's tensors are no longer held.
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._halving(batch[:half]) + self._halving(batch[half:])

    def _forward(self, batch: torch.Tensor) -> list[Score]:
        """One pass: (N, 3, S, S) -> N scores."""
        with torch.inference_mode():
            inputs = batch.to(self.device, memory_format=torch.channels_last)
            if self._guard is None:
                return [self._score(logit) for logit in _listed(self._model(inputs))]
            features, logits = self._model.features_and_logits(inputs)
            distances = self._guard.distance(features)
        return [
            self._score(logit, distance)
            for logit, distance in zip(_listed(logits), _listed(distances), strict=True)
        ]

    def _score(self, logit: float, distance: float | None = None) -> Score:
        probability = calibrated_probability(logit, temperature=self._temperature, bias=self._bias)
        return Score(logit=logit, probability=probability, distance=distance)


def _listed(figures: torch.Tensor) -> list[float]:
    """(N,) on any device -> N numbers."""
    numbers: list[float] = figures.float().cpu().tolist()
    return numbers


def choose_device(asked: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; what is asked for and absent is refused."""
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(asked)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Rejected(
            "DEVICE_ABSENT",
            f"PNEUMO_DEVICE asks for {asked}, but {torch.cuda.device_count()} CUDA devices are "
            "visible here. Check the driver and CUDA_VISIBLE_DEVICES, or set it to auto or cpu.",
        )
    return device


def describe_device(device: torch.device) -> str:
    """Return what is recorded with every prediction: `cpu`, or `cuda:0 <name of the card>`."""
    if device.type == "cpu":
        return "cpu"
    index = device.index or 0
    return f"cuda:{index} {torch.cuda.get_device_name(index)}"
