"""`pneumo train fit` and `release` as a person types them, down to a bundle that a worker loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.training.conftest import draw_set
from worker.model.bundle import load_bundle

ROOT = Path(__file__).resolve().parents[3]


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return draw_set(tmp_path_factory.mktemp("data"), normals=40, sick=40, side=224)


@pytest.mark.parametrize(("architecture", "tensors"), [("resnet50", 320), ("vgg16", 28)])
def test_a_run_becomes_a_bundle(data, tmp_path, architecture, tensors):
    fitted = train(
        "fit", "--architecture", architecture, "--data", data, "--pretrained", "none",
        "--epochs", 1, "--output", tmp_path / "run",
    )  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    assert f"{tensors} tensors initialised at random" in fitted.stdout
    assert "validation AUROC" in fitted.stdout
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert str(data) not in json.dumps(about), "a run names no folder of this machine"

    released = train(
        "release", tmp_path / "run", "--data", data, "--version", "0.0.1", "--output", tmp_path,
    )  # fmt: skip
    assert released.returncode == 0, released.stderr
    folder = tmp_path / f"{architecture}-0.0.1"
    bundle = load_bundle(folder)
    card = (folder / "MODEL_CARD.md").read_text()
    assert bundle.manifest.architecture == architecture
    assert bundle.manifest.training["epochs_done"] == 1
    assert "**For research until it is cleared where it is used.**" in card
    assert "doi:10.17632/rscbjbr9sj" in card


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--architecture", "alexnet"), "There is no recipe for 'alexnet'"),
        (("--architecture", "vgg16", "--pretrained", "nowhere.safetensors"), "no file nowhere"),
    ],
    ids=["unknown architecture", "no weights file"],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(data, tmp_path, arguments, words):
    refused = train("fit", "--data", data, "--output", tmp_path / "run", *arguments)
    assert refused.returncode == 1
    assert words in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_a_folder_without_images_is_refused(tmp_path):
    refused = train(
        "fit", "--architecture", "resnet50", "--data", tmp_path, "--output", tmp_path / "run",
        "--pretrained", "none",
    )  # fmt: skip
    assert refused.returncode == 1
    assert "TRAINING_DATA_EMPTY" in refused.stderr


def test_a_run_is_not_overwritten(data, tmp_path):
    (tmp_path / "checkpoint.pt").touch()
    refused = train(
        "fit", "--architecture", "resnet50", "--data", data, "--output", tmp_path,
        "--pretrained", "none",
    )  # fmt: skip
    assert refused.returncode == 1
    assert "RUN_EXISTS" in refused.stderr


def test_resuming_by_another_recipe_is_refused_and_leaves_the_run_as_it_was(data, tmp_path):
    arguments = (
        "fit", "--architecture", "resnet50", "--data", data, "--output", tmp_path,
        "--pretrained", "none",
    )  # fmt: skip
    assert train(*arguments, "--epochs", 1).returncode == 0
    before = (tmp_path / "run.json").read_bytes()
    refused = train(*arguments, "--epochs", 2, "--resume")
    assert refused.returncode == 1
    assert "CHECKPOINT_OF_ANOTHER_RUN" in refused.stderr
    assert (tmp_path / "run.json").read_bytes() == before
