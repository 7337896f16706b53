"""A template and its values to one HTML file."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.evaluation import RESEARCH_ONLY
from training.figure_names import ADJECTIVES, HEADLINE, NAMES, shown, shown_interval


def render(template: str, **values: Any) -> str:
    """The page; whatever comes from outside is escaped, and a missing value is an error."""
    environment = Environment(
        loader=PackageLoader("training.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "interval": shown_interval}
    environment.globals |= {
        "HEADLINE": HEADLINE,
        "NAMES": NAMES,
        "RESEARCH_ONLY": RESEARCH_ONLY,
        "ADJECTIVES": ADJECTIVES,
    }
    return environment.get_template(template).render(**values)
