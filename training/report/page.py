"""A template and its values to one HTML file, and the files of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.data.files import os_errors_as
from training.evaluate.evaluation import IN_SAMPLE, NO_BASELINE, RESEARCH_ONLY
from training.report.metric_names import (
    ADJECTIVES,
    HEADLINE,
    NAMES,
    format_interval,
    format_metric,
)


def render(template: str, **values: Any) -> str:
    """The page; whatever comes from outside is escaped, and a missing value is an error."""
    environment = Environment(
        loader=PackageLoader("training.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"metric": format_metric, "interval": format_interval}
    environment.globals |= {
        "ADJECTIVES": ADJECTIVES,
        "HEADLINE": HEADLINE,
        "IN_SAMPLE": IN_SAMPLE,
        "NAMES": NAMES,
        "NO_BASELINE": NO_BASELINE,
        "RESEARCH_ONLY": RESEARCH_ONLY,
    }
    return environment.get_template(template).render(**values)


def write_report(output: Path, texts: Mapping[str, str]) -> None:
    """Write texts into `output`, each under its file name. Raises Resource("REPORT_NOT_WRITTEN")."""
    with os_errors_as("REPORT_NOT_WRITTEN", "The report", output):
        output.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (output / name).write_text(text, encoding="utf-8")
