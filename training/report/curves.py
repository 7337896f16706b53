"""The curves of a report, each as one inline SVG in the font of the page."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from training.evaluate.intervals import wilson
from training.evaluate.metrics import Metrics, equal_mass_bins

INK, PALE = "#22303c", "#c9d1d8"
NORMAL, PNEUMONIA = "#2f7d8c", "#b4532a"
SERIES = ("#22558a", "#b4532a", "#6b7a3a")
"""First, second, third line of a figure; distinguishable by the colour-blind, and by their dashes."""
DASHES = ("-", "--", ":")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": PALE,
    "grid.linewidth": 0.4,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "pneumo",  # equal figures have equal bytes
}


MARKERS = ("o", "s", "^")


@rc_context(STYLE)
def roc_figure(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], points: Mapping[str, Metrics]
) -> Markup:
    """ROC of each of the named scores (n,), with the operating `points` marked."""
    curves = {name: roc_curve(labels, each)[:2] for name, each in scores.items()}
    marks = [(1 - metrics.specificity, metrics.recall) for metrics in points.values()]
    return _curves(curves, marks, ("false positive rate", "recall (sensitivity)"), (0.0, 0.2))


@rc_context(STYLE)
def precision_recall_figure(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], points: Mapping[str, Metrics]
) -> Markup:
    """Precision over recall of each of the named scores (n,), with the operating `points` marked."""
    curves = {}
    for name, each in scores.items():
        precision, recall, _ = precision_recall_curve(labels, each)
        curves[name] = (recall, precision)
    marks = [(metrics.recall, metrics.precision) for metrics in points.values()]
    return _curves(curves, marks, ("recall (sensitivity)", "precision"), (0.8, 1.0))


@rc_context(STYLE)
def calibration_figure(labels: np.ndarray, probabilities: np.ndarray) -> Markup:
    """Frequency of pneumonia over probability, in bins of equal mass, with Wilson intervals."""
    bins = equal_mass_bins(probabilities)
    predicted = np.array([probabilities[b].mean() for b in bins])
    observed = np.array([labels[b].mean() for b in bins])
    ends = np.array([wilson(int(labels[b].sum()), len(b)) for b in bins])
    figure, axes = _axes("mean probability of a bin", "share of pneumonia in it")
    axes.plot([0, 1], [0, 1], color=PALE, lw=1)
    axes.vlines(predicted, ends[:, 0], ends[:, 1], color=SERIES[0], lw=1, alpha=0.5)
    axes.plot(predicted, observed, "o", color=SERIES[0], ms=4)
    return _svg(_square(figure, axes))


@rc_context(STYLE)
def histogram_figure(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: Mapping[str, float]
) -> Markup:
    """Calibrated probabilities by class, on a logarithmic count, with the thresholds."""
    figure, axes = _axes("calibrated probability of pneumonia", "images", wide=True)
    edges = np.linspace(0, 1, 41).tolist()
    for label, name, colour in ((0, "normal", NORMAL), (1, "pneumonia", PNEUMONIA)):
        axes.hist(
            probabilities[labels == label], edges, color=colour, alpha=0.6, label=name, log=True
        )
    for (name, threshold), dash in zip(thresholds.items(), DASHES, strict=False):
        axes.axvline(threshold, color=INK, lw=1, ls=dash, label=name)
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter("{x:g}")  # 100, not 10 to the power of 2
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.22))
    return _svg(figure)


@rc_context(STYLE)
def history_figure(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Loss and validation AUROC by epoch, phases separated by lines."""
    epochs = [row["epoch"] for row in rows]
    figure, axes = _axes("epoch", "training loss", wide=True)
    axes.plot(epochs, [row["loss"] for row in rows], color=SERIES[0], marker="o", ms=3, lw=1.2)
    axes.yaxis.label.set_color(SERIES[0])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    starts = [b["epoch"] for a, b in itertools.pairwise(rows) if a.get("phase") != b.get("phase")]
    for start in starts:
        axes.axvline(start - 0.5, color=PALE, lw=1)
    measured = [row for row in rows if row.get("validation_auroc") is not None]
    if measured:
        right = axes.twinx()
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        right.plot(
            [row["epoch"] for row in measured],
            [row["validation_auroc"] for row in measured],
            DASHES[1],
            color=SERIES[1],
            marker="s",
            ms=3,
            lw=1.2,
        )
        right.set_ylabel("validation AUROC", color=SERIES[1])
    return _svg(figure)


@rc_context(STYLE)
def differences_figure(rows: Mapping[str, tuple[float, float, float]], label: str) -> Markup:
    """Differences with their intervals beside nought: name -> (difference, low, high)."""
    figure, axes = _axes(label, "", wide=True, height=0.55 + 0.4 * len(rows))
    for row, (difference, low, high) in enumerate(rows.values()):
        axes.plot([low, high], [row, row], color=SERIES[0], lw=1.6)
        axes.plot([difference], [row], "o", color=SERIES[0], ms=5)
    axes.axvline(0, color=INK, lw=0.9)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    return _svg(figure)


def _curves(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    marks: Sequence[tuple[float, float]],
    titles: tuple[str, str],
    zoom: tuple[float, float],
) -> Markup:
    """Lines in the unit square, and their corner of interest enlarged."""
    figure, axes = _axes(*titles)
    inset = axes.inset_axes((0.36, 0.13, 0.58, 0.56))
    several = len(curves) > 1
    for panel in (axes, inset):
        for (name, (x, y)), colour, dash in zip(curves.items(), SERIES, DASHES, strict=False):
            panel.plot(x, y, dash, color=colour, lw=1.4, label=name)
        for at, colour, marker in zip(marks, SERIES, MARKERS, strict=False):
            edge = colour if several else INK
            panel.plot(*at, marker, color=edge, ms=5, mfc="white", zorder=5)
    _square(figure, axes)
    inset.set(xlim=(zoom[0], zoom[1] + 0.003), ylim=(0.8, 1.004))
    inset.tick_params(labelsize=7)
    axes.indicate_inset_zoom(inset, edgecolor=INK, alpha=0.35)
    if several:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    return _svg(figure)


def _axes(x: str, y: str, *, wide: bool = False, height: float = 2.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, height) if wide else (3.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _square(figure: Figure, axes: Axes) -> Figure:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure


def _svg(figure: Figure) -> Markup:
    """The figure as an <svg> element, without the declarations that only a file of its own has."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  made here, of numbers and our own words
