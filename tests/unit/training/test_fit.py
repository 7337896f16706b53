"""Both networks learn, go on after a kill as if nothing had happened, and refuse what is not theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training.fit import Part, begin, fit, set_modes
from training.pretrained import load_pretrained
from training.recipes import recipe_for
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import ARCHITECTURES, build_model

SPEC = PreprocessingSpec(size=64)


def part(count: int, seed: int) -> Part:
    """Noise, brighter in the middle for label 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    planes = rng.integers(0, 120, (count, 64, 64))
    planes[labels == 1, 16:48, 16:48] += 120
    return Part(planes=planes.astype(np.uint8), labels=labels.astype(np.int64))


def run(folder, architecture, *, epochs, resume=False, identity="this run"):
    torch.manual_seed(0)
    recipe = replace(recipe_for(architecture), epochs=epochs, batch_size=4)
    model = build_model(architecture)
    return fit(
        model, recipe, part(8, 0), part(8, 1), spec=SPEC, seed=0,
        checkpoint=folder / "checkpoint.pt", identity=identity, resume=resume,
    )  # fmt: skip


class EndOfTheMachine(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_that_was_killed_between_epochs_ends_as_if_it_had_not_been(tmp_path, architecture):
    whole = run(tmp_path / "whole", architecture, epochs=2)

    torch.manual_seed(0)
    recipe = replace(recipe_for(architecture), epochs=2, batch_size=4)

    def die(step) -> None:
        if step.epoch == 2:
            raise EndOfTheMachine

    with pytest.raises(EndOfTheMachine):
        fit(
            build_model(architecture), recipe, part(8, 0), part(8, 1), spec=SPEC, seed=0,
            checkpoint=tmp_path / "cut" / "checkpoint.pt", identity="this run", tell=die,
        )  # fmt: skip
    resumed = run(tmp_path / "cut", architecture, epochs=2, resume=True)

    assert resumed.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], abs=1e-4)
    assert [row["epoch"] for row in resumed.history] == [1, 2]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(tmp_path, "resnet50", epochs=1)
    with pytest.raises(Rejected, match="made with other data, another split or another recipe"):
        run(tmp_path, "resnet50", epochs=1, resume=True, identity="another")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_recipes_stages_learn(architecture):
    recipe = recipe_for(architecture)
    state = begin(build_model(architecture), recipe)
    learning = {
        name
        for name, stage in state.model.stages().items()
        if any(p.requires_grad for p in stage.parameters())
    }
    assert learning == set(recipe.rates)


def test_frozen_statistics_stay_as_they_are():
    model = build_model("resnet50")
    set_modes(model, recipe_for("resnet50"))
    assert not model.layer3[0].bn1.training
    assert model.layer4[0].bn1.training
    assert not model.layer1[0].bn1.training


def test_a_partial_file_is_loaded_as_far_as_it_goes_and_the_rest_is_told(tmp_path):
    given = build_model("resnet50").state_dict()
    file = tmp_path / "partial.safetensors"
    save_file({"conv1.weight": given["conv1.weight"], "fc.weight": torch.zeros(1000, 2048)}, file)
    model = build_model("resnet50")
    report = load_pretrained(model, "resnet50", str(file))
    assert report.loaded == ("conv1.weight",)
    assert report.unfit == ("fc.weight",)
    assert "layer4.0.conv1.weight" in report.random
    assert torch.equal(model.conv1.weight, given["conv1.weight"])
    assert "1 tensors loaded: conv1.weight" in report.sentences()


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "wrong.safetensors"
    save_file({"encoder.weight": torch.zeros(2)}, file)
    with pytest.raises(Rejected, match=r"No tensor of wrong\.safetensors fits resnet50"):
        load_pretrained(build_model("resnet50"), "resnet50", str(file))


def test_a_weights_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Rejected, match=r"There is no file absent\.safetensors"):
        load_pretrained(build_model("resnet50"), "resnet50", str(tmp_path / "absent.safetensors"))
