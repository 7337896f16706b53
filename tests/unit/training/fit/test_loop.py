"""Both networks take_step, go on after a kill as if nothing had happened, and refuse what is not theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from training.data.data_set import LabelledPlanes
from training.fit.checkpoint import CHECKPOINT, WEIGHTS, TrainingState, fresh_state, save_checkpoint
from training.fit.configuration import Configuration, Phase, read_configuration
from training.fit.device import TrainingDevice
from training.fit.loop import Training, batches, fit, set_modes, stops_early, take_step, unfreeze
from worker.errors import Rejected, Resource, Transient
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import ARCHITECTURES, build_model

CPU = TrainingDevice(device=torch.device("cpu"))


def part(count: int, seed: int) -> LabelledPlanes:
    """Noise, brighter in the middle for label 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    planes = rng.integers(0, 120, (count, 64, 64))
    planes[labels == 1, 16:48, 16:48] += 120
    return LabelledPlanes(planes=planes.astype(np.uint8), labels=labels.astype(np.int64))


def short(architecture: str, *, last_epochs: int = 1) -> Configuration:
    """The CPU configuration, first phase cached and last phase whole, on tiny images."""
    whole = read_configuration(architecture, None)
    head, everything = whole.phases
    return replace(
        whole,
        batch_size=4,
        patience=0,
        phases=(
            replace(head, epochs=1, side=64, cached=True),
            replace(everything, epochs=last_epochs, side=64),
        ),
    )


def training(folder, configuration, **other) -> Training:
    values = {
        "configuration": configuration,
        "train": part(8, 0),
        "validation": part(8, 1),
        "spec": PreprocessingSpec(size=64),
        "seed": 0,
        "folder": folder,
        "identity": "this run",
        "device": CPU,
    }
    return Training(**{**values, **other})


def run(folder, architecture, *, resume=False, **other) -> TrainingState:
    torch.manual_seed(0)
    configuration = other.pop("configuration", short(architecture, last_epochs=2))
    return fit(build_model(architecture), training(folder, configuration, **other), resume=resume)


class EndOfTheMachine(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.timeout(900)  # three trainings of a whole network
@pytest.mark.parametrize(
    ("architecture", "at_epoch"),
    [("resnet50", 3), ("vgg16", 2)],
    ids=["within a phase", "at the beginning of a phase"],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(tmp_path, architecture, at_epoch):
    whole = run(tmp_path / "whole", architecture)

    def die(step) -> None:
        if step.epoch == at_epoch and not step.epoch_ended:
            raise EndOfTheMachine

    with pytest.raises(EndOfTheMachine):
        run(tmp_path / "cut", architecture, on_step=die)
    resumed = run(tmp_path / "cut", architecture, resume=True)

    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    assert resumed.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], abs=1e-4)
    kept = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("whole", "cut")]
    assert kept[0] == kept[1], "the same seed ends in the same weights on a CPU"


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    save_checkpoint(fresh_state(build_model("resnet50"), CPU), tmp_path, "another run")
    with pytest.raises(Rejected, match="made with other data, another split, seed or config"):
        run(tmp_path, "resnet50", resume=True)


def test_the_cache_of_activations_is_removed(tmp_path):
    run(tmp_path, "vgg16", configuration=short("vgg16"))
    assert not list(tmp_path.glob("activations*"))


def test_nothing_held_out_keeps_the_last_epoch(tmp_path):
    state = run(tmp_path, "resnet50", validation=None, configuration=short("resnet50"))
    assert state.kept_epoch == 2
    assert [row["validation_auroc"] for row in state.history] == [None, None]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_phases_stages_learn(architecture):
    model = build_model(architecture)
    phase = Phase(name="late", epochs=1, side=64, rates={"head": 1e-3})
    unfreeze(model, phase)
    learning = {
        name
        for name, stage in model.stages().items()
        if any(p.requires_grad for p in stage.parameters())
    }
    assert learning == {"head"}


