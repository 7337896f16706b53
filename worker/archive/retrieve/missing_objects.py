"""Find what an archive has of a study and our listener did not receive by C-MOVE.

The listener drops results of pneumo, so these are not missing images. Those of this installation are in
its database. Those of another installation that reads for the same archive are recognised by what
C-FIND returns: Series Description and Software Versions, or, where the archive returns no Software
Versions (an optional key), the class, the modality and the Series Description that only our objects
combine. No radiograph is mistaken for one: a series of those is CR or DX, and ours are SR and OT.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from db.deliveries.overview import own_results
from db.engine.session import Database
from worker.archive.find.list_objects import ListedObject, list_objects
from worker.errors import PneumoError
from worker.intake.own_results import (
    RESULT_SOP_CLASSES,
    has_pneumo_result_attributes,
    has_pneumo_series_description,
)
from worker.peers.peers_file import Peer
from worker.settings import Settings

RESULT_MODALITIES = frozenset({"SR", "OT"})


@dataclass(frozen=True, kw_only=True)
class MissingObjects:
    """Objects of a study that the archive has and we have not."""

    own: int
    """How many are results of pneumo, from this installation or another one."""
    others: tuple[ListedObject, ...] = field(repr=False)
    """All other objects."""

    @property
    def may_hold_radiograph(self) -> bool:
        """Whether the study could have another verdict with these objects."""
        return any(it.may_be_radiograph for it in self.others)


def find_missing_objects(
    peer: Peer,
    settings: Settings,
    database: Database,
    study_instance_uid: str,
    here: Collection[str],
) -> MissingObjects | None:
    """Return what is missing; None if the archive cannot list it. `here`: SOP Instance UIDs."""
    try:
        listed = list_objects(peer, settings, study_instance_uid)
    except PneumoError:
        return None
    absent = {it.sop_instance_uid: it for it in listed if it.sop_instance_uid not in here}
    with database.reading() as session:
        ours = own_results(session, absent)
    others = tuple(it for uid, it in absent.items() if uid not in ours and not _is_ours(it))
    return MissingObjects(own=len(absent) - len(others), others=others)


def _is_ours(listed: ListedObject) -> bool:
    if (
        listed.sop_class_uid not in {None, *RESULT_SOP_CLASSES}
        or listed.modality not in RESULT_MODALITIES
    ):
        return False
    if listed.software_versions:
        return has_pneumo_result_attributes(listed.series_description, listed.software_versions)
    return has_pneumo_series_description(listed.series_description)
