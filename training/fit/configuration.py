"""How a network is trained: every value, read from a commented TOML file into a frozen record.

The files are in training/configs/. `pneumo train --config FILE` takes another; the record is kept
in the run file and in the bundle's manifest.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from training.fit.augmentation import Augmentation
from worker.errors import Rejected
from worker.model.architectures import ARCHITECTURES, build_model

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs in which the same stages learn at the same peak rates."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=False)

    name: str
    """For people: "head", "all layers"."""
    epochs: int
    """Passes over as many images as the training part has."""
    side: int
    """Pixels of the square training images; a multiple of 32."""
    rates: dict[str, float]
    """Stage of the network -> peak learning rate. A stage that is not named is frozen."""
    frozen_statistics: tuple[str, ...] = ()
    """Learning stages whose batch norm keeps its running statistics (arXiv 2102.05543)."""
    cached: bool = False
    """Compute the outputs of the frozen stages once, of one augmented view of each image, and learn
    from them in every epoch: quick, but the views do not change."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Every value of a training, beside images, first weights and seed."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=False)

    architecture: str
    """Which network (worker.model.architectures)."""
    phases: tuple[Phase, ...]
    """One after the other; each warms up and cools down by half a cosine."""
    batch_size: int = 32
    """Images of a step, over all processes together."""
    balanced: bool = True
    """Half of each batch NORMAL, half PNEUMONIA; the calibration puts the prior right again."""
    weight_decay: float = 0.05
    """AdamW's, on weights only; biases and batch norm are free."""
    warmup_steps: int = 60
    """Linear climb to the peak rates: fresh layers send large gradients at first."""
    label_smoothing: float = 0.05
    """Targets .025 and .975: some labels are wrong, and no logit should run away."""
    clip_norm: float = 1.0
    """The gradient is scaled down to this norm."""
    average_decay: float = 0.99
    """Of the moving average of the weights, about 100 steps long; the average is what is kept."""
    patience: int = 0
    """Epochs of the last phase without a better validation AUROC after which a run ends; 0: never."""
    tolerance: float = 0.0005
    """AUROCs so close count as equal, and the later epoch is kept: it has seen more."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How far training images are changed."""

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> tuple[Phase, int]:
        """The phase of an epoch (from 0), and the epoch's place within it (from 0)."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase, epoch
            epoch -= phase.epochs
        raise IndexError(epoch)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values


def read_configuration(architecture: str, file: Path | None = None) -> Configuration:
    """Read the configuration of an architecture, or `file`. Raises Rejected with what is wrong."""
    _require_known(architecture)
    path = file or CONFIGS / f"{architecture}.toml"
    try:
        values = tomllib.loads(path.read_text())
    except OSError:
        raise Rejected(
            "CONFIGURATION_MISSING",
            f"There is no configuration {path.name}; there are "
            f"{', '.join(sorted(p.name for p in CONFIGS.glob('*.toml')))}, or give a file.",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Rejected("CONFIGURATION_UNREADABLE", f"{path.name} is no TOML: {error}.") from None
    configuration = configuration_from(values, path.name)
    if configuration.architecture != architecture:
        raise _wrong(
            path.name, f"architecture is {configuration.architecture}, asked for: {architecture}"
        )
    return configuration


def configuration_from(values: dict[str, Any], name: str) -> Configuration:
    """Check plain values and make the record of them. `name`: the file, for errors."""
    try:
        configuration = TypeAdapter(Configuration).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise _wrong(name, f"{key}: {first['msg']} (found {first['input']!r})") from None
    for fault in _faults(configuration):
        raise _wrong(name, fault)
    return configuration


def _faults(configuration: Configuration) -> list[str]:
    """The faults that types alone do not find."""
    _require_known(configuration.architecture)
    with torch.device("meta"):  # the stages' names need no weights
        stages = list(build_model(configuration.architecture).stages())
    faults = [] if configuration.phases else ["phases: there is none"]
    if configuration.balanced and configuration.batch_size % 2:
        faults.append(f"batch_size: {configuration.batch_size} is odd, and balanced needs halves")
    for phase in configuration.phases:
        where = f"phase {phase.name!r}"
        named = {*phase.rates, *phase.frozen_statistics}
        if unknown := sorted(named - set(stages)):
            faults.append(f"{where}: no stage is called {unknown[0]}; expected {', '.join(stages)}")
            continue
        if not phase.rates:
            faults.append(f"{where}: rates is empty, so no stage would learn")
        if phase.side % 32 or phase.side <= 0:
            faults.append(f"{where}: side is {phase.side}; expected a multiple of 32")
        if phase.epochs < 1:
            faults.append(f"{where}: epochs is {phase.epochs}; expected at least 1")
        learning = sorted(stages.index(name) for name in phase.rates)
        if any(second != first + 1 for first, second in pairwise(learning)) or (
            learning and learning[-1] != len(stages) - 1
        ):
            faults.append(f"{where}: a frozen stage follows a learning one; unfreeze from the head")
    return faults


def _wrong(name: str, what: str) -> Rejected:
    return Rejected(
        "CONFIGURATION_WRONG", f"{name}: {what}. training/configs/ shows each key with its reason."
    )


def _require_known(architecture: str) -> None:
    if architecture not in ARCHITECTURES:
        raise Rejected(
            "ARCHITECTURE_UNKNOWN",
            f"There is no configuration for {architecture!r}; there is one for "
            f"{', '.join(sorted(ARCHITECTURES))}.",
        )
