"""Manifests: the instances that a sender announced, and how many of them are missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from db.deliveries.overview import own_results
from db.models import StudyManifest


def store_manifest(
    session: Session, study_id: int, sop_instance_uids: Sequence[str], moment: datetime
) -> int:
    """Store the manifest of a locked study in place of an earlier one; return how many it names."""
    uids = sorted(set(sop_instance_uids))
    manifest = session.get(StudyManifest, study_id, populate_existing=True)
    if manifest is None:
        manifest = StudyManifest(study_id=study_id)
        session.add(manifest)
    manifest.instances, manifest.sop_instance_uids = len(uids), uids
    manifest.received_at = moment
    session.flush()
    return len(uids)


def count_missing(session: Session, study_id: int, here: Collection[str]) -> int | None:
    """Count the instances that the manifest names and that are not `here` (SOP Instance UIDs).

    Our own results do not count: a PACS that holds them names them, and we never accept them.

    Returns:
        None without a manifest.
    """
    manifest = session.get(StudyManifest, study_id, populate_existing=True)
    if manifest is None:
        return None
    absent = set(manifest.sop_instance_uids) - set(here)
    return len(absent - own_results(session, absent)) if absent else 0
