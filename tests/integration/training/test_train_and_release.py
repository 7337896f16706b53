"""`train` and `release` as a person types them, down to a bundle that a worker loads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.builders.data_sets import draw_set
from worker.model.bundle import Bundle, load_bundle, packaged_bundles

# Each command is a process that imports torch: seconds on an idle machine, minutes on a busy one.
pytestmark = pytest.mark.timeout(3600)

ROOT = Path(__file__).resolve().parents[3]
CONFIGURATION = """
architecture = "{architecture}"
batch_size = 8
warmup_steps = 2
average_decay = 0.5
[[phases]]
name = "head"
epochs = 1
side = 64
rates = {{ head = 1e-2 }}
cached = true
[[phases]]
name = "late layers"
epochs = {epochs}
side = 64
rates = {{ {late} = 1e-3, head = 1e-2 }}
frozen_statistics = {frozen}
"""
LATE = {"resnet50": ("layer4", '["layer4"]'), "vgg16": ("block5", "[]")}


def pneumo(*arguments: object) -> subprocess.CompletedProcess[str]:
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


def configuration(folder: Path, architecture: str, epochs: int = 1) -> Path:
    late, frozen = LATE[architecture]
    path = folder / f"{architecture}.toml"
    path.write_text(
        CONFIGURATION.format(architecture=architecture, epochs=epochs, late=late, frozen=frozen)
    )
    return path


@pytest.fixture(scope="module")
def bodies(tmp_path_factory) -> dict[str, object]:
    """Where each network's weights begin. A ResNet50 needs its body to learn from 80 pictures."""
    path = tmp_path_factory.mktemp("bodies") / "resnet50.safetensors"
    (packaged,) = (b for b in packaged_bundles() if b.name.startswith("resnet50-"))
    weights = load_file(packaged / "model.safetensors")
    save_file({name: t for name, t in weights.items() if not name.startswith("fc.")}, path)
    return {"resnet50": path, "vgg16": "none"}


def train(data: Path, folder: Path, architecture: str = "resnet50", *more: object):
    return pneumo(
        "train", "--architecture", architecture, "--data", data, "--pretrained", "none",
        "--config", configuration(folder, architecture), "--output", folder / "run", *more,
    )  # fmt: skip


def trained_and_released(data, bodies, folder, architecture, *, fresh: int) -> Bundle:
    """The bundle of a run, and all that is true of the way to it."""
    fitted = train(data, folder, architecture, "--pretrained", bodies[architecture])
    assert fitted.returncode == 0, fitted.stderr
    assert f"{fresh} tensors initialised at random" in fitted.stdout
    assert "epoch 2/2 (late layers): loss" in fitted.stdout
    about = json.loads((folder / "run" / "run.json").read_text())
    assert str(data) not in json.dumps(about), "a run names no folder of this machine"
    assert list((folder / "run" / "tensorboard").glob("events*"))

    released = pneumo(
        "release", folder / "run", "--data", data, "--version", "0.0.1", "--output", folder,
    )  # fmt: skip
    assert released.returncode == 0, released.stderr
    bundle = load_bundle(folder / f"{architecture}-0.0.1")
    card = (folder / f"{architecture}-0.0.1" / "MODEL_CARD.md").read_text()
    assert bundle.manifest.architecture == architecture
    assert [row["epoch"] for row in bundle.manifest.training["history"]] == [1, 2]
    assert "**For research until it is cleared where it is used.**" in card
    assert "doi:10.17632/rscbjbr9sj" in card
    assert "No patient of either part was trained on." in card
    return bundle


def test_a_run_of_a_vgg16_becomes_a_bundle(data, bodies, tmp_path):
    trained_and_released(data, bodies, tmp_path, "vgg16", fresh=28)


