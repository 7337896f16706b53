"""How each architecture is trained: every figure with its reason, nothing hidden in the loop."""

from __future__ import annotations

from dataclasses import dataclass

from worker.errors import Rejected


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training configuration of one architecture; recorded in run file and manifest."""

    architecture: str
    """Which network (worker.model.architectures)."""
    rates: dict[str, float]
    """Stage -> peak learning rate. A stage that is not named is frozen, statistics and all."""
    frozen_statistics: tuple[str, ...]
    """Trained stages whose batch norm keeps its running statistics (arXiv 2102.05543)."""
    epochs: int
    """Passes over as many images as the training part has (drawn with equal classes)."""
    batch_size: int = 32
    """Half of it NORMAL, half PNEUMONIA: the set has three pneumonias to one normal."""
    weight_decay: float = 0.05
    """AdamW's, on weights only; biases and batch norm are free."""
    warmup_steps: int = 60
    """Linear climb to the peak rates: fresh layers send large gradients at first."""
    label_smoothing: float = 0.05
    """Targets .025 and .975: some of the labels are wrong, and no logit should run away."""
    clip_norm: float = 1.0
    """The gradient is scaled down to this norm: VGG16 has no batch norm to keep it tame."""
    average_decay: float = 0.99
    """Of the weights' moving average, about 100 steps long; the average is what is released."""


RECIPES: dict[str, Recipe] = {
    "resnet50": Recipe(
        architecture="resnet50",
        # Stem to layer2 hold edges and textures that need no change; frozen they cost a third.
        # Most of layer4 starts at random where the ImageNet file ends, hence its high rate.
        rates={"layer3": 1e-4, "layer4": 5e-4, "head": 1e-3},
        # layer3's ImageNet statistics are better than those of a few batches; layer4 has none yet.
        frozen_statistics=("layer3",),
        epochs=7,
    ),
    "vgg16": Recipe(
        architecture="vgg16",
        # Block 5 of the file at hand has drifted far from ImageNet, so it learns almost anew.
        rates={"block3": 2e-5, "block4": 5e-5, "block5": 2e-4, "head": 1e-3},
        frozen_statistics=(),
        epochs=15,
        warmup_steps=200,  # no batch norm: a slower start keeps the activations alive
    ),
}


def recipe_for(architecture: str) -> Recipe:
    """The recipe of an architecture. Raises Rejected("ARCHITECTURE_UNKNOWN")."""
    if architecture not in RECIPES:
        raise Rejected(
            "ARCHITECTURE_UNKNOWN",
            f"There is no recipe for {architecture!r}; there is one for {', '.join(RECIPES)}.",
        )
    return RECIPES[architecture]
