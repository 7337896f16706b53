"""What a bundle's files and manifest must be before a weight is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.imaging.preprocessing import PREPROCESSING_VERSION
from worker.model.architectures import ARCHITECTURES
from worker.model.manifest import CLASSES, MANIFEST, READABLE_SCHEMAS, BundleManifest, BundleRefused

WEIGHTS, CARD, GOLDEN = "model.safetensors", "MODEL_CARD.md", "golden.safetensors"
REFERENCE = "reference.safetensors"
FILES = (WEIGHTS, CARD, GOLDEN)
"""What every bundle holds beside its manifest; the reference file is there if the manifest lists it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be as this installation expects it."""

    code: str
    """Stable, UPPER_SNAKE."""
    holds: Callable[[BundleManifest], bool]
    """Whether it is."""
    sentence: Callable[[BundleManifest], str]
    """What was found, what was expected, what to do."""


MEANING: tuple[Check, ...] = (
    Check(
        code="SCHEMA_UNKNOWN",
        holds=lambda m: m.schema_version in READABLE_SCHEMAS,
        sentence=lambda m: (
            f"The manifest has schema {m.schema_version!r}; this installation reads "
            f"{' and '.join(READABLE_SCHEMAS)}. Export the bundle with this version's training module."
        ),
    ),
    Check(
        code="ARCHITECTURE_UNKNOWN",
        holds=lambda m: m.architecture in ARCHITECTURES,
        sentence=lambda m: (
            f"The architecture is {m.architecture!r}; this installation knows "
            f"{', '.join(ARCHITECTURES)}. Update it, or choose another bundle."
        ),
    ),
    Check(
        code="CLASS_ORDER_WRONG",
        holds=lambda m: m.classes == CLASSES and m.positive_class == CLASSES[1],
        sentence=lambda m: (
            f"The classes are {', '.join(m.classes)} with {m.positive_class} "
            f"positive; expected {', '.join(CLASSES)} with {CLASSES[1]} positive. Train it again."
        ),
    ),
    Check(
        code="PREPROCESSING_VERSION_MISMATCH",
        holds=lambda m: m.preprocessing.version == PREPROCESSING_VERSION,
        sentence=lambda m: (
            f"It was trained with preprocessing {m.preprocessing.version!r}; this "
            f"installation has {PREPROCESSING_VERSION!r}, which would give other pixels. Use the "
            "version of pneumo that it was made for, or train it again."
        ),
    ),
    Check(
        code="TEMPERATURE_OUT_OF_RANGE",
        holds=lambda m: 0.01 <= m.temperature <= 100,
        sentence=lambda m: (
            f"The temperature is {m.temperature:g}; expected 0.01 to 100. Calibrate it again."
        ),
    ),
    Check(
        code="BIAS_OUT_OF_RANGE",
        holds=lambda m: -20 <= m.bias <= 20,
        sentence=lambda m: f"The bias is {m.bias:g}; expected -20 to 20. Calibrate it again.",
    ),
    Check(
        code="THRESHOLD_OUT_OF_RANGE",
        holds=lambda m: 0 < m.threshold < 1,
        sentence=lambda m: (
            f"The threshold is {m.threshold:g}; expected a probability between 0 "
            "and 1. Choose it again."
        ),
    ),
)
"""What a manifest must mean before a weight is loaded."""


def check_files(folder: Path, manifest: BundleManifest) -> None:
    """Exactly the files that belong, each with its hash. Raises BundleRefused."""
    for code, sentence in _file_faults(folder, manifest):
        raise BundleRefused(code, sentence)


def _file_faults(folder: Path, manifest: BundleManifest) -> Iterator[tuple[str, str]]:
    listed = set(manifest.files)
    if listed - {REFERENCE} != set(FILES):
        yield (
            "BUNDLE_FILE_UNKNOWN",
            (
                f"The manifest must list {', '.join(FILES)}, it may list {REFERENCE}, and nothing "
                "else. Export it again."
            ),
        )
    present = {path.name for path in folder.iterdir()}
    for name in sorted(present - {MANIFEST, *listed}):
        yield (
            "BUNDLE_FILE_UNKNOWN",
            (
                f"The folder holds {name}, which its manifest does not list. Take it out, or "
                "export it again."
            ),
        )
    for name in sorted(listed):
        if name not in present:
            yield ("BUNDLE_FILE_MISSING", f"The folder lacks {name}. Copy the whole bundle again.")
        elif sha256(folder / name) != manifest.files[name]:
            yield (
                "BUNDLE_FILE_CHANGED",
                (
                    f"{name} is not the file that the manifest was made for: its SHA-256 differs. "
                    "Take the bundle from its source again."
                ),
            )


def check_meaning(manifest: BundleManifest) -> None:
    """Raise BundleRefused at the first row of the table that does not hold."""
    for check in MEANING:
        if not check.holds(manifest):
            raise BundleRefused(check.code, check.sentence(manifest))


def sha256(path: Path) -> str:
    """64 hex digits over a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