def test_a_run_becomes_a_bundle_and_a_second_run_on_all_images_another(data, bodies, tmp_path):
    bundle = trained_and_released(data, bodies, tmp_path, "resnet50", fresh=2)
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    again = pneumo(
        "train", "--architecture", "resnet50", "--data", data, "--hold-out", "none",
        "--pretrained", tmp_path / "run" / "weights.safetensors",
        "--config", configuration(tmp_path, "resnet50"), "--output", tmp_path / "all",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "320 tensors loaded" in again.stdout
    alone = pneumo(
        "release", tmp_path / "all", "--data", data, "--version", "0.0.2", "--output", tmp_path
    )
    assert "NOTHING_HELD_OUT" in alone.stderr
    twice = pneumo(
        "release", tmp_path / "all", "--data", data, "--version", "0.0.2", "--output", tmp_path,
        "--out-of-fold", tmp_path / "run", "--out-of-fold", tmp_path / "run",
    )  # fmt: skip
    assert "HELD_OUT_TWICE" in twice.stderr
    foreign = tmp_path / "foreign"
    shutil.copytree(tmp_path / "run", foreign)
    about["architecture"] = "another"
    (foreign / "run.json").write_text(json.dumps(about))
    other = pneumo(
        "release", tmp_path / "all", "--data", data, "--version", "0.0.2", "--output", tmp_path,
        "--out-of-fold", foreign,
    )  # fmt: skip
    assert "has another architecture than the one to be released" in " ".join(other.stderr.split())
    released = pneumo(
        "release", tmp_path / "all", "--data", data, "--version", "0.0.2", "--output", tmp_path,
        "--out-of-fold", tmp_path / "run", "--role", "default",
    )  # fmt: skip
    assert released.returncode == 0, released.stderr
    whole = load_bundle(tmp_path / "resnet50-0.0.2").manifest
    assert whole.threshold == bundle.manifest.threshold, "chosen on the same predictions"
    assert list(whole.training["out_of_fold"]) == ["run"]
    card = (tmp_path / "resnet50-0.0.2" / "MODEL_CARD.md").read_text()
    assert "one step before the released one" in card


def heed_interrupts() -> None:
    """Undo what a shell does to the jobs that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_run_that_was_ended_goes_on_and_ends_alike(data, tmp_path, how):
    config = configuration(tmp_path, "resnet50", epochs=2)
    command = [
        sys.executable, "-m", "training", "train", "--architecture", "resnet50", "--data",
        str(data), "--pretrained", "none", "--config", str(config), "--output",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, str(tmp_path / "cut")], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, preexec_fn=heed_interrupts,  # noqa: PLW1509  one thread
    ) as cut:  # fmt: skip
        for line in cut.stdout:
            if line.startswith("epoch 2/3"):
                break
        cut.send_signal(how)
        rest = cut.stdout.read()
    if how is signal.SIGINT:
        assert cut.returncode == 130
        assert "go on with the same command and --resume" in rest
    resumed = pneumo(*command[3:], tmp_path / "cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/3" not in resumed.stdout
    whole = pneumo(*command[3:], tmp_path / "whole")
    last = [
        next(row for row in done.stdout.splitlines() if row.startswith("epoch 3/3"))
        for done in (resumed, whole)
    ]
    assert last[0].rpartition(",")[0] == last[1].rpartition(",")[0], "same loss, same AUROC"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--architecture", "alexnet"), "'alexnet' is not one of"),
        (("--architecture", "resnet50", "--pretrained", "nowhere.safetensors"), "no file nowhere"),
        (("--architecture", "resnet50", "--config", "nowhere.toml"), "no configuration nowhere"),
        (("--architecture", "resnet50", "--hold-out", "everything"), "everything"),
        (("--architecture", "resnet50", "--data", "nowhere"), "There is no folder nowhere"),
    ],
    ids=["architecture", "weights file", "configuration", "hold-out", "data"],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(data, tmp_path, arguments, words):
    given = ("--data", data, "--pretrained", "none", "--output", tmp_path / "run", *arguments)
    refused = pneumo("train", *given)
    assert refused.returncode in {1, 2}
    assert words in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_a_run_is_not_overwritten(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").touch()
    refused = train(data, tmp_path)
    assert refused.returncode == 1
    assert "RUN_EXISTS" in refused.stderr


def test_resuming_by_another_configuration_is_refused_and_leaves_the_run_as_it_was(data, tmp_path):
    assert train(data, tmp_path).returncode == 0
    before = (tmp_path / "run" / "run.json").read_bytes()
    refused = train(data, tmp_path, "resnet50", "--resume", "--seed", 1)
    assert refused.returncode == 1
    assert "CHECKPOINT_OF_ANOTHER_RUN" in refused.stderr
    assert (tmp_path / "run" / "run.json").read_bytes() == before
