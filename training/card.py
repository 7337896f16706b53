"""The model card: the manifest's facts in words, for the people who decide about the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.model.manifest import Manifest

COLUMNS = (
    "images",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "specificity",
    "auroc",
    "brier",
    "ece",
)
RESEARCH_ONLY = "**For research until it is cleared where it is used.** No medical device. A radiologist decides."
NAMES = {
    "validation": "validation: patients drawn at random, 15 %",
    "block": "block: the lowest patient numbers, 13 %",
}


def write_card(manifest: Manifest) -> str:
    """MODEL_CARD.md of a manifest whose metrics are complete."""
    return (
        "\n\n".join(
            [
                f"# {manifest.model_name} {manifest.model_version}",
                RESEARCH_ONLY,
                _what(manifest),
                _figures(manifest),
                _point(manifest),
                _data(manifest),
                _limits(manifest),
                _licences(manifest),
            ]
        )
        + "\n"
    )


def _what(manifest: Manifest) -> str:
    shape = f"{manifest.preprocessing.size} x {manifest.preprocessing.size}"
    return (
        f"A {manifest.architecture} with one logit that tells {' from '.join(manifest.classes)} on "
        f"frontal chest radiographs, seen at {shape} pixels (preprocessing version "
        f"{manifest.preprocessing.version}).\n\n"
        f"Intended population: {manifest.intended_population.sentence}"
    )


def _figures(manifest: Manifest) -> str:
    rows = []
    for part, points in manifest.metrics["parts"].items():
        for at, figures in points.items():
            cells = [_cell(figures[name]) for name in COLUMNS]
            rows.append([NAMES[part], at, *cells])
    subtypes = "; ".join(
        f"{part}: bacterial {kinds.get('bacteria', float('nan')):.3f}, "
        f"viral {kinds.get('virus', float('nan')):.3f}"
        for part, kinds in manifest.metrics["recall_by_subtype"].items()
    )
    return (
        "## Figures\n\n"
        + _table(["held-out part", "at", *COLUMNS], rows)
        + f"\n\nRecall by cause at the threshold: {subtypes}.\n\n"
        "No patient of either part was trained on. Temperature and threshold were chosen on the "
        "validation predictions, so that row flatters itself in calibration and operating point; the "
        "block decided nothing and imitates the way in which the data set's own test folder was cut. "
        "Measured in fp32 on the weights as they are in this bundle. Both parts come from the same "
        "hospital and are nearly saturated: expect less elsewhere. The official test folder was not "
        "looked at.\n\n"
        "The network learnt from equally many images of both classes, so its probabilities are those "
        "of a world with as many pneumonias as normals; among these images three of four are "
        "pneumonias, which is one reason for the calibration error (ece)."
    )


def _point(manifest: Manifest) -> str:
    candidates: Mapping[str, Mapping[str, float]] = manifest.metrics["operating_points"]
    names = ("threshold", "recall", "specificity", "stressed_recall", "stressed_specificity")
    rows = [
        [rule, *(f"{values[name]:.3f}" for name in names)] for rule, values in candidates.items()
    ]
    return (
        "## Operating point\n\n"
        f"Probability = sigmoid(logit / {manifest.temperature:.4f}); positive from "
        f"{manifest.threshold:.4f}. {manifest.threshold_rule}\n\n"
        + _table(["rule", *(name.replace("_", " ") for name in names)], rows)
    )


def _data(manifest: Manifest) -> str:
    training = manifest.training
    images, sick = training["data"]["images"], training["data"]["pneumonia"]
    counts = "; ".join(f"{part} {images[part]} ({sick[part]} pneumonia)" for part in images)
    report = "\n".join(f"- {sentence}" for sentence in training["pretrained"]["report"])
    return (
        "## Data and training\n\n"
        "Kermany, Zhang, Goldbaum: Large Dataset of Labeled Optical Coherence Tomography and Chest "
        "X-Ray Images (Cell 2018), doi:10.17632/rscbjbr9sj, CC BY 4.0: the train and val folders, "
        f"pooled and split by patient. Images: {counts}.\n\n"
        f"Seed {training['seed']}, {training['epochs_done']} epochs by a fixed recipe (no epoch was "
        "picked by its validation figure); the averaged weights of the last epoch are released. "
        f"Trained at commit {_short(training['commit'])}. Began with "
        f"{training['pretrained']['source']}:\n\n{report}"
    )


def _limits(manifest: Manifest) -> str:
    noted = "".join(f"\n- {sentence}" for sentence in manifest.training["limits"])
    return (
        "## Limits\n\n"
        "- One hospital, children, AP views, exported as JPEG: other ages, views, detectors and "
        "processing are outside what was learnt. Outside the age range a warning goes with the result.\n"
        "- In this data set sharpness, contrast and black level alone nearly tell the classes apart; "
        "augmentation fights that shortcut and does not remove it.\n"
        "- It knows two classes. Other findings are neither pneumonia nor normal to a reader, but must "
        "be one of the two to it.\n"
        "- It does not notice by itself that a picture is no chest radiograph; the header rules do."
        + noted
    )


def _licences(manifest: Manifest) -> str:
    return (
        "## Licences\n\n"
        "These weights: Apache-2.0, as the code. Training images: CC BY 4.0 (attribution above); none "
        f"is in this bundle. Pretrained weights ({manifest.training['pretrained']['source']}): see "
        "their own licence; for the files named `resnet50_imagenet_conv1_to_layer3` and "
        "`vgg16_features` it is MIT (the VGG weights within: CC BY 4.0)."
    )


def _short(commit: str) -> str:
    """Twelve digits, and whether files differed from the commit."""
    return commit[:12] + (" with uncommitted changes" if commit.endswith("-dirty") else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(value: float) -> str:
    return str(int(value)) if value == int(value) and value > 1 else f"{value:.3f}"
