"""Whom the listener admits, by AE titles, with real associations."""

from __future__ import annotations

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

from tests.builders.dicom import make_instance
from worker.errors import Rejected
from worker.listener.storage_scp import echo
from worker.settings import read_settings

CR = ComputedRadiographyImageStorage
CALLING, CALLED = 0x03, 0x07
"""Diagnostics of PS3.8 9.3.4."""


@pytest.fixture
def listed(site):
    """A listener of a site with both lists."""
    changes = {"calling_ae_titles": "MODALITY_1, PACS", "called_ae_titles": "PNEUMO_OLD"}
    site.settings = site.settings.model_copy(update=changes)
    site.listen()
    return site


def asked(site, *sop_classes: str, calling: str, called: str) -> int | None:
    """None if the association was admitted, else the diagnostic."""
    unit = AE(ae_title=calling)
    for sop_class in sop_classes or (Verification,):
        unit.add_requested_context(sop_class)
    opened = unit.associate("127.0.0.1", site.settings.listen_port, ae_title=called)
    if opened.is_established:
        opened.release()
        return None
    assert opened.is_rejected
    answer = opened.acceptor.primitive
    assert (answer.result, answer.result_source) == (0x01, 0x01)
    return answer.diagnostic


@pytest.mark.parametrize(
    ("calling", "called", "expected"),
    [
        ("MODALITY_1", "PNEUMO", None),
        ("PACS", "PNEUMO_STAT", None),
        ("PACS", "PNEUMO_OLD", None),
        ("MODALITY_2", "PNEUMO", CALLING),
        ("modality_1", "PNEUMO", CALLING),  # PS3.5 6.2: case counts
        ("PACS", "ANOTHER", CALLED),
        ("MODALITY_2", "ANOTHER", CALLING),
    ],
)
def test_the_lists_decide(listed, calling, called, expected):
    assert asked(listed, calling=calling, called=called) == expected


def test_what_is_admitted_is_taken_over_and_our_own_probe_always(listed):
    (status,) = listed.send(make_instance(), calling="PACS")
    assert status.Status == 0x0000
    assert listed.one("SELECT site_ae_title FROM study") == "PACS"
    assert echo(listed.settings)


@pytest.mark.parametrize("lists", ["MODALITY_1", ""])
@pytest.mark.parametrize("proposed", [(CR,), (Verification, CR), (StorageCommitmentPushModel,)])
def test_the_probes_title_may_verify_and_nothing_else(site, lists, proposed):
    site.settings = site.settings.model_copy(update={"calling_ae_titles": lists})
    site.listen()
    assert asked(site, *proposed, calling="PNEUMO_HEALTH", called="PNEUMO") == CALLING
    assert asked(site, Verification, calling="PNEUMO_HEALTH", called="PNEUMO") is None


def test_without_lists_everybody_is_admitted(site):
    site.listen()
    assert asked(site, calling="ANYBODY", called="ANYTHING") is None


def test_a_title_of_seventeen_characters_is_refused_at_the_start():
    with pytest.raises(Rejected, match="PNEUMO_CALLING_AE_TITLES: title 2 is no AE title") as it:
        read_settings(calling_ae_titles="PACS, " + "A" * 17)
    assert "AAAA" not in str(it.value)
