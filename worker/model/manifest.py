"""What a bundle says of itself: everything that gives its numbers their meaning.

The manifest is kept as canonical JSON that carries its own digest, so that one changed byte, a
reordered key or another threshold is noticed before a weight is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec

MANIFEST = "manifest.json"
SCHEMA_VERSION = "2"
READABLE_SCHEMAS = ("1", "2")
"""Schema 1 knew no bias and no reference file; what was released in it is still read."""
CLASSES = ("NORMAL", "PNEUMONIA")
"""In the order of the labels 0 and 1 in training; the logit is that of the second."""


class BundleRefused(Rejected):
    """A bundle that must not predict; the sentence says which check failed and what to do."""


@dataclass(frozen=True, kw_only=True)
class IntendedPopulation:
    """Whom the model was made for."""

    age_years: tuple[float, float]
    """Least and greatest age, inclusive; outside, the result carries a warning."""
    views: tuple[str, ...]
    """View positions of the training images."""
    sentence: str
    """The same for a person."""


@dataclass(frozen=True, kw_only=True)
class BundleManifest:
    """The contents of manifest.json."""

    schema_version: str = SCHEMA_VERSION
    """Version of this very list of fields."""
    model_name: str
    """e.g. "resnet50"."""
    model_version: str
    """e.g. "0.1.0"; name and version together are never given to other weights."""
    architecture: str
    """What `build_model` is asked for."""
    classes: tuple[str, ...] = CLASSES
    """Class order; another order than the code's is refused."""
    positive_class: str = CLASSES[1]
    """The class whose logit the network gives."""
    preprocessing: PreprocessingSpec = field(default_factory=PreprocessingSpec)
    """The recipe that the network was trained with."""
    temperature: float
    """Calibration: probability = sigmoid(logit / temperature + bias)."""
    bias: float = 0.0
    """Calibration, see above; not written in schema 1."""
    threshold: float
    """Operating point on the calibrated probability."""
    threshold_rule: str
    """How it was chosen, in a sentence."""
    intended_population: IntendedPopulation
    """Whom the model was made for."""
    dataset_fingerprint: str
    """SHA-256 over names, labels and bytes of the training set."""
    metrics: Mapping[str, Any]
    """Figures by part of the split."""
    training: Mapping[str, Any]
    """Seed, commit, recipe, split, pretrained weights."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of every other file of the bundle."""
    digest: str = ""
    """SHA-256 over this manifest without this field."""

    def to_bytes(self) -> bytes:
        """Canonical JSON with the digest."""
        return _canonical({**self._values(), "digest": self.compute_digest()})

    def compute_digest(self) -> str:
        """SHA-256 over the canonical JSON of everything but the digest."""
        return hashlib.sha256(_canonical(self._values())).hexdigest()

    def _values(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["digest"]
        if self.schema_version == "1":
            del values["bias"]
        return values


def read_manifest(folder: Path) -> BundleManifest:
    """Read the manifest of a bundle and check it against its own digest.

    Args:
        folder: The bundle.

    Returns:
        The manifest.

    Raises:
        BundleRefused: BUNDLE_FILE_MISSING, MANIFEST_CHANGED, or what is wrong with a value.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleRefused(
            "BUNDLE_FILE_MISSING",
            f"The folder holds no {MANIFEST}, so it is no bundle. Give the folder that the "
            "training module wrote.",
        )
    raw = path.read_bytes()
    manifest = _parse(raw)
    if raw != manifest.to_bytes() or manifest.digest != manifest.compute_digest():
        raise BundleRefused(
            "MANIFEST_CHANGED",
            "The manifest is not as the training module wrote it: its digest does not fit. Take "
            "the bundle from its source again.",
        )
    return manifest


def _parse(raw: bytes) -> BundleManifest:
    try:
        values = json.loads(raw)
        _require_types(values)
        return BundleManifest(
            **{
                **values,
                "classes": tuple(values["classes"]),
                "preprocessing": PreprocessingSpec.from_json(json.dumps(values["preprocessing"])),
                "intended_population": _population(values["intended_population"]),
            }
        )
    except (ValueError, TypeError, KeyError, Rejected):
        raise BundleRefused(
            "MANIFEST_UNREADABLE",
            f"The manifest does not hold the fields of schema {' or '.join(READABLE_SCHEMAS)}. It "
            "was damaged, or written by another version of the training module: export the bundle "
            "again.",
        ) from None


def _require_types(values: Mapping[str, Any]) -> None:
    """Raise TypeError for a field of another type: a signed manifest may still be nonsense."""
    since_schema_2 = {} if values["schema_version"] == "1" else {"bias": (int, float)}
    for name, types in {**_TYPES, **since_schema_2}.items():
        if not isinstance(values[name], types) or isinstance(values[name], bool):
            raise TypeError(name)
    for digest in values["files"].values():
        if not isinstance(digest, str):
            raise TypeError("files")


_TYPES: dict[str, type | tuple[type, ...]] = {
    "architecture": str,
    "classes": list,
    "files": dict,
    "model_name": str,
    "model_version": str,
    "positive_class": str,
    "preprocessing": dict,
    "schema_version": str,
    "temperature": (int, float),
    "threshold": (int, float),
}
"""Fields that code relies on, with the types that JSON gives them."""


def _population(values: Mapping[str, Any]) -> IntendedPopulation:
    return IntendedPopulation(
        age_years=tuple(values["age_years"]),
        views=tuple(values["views"]),
        sentence=values["sentence"],
    )


def _canonical(values: Mapping[str, Any]) -> bytes:
    """One way to write it: sorted keys, two spaces, a newline at the end, no NaN."""
    text = json.dumps(values, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
