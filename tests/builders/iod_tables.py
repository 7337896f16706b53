"""What PS3.3 asks of an object, from the tables that highdicom carries: an oracle that is not ours."""

from __future__ import annotations

from collections.abc import Iterator

from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)
from pydicom.dataset import Dataset

_A_TREE = "sr-document-content"
"""Its elements depend on each content item's value type, which the table does not tell."""


def faults(dataset: Dataset) -> list[str]:
    """Type 1 and 2 elements of mandatory modules that are missing, and elements of no module."""
    iod = get_sop_class_iod_map()[dataset.SOPClassUID]
    modules, elements = get_iod_module_map()[iod], get_module_attribute_map()
    asked = [
        element
        for module in modules
        if module["usage"] == "M" and module["key"] != _A_TREE
        for element in elements[module["key"]]
        if not element["path"]
    ]
    known = {e["keyword"] for m in modules for e in elements[m["key"]] if not e["path"]}
    strange = [e.keyword for e in dataset if e.keyword not in known]
    return [*_missing(dataset, asked), *(f"{keyword}: of no module" for keyword in strange)]


def _missing(dataset: Dataset, asked: list[dict[str, str]]) -> Iterator[str]:
    for element in asked:
        keyword, kind = element["keyword"], element["type"]
        if kind in {"1", "2"} and keyword not in dataset:
            yield f"{keyword}: type {kind}, missing"
        elif kind == "1" and dataset[keyword].is_empty:
            yield f"{keyword}: type 1, empty"
