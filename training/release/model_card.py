"""The model card: the manifest's facts in words, for the people who decide about the model.

The words are in templates/model_card.md.
"""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from worker.model.manifest import BundleManifest

INTERVAL_COLUMNS = ["accuracy", "precision", "recall", "f1", "specificity", "auroc"]
COLUMNS = ["images", *INTERVAL_COLUMNS, "brier", "ece"]
POINT_COLUMNS = ["threshold", "recall", "specificity", "stressed_recall", "stressed_specificity"]
PARTS = {
    "validation": "validation: patients drawn at random, 15 %",
    "block": "block: the lowest patient numbers, 13 %",
}


def write_card(manifest: BundleManifest) -> str:
    """MODEL_CARD.md of a manifest whose metrics are complete."""
    environment = Environment(
        loader=PackageLoader("training.release"),
        autoescape=False,  # noqa: S701  Markdown, and every value is our own
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = _short
    metrics, data = manifest.metrics, manifest.training["data"]
    return environment.get_template("model_card.md").render(
        manifest=manifest,
        COLUMNS=COLUMNS,
        INTERVAL_COLUMNS=INTERVAL_COLUMNS,
        POINT_COLUMNS=POINT_COLUMNS,
        figures=[
            [PARTS[part], at, *(_cell(values[name]) for name in COLUMNS)]
            for part, points in metrics["parts"].items()
            for at, values in points.items()
        ],
        intervals=[
            [PARTS[part], *("{:.3f} to {:.3f}".format(*ends[name]) for name in INTERVAL_COLUMNS)]
            for part, ends in metrics["intervals"].items()
        ],
        recalls=[
            f"{part}: bacterial {kinds.get('bacteria', float('nan')):.3f}, "
            f"viral {kinds.get('virus', float('nan')):.3f}"
            for part, kinds in metrics["recall_by_subtype"].items()
        ],
        calibration_errors=[
            f"{part} {error:.3f}" for part, error in metrics["cross_fitted_ece"].items()
        ],
        operating_points=[
            [rule, *(f"{values[name]:.3f}" for name in POINT_COLUMNS)]
            for rule, values in metrics["operating_points"].items()
        ],
        guard=[
            [kind, int(values["images"]), f"{values['refused']:.3f}"]
            for kind, values in metrics["wrong_image_guard"].items()
        ],
        image_counts=[
            f"{part} {count} ({data['pneumonia'][part]} pneumonia)"
            for part, count in data["images"].items()
        ],
    )


def _short(commit: str) -> str:
    """Twelve digits, and whether files differed from the commit."""
    return commit[:12] + (" with uncommitted changes" if commit.endswith("-dirty") else "")


def _cell(value: float) -> str:
    """A count as it is, a share with three places."""
    return str(int(value)) if value == int(value) and value > 1 else f"{value:.3f}"
