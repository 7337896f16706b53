"""`pneumo vocabulary`: which words refused images carry, without showing what may be a name."""

from __future__ import annotations

import io

from tests.builders.database import (
    accept_one,
    claim_one,
    digest,
    make_instance,
    rejected_outcome,
    store,
    uid_of,
)
from tests.builders.dicom import make_instance as make_dataset
from worker.screens.vocabulary import show_unknown_words
from worker.storage.intake_folder import IntakeStorage


def refuse(settings, database, number, *datasets, code="BODY_PART_NOT_CHEST"):
    """A study of these images, all of them refused."""
    instances = []
    for place, dataset in enumerate(datasets, start=1):
        content = io.BytesIO()
        dataset.save_as(content, enforce_file_format=True)
        stored = IntakeStorage(settings.intake_dir).keep_bytes(content.getvalue())
        instances.append(
            make_instance(
                place,
                uid=uid_of(number),
                file_name=stored.name,
                file_sha256=digest(f"{number} {place}"),
            )
        )
    key = accept_one(database, uid=uid_of(number), instances=instances).study_key
    claimed = claim_one(database, key)
    store(database, claimed, rejected_outcome(claimed, code))
    return key


def written(body_part="CHEST", view_position="PA", **values):
    """Code strings as consoles write them: bytes of UTF-8."""
    return make_dataset(
        body_part=body_part.encode().decode("iso8859-1"), view_position=view_position, **values
    )


def test_words_of_several_patients_are_listed_and_others_are_rare(settings, database, capsys):
    refuse(
        settings, database, 1, written("std 7", patient_id="A"), written("STD 7", patient_id="A")
    )
    refuse(settings, database, 2, written("Std 7", patient_id="B"), written("胸田", patient_id="B"))
    refuse(settings, database, 3, written("DOE^JANE", patient_id="C"))
    refuse(settings, database, 4, written("DOE^JANE", patient_id="C"))
    refuse(settings, database, 5, written("KNEE", patient_id="D"), written("KNEE", patient_id="E"))

    show_unknown_words(settings, limit=100)

    said = capsys.readouterr().out
    lines = [" ".join(line.replace("│", " ").split()) for line in said.splitlines()]
    assert "(0018,0015) Body Part Examined STD 7 3 2" in lines
    assert "(0018,0015) Body Part Examined rare 3 3" in lines
    assert not any(word in said for word in ("DOE", "JANE", "胸田", "KNEE"))


def test_views_are_listed_and_other_refusals_are_not_read(settings, database, capsys):
    for number, patient in ((1, "A"), (2, "B")):
        image = written(view_position="STEHEND 3", patient_id=patient)
        refuse(settings, database, number, image, code="VIEW_NOT_FRONTAL")
        other = written("OTHER WORD", patient_id=patient)
        refuse(settings, database, number + 10, other, code="FOR_PROCESSING")

    show_unknown_words(settings, limit=100)

    said = capsys.readouterr().out
    assert "STEHEND 3" in said
    assert "OTHER WORD" not in said


def test_without_unknown_words_it_says_so_and_counts_what_is_gone(settings, database, capsys):
    refuse(settings, database, 1, written("KNEE"))
    accepted = refuse(settings, database, 2, written("STD 7"))
    for path in settings.intake_dir.rglob("*"):
        if path.is_file() and b"STD 7" in path.read_bytes():
            path.unlink()

    show_unknown_words(settings, limit=100)

    said = capsys.readouterr().out
    assert "No unknown word in 2 refused images." in said
    assert "1 file could not be read." in said
    assert accepted not in said
