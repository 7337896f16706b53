"""`evaluate` and `compare` as a person types them, on tiny sets and random networks."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.data_sets import draw_set, radiographs_of, write_dicom_set
from tests.builders.evaluations import save_small_bundle
from training.data.radiograph import fingerprint

# Each command is a process that imports torch: seconds on an idle machine, minutes on a busy one.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[3]


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
    """Class folders with a test folder of ten images of each class."""
    root = draw_set(tmp_path_factory.mktemp("data"))
    for label in ("NORMAL", "PNEUMONIA"):
        (root / "test" / label).mkdir(parents=True)
        for path in sorted((root / "train" / label).iterdir())[-10:]:
            path.rename(root / "test" / label / path.name)
    return root


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    return save_small_bundle(tmp_path_factory.mktemp("bundles"), seed=0)


@pytest.fixture(scope="module")
def seen(tmp_path_factory, data) -> Path:
    """A bundle that was trained on every development image."""
    return save_small_bundle(
        tmp_path_factory.mktemp("bundles"),
        seed=1,
        dataset_fingerprint=fingerprint(radiographs_of(data)),
        training={"hold_out": "none"},
    )


def test_evaluate_writes_table_json_csv_and_one_page(first, data, tmp_path):
    done = pneumo("evaluate", first, "--data", data, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for words in ("accuracy", "AUROC", "Confounder baseline: AUROC", "Grad-CAM"):
        assert words in done.stdout
    assert "IN SAMPLE" not in done.stdout
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    called = [float(row["probability"]) >= content["at_threshold"]["threshold"] for row in rows]
    right = sum(c == (row["label"] == "1") for c, row in zip(called, rows, strict=True))
    assert content["images"] == len(rows)
    assert content["at_threshold"]["figures"]["accuracy"] == pytest.approx(
        right / len(rows), abs=1e-5
    )
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert "resnet50-9.9.0 on validation" in (tmp_path / "out" / "report.html").read_text()


def test_the_test_folder_is_read_by_itself(first, data, tmp_path):
    shutil.copytree(data / "test", tmp_path / "alone" / "test")
    done = pneumo(
        "evaluate", first, "--data", tmp_path / "alone", "--split", "test", "--output",
        tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (content["images"], content["split"]) == (20, "test")
    assert "left_out" in content["nuisance"]
    assert "no folder train" in " ".join(done.stdout.split())


def test_a_bundle_that_saw_the_images_is_marked_everywhere(seen, data, tmp_path):
    done = pneumo("evaluate", seen, "--data", data, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "IN SAMPLE" in done.stdout
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["in_sample"] is True
    assert "In sample." in (tmp_path / "out" / "report.html").read_text()


def test_dicom_is_read_by_the_workers_code(first, tmp_path):
    dicom = write_dicom_set(tmp_path / "dicom", [0, 1] * 4)
    done = pneumo(
        "evaluate", first, "--data", dicom, "--split", "test", "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["images"] == 8
    page = (tmp_path / "out" / "report.html").read_text()
    assert "PLANTED" not in page + done.stdout


def test_compare_both_parts_and_a_verdict(first, seen, data, tmp_path):
    done = pneumo("compare", first, seen, "--data", data, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "McNemar" in said
    assert "IN SAMPLE, resnet50-9.9.1" in said
    assert "The rule is not applied" in said
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [part["part"] for part in content["parts"]] == ["validation", "block"]
    assert content["in_sample"] is True
    assert "ensemble of both" in (tmp_path / "out" / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "{first}", "{first}"], "SAME_BUNDLE"),
        (["evaluate", "{data}"], "BUNDLE_FILE_MISSING"),
        (["evaluate", "{first}", "--output", "{data}/test/NORMAL/IM-0880-0001.jpeg/x"], "CACHE"),
    ],
    ids=["a bundle with itself", "no bundle", "output below a file"],
)
def test_mistakes_are_one_sentence(arguments, sentence, first, data):
    given = [each.format(first=first, data=data) for each in arguments]
    done = pneumo(*given, "--data", data)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_are_listed_without_matplotlib():
    asked = "import sys, training.cli; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
