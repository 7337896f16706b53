"""The model card: the manifest's facts in words, for the people who decide about the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.model.manifest import BundleManifest

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
HEADLINES = ("accuracy", "precision", "recall", "f1", "specificity", "auroc")
NAMES = {
    "validation": "validation: patients drawn at random, 15 %",
    "block": "block: the lowest patient numbers, 13 %",
}


def write_card(manifest: BundleManifest) -> str:
    """MODEL_CARD.md of a manifest whose metrics are complete."""
    return (
        "\n\n".join(
            section
            for section in [
                f"# {manifest.model_name} {manifest.model_version}",
                RESEARCH_ONLY,
                _what(manifest),
                _figures(manifest),
                _point(manifest),
                _guard(manifest),
                _data(manifest),
                _limits(manifest),
                _licences(manifest),
            ]
            if section
        )
        + "\n"
    )


def _what(manifest: BundleManifest) -> str:
    shape = f"{manifest.preprocessing.size} x {manifest.preprocessing.size}"
    return (
        f"A {manifest.architecture} with one logit that tells {' from '.join(manifest.classes)} on "
        f"frontal chest radiographs, seen at {shape} pixels (preprocessing version "
        f"{manifest.preprocessing.version}).\n\n"
        f"Intended population: {manifest.intended_population.sentence}"
    )


def _figures(manifest: BundleManifest) -> str:
    metrics = manifest.metrics
    rows = []
    for part, points in metrics["parts"].items():
        for at, figures in points.items():
            cells = [_cell(figures[name]) for name in COLUMNS]
            rows.append([NAMES[part], at, *cells])
    subtypes = "; ".join(
        f"{part}: bacterial {kinds.get('bacteria', float('nan')):.3f}, "
        f"viral {kinds.get('virus', float('nan')):.3f}"
        for part, kinds in metrics["recall_by_subtype"].items()
    )
    unseen = "; ".join(f"{part} {value:.3f}" for part, value in metrics["cross_fitted_ece"].items())
    return (
        "## Figures\n\n"
        + _table(["held-out part", "at", *COLUMNS], rows)
        + "\n\n95 % intervals at the threshold, by a bootstrap of patients:\n\n"
        + _intervals(metrics["intervals"])
        + f"\n\nRecall by cause at the threshold: {subtypes}.\n\n"
        f"{_whose(manifest)} Calibration and threshold were chosen on these same predictions, so "
        "the rows flatter themselves in both; fitted on other patients than it is measured on, the "
        f"calibration error (ece) is: {unseen}. Both parts come from the same hospital and are "
        "nearly saturated: expect less elsewhere. The official test folder was not looked at."
    )


def _whose(manifest: BundleManifest) -> str:
    """Which network gave the figures: this one, or the one before it saw every image."""
    others = manifest.training["out_of_fold"]
    if not others:
        return "No patient of either part was trained on."
    return (
        "The figures are those of the network one step before the released one: it had not seen a "
        "patient of either part. The released weights went on from there, by half the rates, on "
        "all images, the held-out ones included, so no development image can measure them any "
        "more. Five folds of full fine-tuning were out of reach on the machine at hand; one "
        "grouped fold and the block stand in for them."
    )


def _intervals(intervals: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    rows = [
        [NAMES[part], *("{:.3f} to {:.3f}".format(*figures[name]) for name in HEADLINES)]
        for part, figures in intervals.items()
    ]
    return _table(["held-out part", *HEADLINES], rows)


def _point(manifest: BundleManifest) -> str:
    candidates: Mapping[str, Mapping[str, float]] = manifest.metrics["operating_points"]
    names = ("threshold", "recall", "specificity", "stressed_recall", "stressed_specificity")
    rows = [
        [rule, *(f"{values[name]:.3f}" for name in names)] for rule, values in candidates.items()
    ]
    return (
        "## Operating point\n\n"
        f"Probability = sigmoid(logit / {manifest.temperature:.4f} {manifest.bias:+.4f}); positive "
        f"from {manifest.threshold:.4f}. {manifest.threshold_rule}\n\n"
        + _table(["rule", *(name.replace("_", " ") for name in names)], rows)
        + "\n\nStressed: the mean over the images as they are, blurred, with raised and crushed "
        "blacks, lower and higher contrast, and without their border.\n\n"
        "The network learnt from equally many images of both classes; the bias puts the prior of "
        "this data set back (three pneumonias to one normal). Where fewer children are ill, the "
        "probabilities are too high by as much."
    )


def _data(manifest: BundleManifest) -> str:
    training = manifest.training
    images, sick = training["data"]["images"], training["data"]["pneumonia"]
    counts = "; ".join(f"{part} {images[part]} ({sick[part]} pneumonia)" for part in images)
    epochs = len(training["history"])
    before = "".join(
        f"\n\nThe run before it ({name}, {len(facts['history'])} epochs, seed {facts['seed']}, "
        f"commit {_short(facts['commit'])}) began with {facts['pretrained']['source']}:\n\n"
        + "\n".join(f"- {sentence}" for sentence in facts["pretrained"]["report"])
        for name, facts in training["out_of_fold"].items()
    )
    report = "\n".join(f"- {sentence}" for sentence in training["pretrained"]["report"])
    return (
        "## Data and training\n\n"
        "Kermany, Zhang, Goldbaum: Large Dataset of Labeled Optical Coherence Tomography and Chest "
        "X-Ray Images (Cell 2018), doi:10.17632/rscbjbr9sj, CC BY 4.0: the train and val folders, "
        f"pooled and split by patient. Images: {counts}.\n\n"
        f"{epochs} epochs, seed {training['seed']}, commit {_short(training['commit'])}; "
        f"averaged weights; the whole configuration is in the manifest. Began with "
        f"{training['pretrained']['source']}:\n\n{report}{before}"
    )


def _guard(manifest: BundleManifest) -> str:
    figures: Mapping[str, Mapping[str, float]] = manifest.metrics["wrong_image_guard"]
    if not figures:
        return ""
    rows = [
        [kind, int(values["images"]), f"{values['refused']:.3f}"]
        for kind, values in figures.items()
    ]
    return (
        "## Wrong images\n\n"
        "Before a score is given, the distance of the picture's pooled features from those of the "
        "training images is taken (Mahalanobis, shrunk covariance); beyond the 99th percentile of "
        "held-out radiographs the picture is not assessed. Measured:\n\n"
        + _table(["pictures", "count", "share refused"], rows)
    )


def _limits(manifest: BundleManifest) -> str:
    noted = "".join(f"\n- {sentence}" for sentence in manifest.training["limits"])
    return (
        "## Limits\n\n"
        "- One hospital, children, AP views, exported as JPEG: other ages, views, detectors and "
        "processing are outside what was learnt. Outside the age range a warning goes with the result.\n"
        "- In this data set sharpness, contrast and black level alone nearly tell the classes apart; "
        "augmentation fights that shortcut and does not remove it.\n"
        "- It knows two classes. Other findings are neither pneumonia nor normal to a reader, but must "
        "be one of the two to it." + noted
    )


def _licences(manifest: BundleManifest) -> str:
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
