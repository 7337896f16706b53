"""Two processes started by torchrun make one network, and end in one run folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.builders.data_sets import draw_set

# Each command is a process that imports torch: seconds on an idle machine, minutes on a busy one.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[3]
CONFIGURATION = """
architecture = "resnet50"
batch_size = {size}
[[phases]]
name = "head"
epochs = 1
side = 32
rates = {{ layer4 = 1e-3, head = 1e-3 }}
frozen_statistics = ["layer4"]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return draw_set(tmp_path_factory.mktemp("data"), normals=40, sick=40, side=64)


def torchrun(data: Path, folder: Path, *, size: int) -> subprocess.CompletedProcess[str]:
    configuration = folder / "small.toml"
    configuration.write_text(CONFIGURATION.format(size=size))
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "training", "train", "--architecture", "resnet50", "--data", str(data),
            "--pretrained", "none", "--config", str(configuration), "--device", "cpu",
            "--output", str(folder / "run"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def test_two_processes_share_each_step_and_one_of_them_writes(data, tmp_path):
    done = torchrun(data, tmp_path, size=8)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 1/1") == 1, "one of them tells"
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    images = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["images"]["train"]
    assert checkpoint["steps"] == images // 8
    assert 0 < checkpoint["history"][0]["loss"] < 2
    assert not list((tmp_path / "run").glob("*.part"))


def test_a_batch_that_two_processes_cannot_share_is_refused(data, tmp_path):
    refused = torchrun(data, tmp_path, size=6)
    assert refused.returncode != 0
    assert "batch_size is 6 and 2 processes share it" in " ".join(refused.stderr.split())
