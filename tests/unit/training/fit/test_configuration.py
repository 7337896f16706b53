"""The configurations that ship are right, and a wrong one is refused by the name of its key."""

from __future__ import annotations

import pytest

from training.fit.configuration import (
    CONFIGS,
    configuration_from,
    read_configuration,
)
from worker.errors import Rejected

SHIPPED = sorted(path.name for path in CONFIGS.glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_ends_with_every_stage_learning(name):
    configuration = read_configuration(name.split("-")[0].removesuffix(".toml"), CONFIGS / name)
    unfreezeed = set().union(*(phase.rates for phase in configuration.phases))
    expected = 6
    assert len(unfreezeed) == expected, "through all layers"
    rates = list(configuration.phases[-1].rates.values())
    assert rates == sorted(rates), "smaller towards the input"


def test_a_configuration_survives_json():
    configuration = read_configuration("resnet50")
    assert configuration_from(configuration.to_dict(), "JSON") == configuration


def test_phases_follow_one_another():
    configuration = read_configuration("resnet50")
    assert configuration.epochs == 33
    assert configuration.phase_at(2) == (configuration.phases[0], 2)
    assert configuration.phase_at(3) == (configuration.phases[1], 0)


PHASE = {"name": "head", "epochs": 1, "side": 64, "rates": {"head": 1e-3}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batchsize": 3}, r"batchsize: Unexpected keyword argument \(found 3\)"),
        ({"batch_size": "many"}, r"batch_size: .* valid integer.* \(found 'many'\)"),
        ({"batch_size": 7}, "batch_size: 7 is odd"),
        ({"phases": []}, "phases: there is none"),
        ({"phases": [{**PHASE, "rates": {"layer9": 1}}]}, "no stage is called layer9; expected s"),
        ({"phases": [{**PHASE, "side": 100}]}, "side is 100; expected a multiple of 32"),
        ({"phases": [{**PHASE, "epochs": 0}]}, "epochs is 0; expected at least 1"),
        ({"phases": [{**PHASE, "rates": {}}]}, "rates is empty, so no stage would learn"),
        ({"phases": [{**PHASE, "rates": {"stem": 1, "head": 1}}]}, "unfreeze from the head"),
        ({"augmentation": {"flips": 1}}, r"augmentation\.flips: Unexpected keyword argument"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_configuration_is_refused_by_its_key(change, words):
    values = {"architecture": "resnet50", "phases": [PHASE], **change}
    with pytest.raises(Rejected, match=words):
        configuration_from(values, "mine.toml")


def test_a_configuration_that_is_not_there_or_no_toml_is_refused(tmp_path):
    with pytest.raises(Rejected, match=r"no configuration mine\.toml; there are resnet50-cpu"):
        read_configuration("resnet50", tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_text("phases = [")
    with pytest.raises(Rejected, match=r"mine\.toml is no TOML"):
        read_configuration("resnet50", tmp_path / "mine.toml")


def test_a_configuration_of_the_other_network_is_refused():
    with pytest.raises(Rejected, match="architecture is vgg16, asked for: resnet50"):
        read_configuration("resnet50", CONFIGS / "vgg16.toml")
