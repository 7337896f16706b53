"""The wrong-image guard: how far a picture lies from all that the network was trained on.

A network gives a confident score to a photograph as readily as to a chest; its own confidence does
not tell them apart, the distance of its pooled features from the training set's does (Mahalanobis,
notes of the bundle's card). Beyond the cut-off a frame is not assessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

MEAN, WHITENING, CUT_OFF = (f"wrong_image.{name}" for name in ("mean", "whitening", "cut_off"))
"""Names of the guard's tensors in a bundle's reference file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WrongImageGuard:
    """A centre, a measure around it, and how far from it a picture may lie."""

    mean: torch.Tensor
    """float32 (F,): the training images' mean of the pooled features."""
    whitening: torch.Tensor
    """float32 (F, F'): after it the training images' deviations are uncorrelated and alike."""
    cut_off: float
    """Largest distance at which a frame is still assessed."""

    def distance(self, features: torch.Tensor) -> torch.Tensor:
        """Pooled features float32 (N, F) -> distances float32 (N,), about 1 for training images."""
        whitened = (features - self.mean) @ self.whitening
        return whitened.square().mean(dim=1).sqrt()

    def to(self, device: torch.device) -> WrongImageGuard:
        """Return the same on another device."""
        return WrongImageGuard(
            mean=self.mean.to(device), whitening=self.whitening.to(device), cut_off=self.cut_off
        )

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Return the tensors that `from_reference` reads; the measure in fp16, which halves the file."""
        return {
            MEAN: self.mean.contiguous(),
            WHITENING: self.whitening.half().contiguous(),
            CUT_OFF: torch.tensor([self.cut_off]),
        }

    @classmethod
    def from_reference(
        cls, reference: Mapping[str, torch.Tensor], feature_count: int | None = None
    ) -> WrongImageGuard | None:
        """Return the guard of a bundle's reference file; None if it holds none. Raises ValueError.

        ValueError: the tensors do not fit one another, or a network that gives `feature_count`
        features, or hold what is no finite number.
        """
        if not {MEAN, WHITENING, CUT_OFF} <= reference.keys():
            return None
        mean, whitening = reference[MEAN].float(), reference[WHITENING].float()
        cut_off = reference[CUT_OFF].float()
        fits = mean.shape == (feature_count or len(mean),)
        fits = fits and whitening.ndim == 2 and len(whitening) == len(mean)
        finite = all(bool(t.isfinite().all()) for t in (mean, whitening, cut_off))
        if not (fits and finite and cut_off.shape == (1,)):
            raise ValueError("the tensors of the wrong-image guard do not fit one another")
        return cls(mean=mean, whitening=whitening, cut_off=cut_off.item())
