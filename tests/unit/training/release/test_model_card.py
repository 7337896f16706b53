"""The card of a model: every fact of its manifest, in the words that were released."""

from __future__ import annotations

import re

import pytest

from training.release.model_card import write_card
from worker.model.bundle import packaged_bundles, read_manifest

BUNDLES = packaged_bundles()


@pytest.mark.parametrize("folder", BUNDLES, ids=[folder.name for folder in BUNDLES])
def test_the_card_of_a_packaged_bundle_is_made_of_its_manifest(folder):
    """A manifest's keys are sorted when it is saved, and tables and lists follow their order."""
    released = (folder / "MODEL_CARD.md").read_text()
    made = write_card(read_manifest(folder))
    assert sorted(re.split(r"[\s;.]+", made)) == sorted(re.split(r"[\s;.]+", released))
    headings = re.compile(r"^#.*$", re.MULTILINE)
    assert headings.findall(made) == headings.findall(released)
