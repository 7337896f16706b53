"""`pneumo vocabulary`: the unknown words of refused images, for the file of PNEUMO_VOCABULARY.

They are read from the kept files each time and are written nowhere else. A word that only one patient's
images carry may be a name, and is shown as "rare".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from db.studies.refused_files import refused_files
from worker.errors import Rejected
from worker.imaging.unknown_words import unknown_words
from worker.screens.console import counted, reading, titled_table, wide_console
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

CODES = ("BODY_PART_NOT_CHEST", "VIEW_NOT_FRONTAL")
RARE = "rare"


@dataclass(kw_only=True)
class WordCount:
    """How often one value of one element occurs."""

    images: int = 0
    studies: set[str] = field(default_factory=set)
    """Study keys."""
    patients: set[str] = field(default_factory=set)
    """Patient IDs; the study key where an image has none."""


def show_unknown_words(settings: Settings, *, limit: int) -> None:
    """Print each unknown word with its number of images and studies, most frequent first."""
    with reading(settings) as session:
        files = refused_files(session, CODES, limit=limit)
    counts, unreadable = count_words(IntakeStorage(settings.intake_dir), files)
    console = wide_console()
    table = titled_table("Words that nobody knows", "element", "value", "images", "studies")
    for element, value, images, studies in _lines(counts):
        table.add_row(element, value, str(images), str(studies))
    if table.row_count:
        console.print(table)
        console.print(
            "Add what you know to the file of PNEUMO_VOCABULARY. A value of one patient alone is shown "
            f"as {RARE!r}, since it may be a name."
        )
    else:
        console.print(f"No unknown word in {counted(len(files), 'refused image')}.")
    if unreadable:
        console.print(f"{counted(unreadable, 'file')} could not be read.")


def count_words(
    storage: IntakeStorage, files: Iterable[tuple[str, str]]
) -> tuple[dict[tuple[str, str], WordCount], int]:
    """Return the counts by element and value, and how many files could not be read."""
    counts: dict[tuple[str, str], WordCount] = defaultdict(WordCount)
    unreadable = 0
    for study_key, file_name in files:
        try:
            found = unknown_words(storage.path_of(file_name))
        except (Rejected, OSError):
            unreadable += 1
            continue
        for word in found.values:
            counts[word].images += 1
            counts[word].studies.add(study_key)
            counts[word].patients.add(found.patient_id or study_key)
    return dict(counts), unreadable


def _lines(counts: dict[tuple[str, str], WordCount]) -> list[tuple[str, str, int, int]]:
    """Return element, value, images and studies; all rare values of an element are one line."""
    lines: dict[tuple[str, str], WordCount] = defaultdict(WordCount)
    for (element, value), count in counts.items():
        line = lines[element, value if len(count.patients) > 1 else RARE]
        line.images += count.images
        line.studies |= count.studies
    return sorted(
        ((*key, line.images, len(line.studies)) for key, line in lines.items()),
        key=lambda line: (line[1] == RARE, -line[2], line[0], line[1]),
    )
