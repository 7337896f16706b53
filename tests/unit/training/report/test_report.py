"""The pages: whole, self-contained, escaped, and loud where they must be."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.builders.evaluations import (
    FINGERPRINT,
    images_of,
    predictions_of,
    save_small_bundle,
    small_manifest,
)
from training.evaluate.comparison import Comparison, choose_model, compare_part
from training.evaluate.evaluation import IN_SAMPLE, NO_BASELINE, RESEARCH_ONLY, evaluate
from training.evaluate.evaluation_set import EvaluationSet
from training.evaluate.largest_errors import Misclassification, largest_errors
from training.report.comparison_report import comparison_page
from training.report.evaluation_report import evaluation_page
from training.report.metric_names import NAMES, format_metric
from training.report.pictures import overlay_uri, radiograph_uri
from worker.model.bundle import load_bundle

LABELS = np.array([0, 1, 1, 0, 1, 1, 0, 0])
LOGITS = np.array([-3.0, 2.0, 1.0, 0.3, -0.9, 4.0, -2.0, -1.0])
HISTORY = [
    {"epoch": 1, "phase": "head", "loss": 0.5, "validation_auroc": None},
    {"epoch": 2, "phase": "all", "loss": 0.3, "validation_auroc": 0.98},
]
VOID = {"meta", "br", "img"}


class Balance(HTMLParser):
    """Complains where elements are not closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


def require_self_contained(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert (balance.open, balance.faults) == ([], [])
    fetched = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert fetched
    assert all(address.startswith(("data:image/", "#")) for address in fetched)
    assert "<script" not in page
    assert "@import" not in page


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return load_bundle(save_small_bundle(folder, training={"history": HISTORY}))


@pytest.fixture(scope="module")
def images():
    return images_of(LABELS)


@pytest.fixture(scope="module")
def evaluation(bundle, images):
    return evaluate(bundle, images, predictions_of(images, LOGITS))


@pytest.fixture(scope="module")
def page(bundle, images, evaluation):
    return evaluation_page(evaluation, largest_errors(bundle, images, evaluation))


def test_the_page_is_one_file(page):
    require_self_contained(page)


def test_it_has_every_figure_and_every_part(page, evaluation):
    for name, title in NAMES.items():
        assert title in page
        assert format_metric(getattr(evaluation.at_threshold.metrics, name)) in page
    for heading in (
        "How to read this",
        "The largest errors",
        "Shortcuts",
        "Training",
        "Predictions",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<svg") == 5  # ROC, precision-recall, calibration, histogram, history
    assert RESEARCH_ONLY in page
    assert "In sample" not in page


def test_a_radiograph_and_its_map_for_each_miss(page, evaluation):
    confusion = evaluation.at_threshold.confusion
    wrong = confusion.false_negative + confusion.false_positive
    assert wrong >= 2
    assert page.count("data:image/jpeg;base64,") == 2 * wrong


def test_equal_evaluations_give_equal_bytes(bundle, images, evaluation, page):
    assert evaluation_page(evaluation, largest_errors(bundle, images, evaluation)) == page


def test_a_file_name_cannot_write_html(evaluation):
    miss = Misclassification(
        shown_as="<script>alert(1)</script>.jpeg",
        subtype="virus",
        label=1,
        probability=0.01,
        plane=np.zeros((8, 8), np.uint8),
        saliency=np.zeros((8, 8), np.float32),
    )
    page = evaluation_page(evaluation, [miss])
    assert "&lt;script&gt;" in page
    require_self_contained(page)


def test_a_report_on_training_images_is_marked(bundle, images):
    seen = type(bundle)(
        **{
            **vars(bundle),
            "manifest": small_manifest(
                dataset_fingerprint=FINGERPRINT, training={"hold_out": "none"}
            ),
        }
    )
    alone = EvaluationSet(**{**vars(images), "train": None})
    page = evaluation_page(evaluate(seen, alone, predictions_of(images, LOGITS)), [])
    assert '<p class="alarm"><strong>In sample.</strong>' in page
    assert IN_SAMPLE in page
    assert NO_BASELINE in page
    assert "keeps no curve" in page
    assert "Every prediction is correct" in page


def test_two_bundles_on_one_page(images):
    pair = small_manifest("9.9.1"), small_manifest("9.9.2")
    said = predictions_of(images, LOGITS), predictions_of(images, LOGITS[::-1].copy())
    parts = (compare_part(images, pair, said),)
    names = ("resnet50-9.9.1", "resnet50-9.9.2")
    page = comparison_page(Comparison(names=names, parts=parts, choice=choose_model(pair, parts)))
    assert page.count("<svg") == 3
    told = ("ensemble of both", "McNemar", "DeLong", "Rule:", "recall, viral pneumonia")
    for words in (*names, *told, RESEARCH_ONLY):
        assert words in page
    balance = Balance()
    balance.feed(page)
    assert (balance.open, balance.faults) == ([], [])


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_radiograph_is_shown_as_it_is():
    plane = np.full((16, 16), 130, np.uint8)
    assert np.abs(decoded(radiograph_uri(plane)).astype(int) - 130).max() <= 2


def test_without_heat_the_overlay_is_the_radiograph_and_heat_is_where_the_map_is():
    plane = np.full((16, 16), 130, np.uint8)
    saliency = np.zeros((16, 16), np.float32)
    saliency[:, 8:] = 1
    shown_pixels = decoded(overlay_uri(plane, saliency)).astype(int)
    assert np.abs(shown_pixels[:, :4] - 130).max() <= 8
    red, _, blue = np.moveaxis(shown_pixels[:, 12:], -1, 0)
    assert (red > blue + 20).all()


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.97314, ".9731"), (1.0, "1.0000"), (-0.5, "-.5000"), (0.0, ".0000"), (float("nan"), "-")],
)
def test_figures_are_written_as_journals_print_them(value, words):
    assert format_metric(value) == words