def test_frozen_statistics_stay_as_they_are():
    model = build_model("resnet50")
    phase = Phase(
        name="late", epochs=1, side=64, rates={"layer3": 1e-4, "layer4": 1e-4, "head": 1e-3},
        frozen_statistics=("layer3",),
    )  # fmt: skip
    set_modes(model, phase)
    assert not model.layer3[0].bn1.training
    assert model.layer4[0].bn1.training
    assert not model.layer1[0].bn1.training


SCORES = [0.90, 0.95, 0.9503, 0.9499, 0.94]


def close_epochs(scores, tolerance) -> TrainingState:
    state = TrainingState(model=Small(), average=Small())  # type: ignore[arg-type]
    for score in scores:
        state.close_epoch("all", 0.1, score, tolerance=tolerance, last_phase=True)
    return state


def test_the_latest_epoch_that_is_as_good_as_the_best_is_kept():
    assert close_epochs(SCORES, 0.0005).kept_epoch == 4  # .9499 is as good as .9503
    assert close_epochs(SCORES, 0.0).kept_epoch == 3


def test_a_run_ends_when_the_last_phase_gains_no_more(tmp_path):
    configuration = replace(
        short("vgg16"),
        patience=3,
        phases=(Phase(name="all", epochs=20, side=64, rates={"head": 1e-3}),),
    )
    it = training(tmp_path, configuration)
    assert [stops_early(close_epochs(SCORES[:n], 0.0005), it) for n in range(1, 6)] == [
        False, False, False, False, True,
    ]  # fmt: skip


def test_batches_are_half_and_half_and_use_every_image():
    labels = np.array([0] * 3 + [1] * 9)
    order = torch.Generator().manual_seed(0)
    rows = list(batches(labels, short("vgg16"), 6, order))
    assert all(labels[batch].sum() == 2 for batch in rows)
    assert set(np.concatenate(rows)) == set(range(12))


class Small(nn.Module):
    """A network whose device holds two images at a time, as a full GPU does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.holds = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.holds:
            raise torch.OutOfMemoryError
        return (x.mean(dim=(2, 3)) * self.weight).sum(dim=1, keepdim=True)


def step_on(network: Small, folder) -> tuple[float, TrainingState]:
    state = TrainingState(model=network, average=network)  # type: ignore[arg-type]
    state.optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    inputs = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(8) % 2).float()
    return take_step(state, training(folder, short("vgg16")), inputs, labels, None, network), state


def test_a_batch_too_large_for_the_memory_is_learnt_in_pieces_with_the_same_result(tmp_path):
    torch.manual_seed(0)
    tight, roomy = Small(), Small()
    roomy.holds = 8
    loss, state = step_on(tight, tmp_path)
    expected, _ = step_on(roomy, tmp_path)
    assert state.pieces == 4
    assert loss == pytest.approx(expected, abs=1e-6)
    assert torch.allclose(tight.weight, roomy.weight, atol=1e-6)


def test_memory_for_not_even_one_image_is_one_sentence(tmp_path):
    nothing = Small()
    nothing.holds = 0
    with pytest.raises(Resource, match=r"does not hold 1 image.* checkpoint of epoch 0 is kept"):
        step_on(nothing, tmp_path)


NO_SPACE = {
    CHECKPOINT: lambda part: part.symlink_to("/dev/full"),
    WEIGHTS: lambda part: part.mkdir(),  # its writer would replace a link
}


@pytest.mark.parametrize("name", NO_SPACE)
def test_what_cannot_be_written_leaves_the_checkpoint_before(tmp_path, name):
    state = fresh_state(build_model("resnet50"), CPU)
    save_checkpoint(state, tmp_path, "this run")
    before = (tmp_path / name).read_bytes()
    NO_SPACE[name]((tmp_path / name).with_suffix(".part"))
    with pytest.raises(Transient, match=rf"{name} of epoch 0 .* go on with --resume"):
        save_checkpoint(state, tmp_path, "this run")
    assert (tmp_path / name).read_bytes() == before
