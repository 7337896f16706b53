"""What is delivered carries no GPL or AGPL; what is neither free nor copyleft is known by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DELIVERED = ("demo", "training")
"""Extras that reach users; `dev` (pytest, GDCM as an oracle, ...) never leaves a developer's machine."""
COPYLEFT = re.compile(r"\bA?GPL|\bGNU (Affero )?General Public", re.IGNORECASE)
LESSER = re.compile(r"\bLGPL|\bGNU (Lesser|Library) General Public", re.IGNORECASE)
PROPRIETARY = re.compile(r"proprietary", re.IGNORECASE)

LESSER_ALLOWED = {
    "psycopg": "PostgreSQL driver, imported unchanged: LGPL asks that users may replace it",
    "psycopg-binary": "the same driver's compiled half and its libpq",
}
PROPRIETARY_ALLOWED = re.compile(r"nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+")
"""CUDA's libraries, which PyPI's torch depends on; NVIDIA's terms let them be redistributed with it."""


def reachable(name: str, extras: Iterable[str] = ()) -> dict[str, Distribution]:
    """Every installed distribution that `name` with these extras needs on this machine."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        current, extra = waiting.pop()
        key = canonicalize_name(current)
        if (key, extra) in asked:
            continue
        asked.add((key, extra))
        try:
            found[key] = distribution(current)
        except PackageNotFoundError:  # for another platform, or not installed here
            continue
        for needed in needed_by(found[key], extra):
            waiting += [(needed.name, wanted) for wanted in ("", *needed.extras)]
    return found


def needed_by(installed: Distribution, extra: str) -> Iterator[Requirement]:
    """Requirements that hold on this machine with one extra ("" for none)."""
    for line in installed.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def licences_of(installed: Distribution) -> list[str]:
    """What a distribution says of its licence; a long text is cut to its title."""
    metadata = installed.metadata
    said = [metadata.get("License-Expression"), metadata.get("License")]
    said += [c for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    return [text.strip()[:200] for text in said if text and text.strip()]


def objection(name: str, licences: list[str]) -> str | None:
    """Why this may not be delivered; None if it may."""
    text = " | ".join(licences)
    if not text and not PROPRIETARY_ALLOWED.fullmatch(name):
        return f"{name}: says nothing of its licence: look it up and name it here"
    if LESSER.search(text) and name not in LESSER_ALLOWED:
        return f"{name}: {text}: LGPL needs an entry with a reason in LESSER_ALLOWED"
    if COPYLEFT.search(LESSER.sub("", text)):
        return f"{name}: {text}: GPL and AGPL are not delivered"
    if PROPRIETARY.search(text) and not PROPRIETARY_ALLOWED.fullmatch(name):
        return f"{name}: {text}: proprietary, and nobody has said why that is all right"
    return None


def test_nothing_delivered_is_gpl():
    delivered = reachable("pneumo", DELIVERED)
    assert {"torch", "celery", "pydicom", "scikit-learn", "pydicom-data"} <= delivered.keys()
    stated = {name: licences_of(found) for name, found in sorted(delivered.items())}
    for name, licences in stated.items():
        print(f"{name}: {' | '.join(licences) or 'nothing stated'}")
    objections = [objection(name, licences) for name, licences in stated.items()]
    assert not [sentence for sentence in objections if sentence]


def test_packages_known_to_be_gpl_or_to_abort_are_not_delivered():
    assert not reachable("pneumo", DELIVERED).keys() & {"pylibjpeg-libjpeg", "python-gdcm"}


def test_allowances_are_used():
    assert reachable("pneumo").keys() >= LESSER_ALLOWED.keys()


@pytest.mark.parametrize(
    ("name", "licences", "refused"),
    [
        ("a", ["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"], True),
        ("a", ["License :: OSI Approved :: GNU Affero General Public License v3"], True),
        ("a", ["GPL-3.0-or-later"], True),
        ("a", ["AGPL-3.0-only"], True),
        ("a", ["MIT AND GPL-2.0-only"], True),
        ("a", ["LGPL-3.0-only"], True),
        ("a", ["License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"], True),
        ("psycopg", ["LGPL-3.0-only"], False),
        ("psycopg", ["LGPL-3.0-only AND GPL-2.0-only"], True),
        ("a", ["LicenseRef-NVIDIA-Proprietary"], True),
        ("nvidia-cublas", ["LicenseRef-NVIDIA-Proprietary"], False),
        ("a", ["MIT"], False),
        ("a", ["BSD-3-Clause AND Apache-2.0 WITH LLVM-exception"], False),
        ("a", [], True),
        ("cuda-toolkit", [], False),
    ],
)
def test_the_detector_detects(name, licences, refused):
    assert (objection(name, licences) is not None) is refused


def test_a_gpl_classifier_in_real_metadata_is_caught(tmp_path):
    folder = tmp_path / "copyleft-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: copyleft\nVersion: 1.0\n"
        "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)\n"
    )
    said = licences_of(Distribution.at(folder))
    assert objection("copyleft", said) == (
        "copyleft: License :: OSI Approved :: GNU General Public License v3 (GPLv3): "
        "GPL and AGPL are not delivered"
    )
