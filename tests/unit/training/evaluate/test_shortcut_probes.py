"""The shortcut probes, on networks whose shortcut is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.builders.evaluations import SMALL, small_manifest
from training.evaluate.confounder_baseline import border_strip
from training.evaluate.shortcut_probes import PROBED, border_mass, probe, sample_rows


class BorderReader(nn.Module):
    """Says pneumonia by the brightness of the outer strip, and knows nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.strip = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.strip.weight, 1.0)
        self.register_buffer("where", torch.from_numpy(border_strip(64)).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits_from(self.activations(x))

    def activations(self, x: torch.Tensor) -> torch.Tensor:
        return self.strip(x * self.where)

    def logits_from(self, activations: torch.Tensor) -> torch.Tensor:
        return activations.mean((1, 2, 3))


@pytest.fixture(scope="module")
def marked():
    """Planes whose border alone tells the label; what is inside misleads."""
    labels = np.arange(40) % 2
    planes = np.full((40, 64, 64), 100, np.uint8)
    planes[labels == 1] += (border_strip(64) * 100).astype(np.uint8)
    planes += np.arange(40, dtype=np.uint8)[::-1, None, None]
    return planes, labels


def test_a_network_that_reads_the_border_is_found_out(marked):
    found = probe(BorderReader(), small_manifest(), *marked)
    change = {look.name: look.change for look in found.perturbed}
    assert found.plain.auroc == 1
    assert set(change) == set(PROBED)
    assert change["border erased"] == pytest.approx(-0.5)
    assert abs(change["blacks raised"]) < 0.01
    assert found.border_mass == pytest.approx(1)
    assert found.border_area == pytest.approx(border_strip(64).mean())


def test_recall_and_specificity_are_those_at_the_calibrated_threshold(marked):
    planes, labels = marked
    everything = probe(
        BorderReader(), small_manifest(temperature=1, threshold=1e-9), planes, labels
    )
    nothing = probe(
        BorderReader(), small_manifest(temperature=1, threshold=1 - 1e-9), planes, labels
    )
    assert (everything.plain.recall, everything.plain.specificity) == (1, 0)
    assert (nothing.plain.recall, nothing.plain.specificity) == (0, 1)


def test_maps_without_any_evidence_count_for_nothing(marked):
    model = BorderReader()
    nn.init.constant_(model.strip.weight, 0.0)
    assert border_mass(model, marked[0][:3], SMALL) == 0


def test_a_sample_keeps_both_classes_and_is_the_same_again():
    labels = (np.arange(1000) % 100 == 0).astype(int)
    rows = sample_rows(labels, 50)
    assert labels[rows].sum() == 1
    assert len(rows) == 51 or len(rows) == 50
    assert list(rows) == sorted(set(rows.tolist())) == list(sample_rows(labels, 50))


def test_a_small_set_is_taken_whole():
    assert list(sample_rows(np.array([0, 1, 1]), 400)) == [0, 1, 2]
