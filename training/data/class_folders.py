"""The Kaggle layout: one folder for each class.

    DIR/train|val|test / NORMAL|PNEUMONIA / *.jpeg    and, optionally, DIR/index.csv with patients

Where index.csv is absent the patients are read from the file names. `train` and `val` make one
pool: the 16 images of `val` are too few to measure anything with. `test` is read by itself, and
only where somebody asks for it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from training.data.found import Found, Skipped, require_both_classes
from training.data.names import patient_key_from_name, tells_patient
from training.data.radiograph import CLASSES, Radiograph, Tell, silent
from worker.errors import Rejected

DEVELOPMENT = ("train", "val")
"""What is learnt from and chosen on."""
TEST = ("test",)
"""The authors' own test: looked at once per release."""
BARE = (".",)
"""The class folders stand in the root itself, as in a set that is only measured."""
SUFFIXES = {".jpeg", ".jpg", ".png"}
INDEX, INDEX_COLUMNS = "index.csv", {"folder", "file", "patient_key"}

UNREADABLE = "IMAGE_UNREADABLE"
UNREADABLE_SENTENCE = (
    "It is no JPEG or PNG that can be decoded, or it was cut short; fetch the file again."
)


def read_radiographs(root: Path) -> tuple[Radiograph, ...]:
    """Every development image under `root`, in a fixed order.

    Raises Rejected: TRAINING_DATA_EMPTY where a class has none, IMAGE_UNREADABLE.
    """
    return _all_of(read_class_folders(root, DEVELOPMENT))


def read_test(root: Path) -> tuple[Radiograph, ...]:
    """Every image of the authors' test folder, in a fixed order. Raises as `read_radiographs`."""
    return _all_of(read_class_folders(root, TEST))


def has_class_folders(root: Path, folders: Sequence[str]) -> bool:
    """Whether any of `folders` has a folder for a class."""
    return any((root / folder / name).is_dir() for folder in folders for name in CLASSES)


def read_class_folders(root: Path, folders: Sequence[str], tell: Tell = silent) -> Found:
    """Every image of these folders; pixels are not decoded yet. Raises Rejected("..._EMPTY")."""
    keys = _read_index(root)
    listed = [
        (folder, label, path)
        for folder in folders
        for label, name in enumerate(CLASSES)
        for path in sorted((root / folder / name).glob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    radiographs: list[Radiograph] = []
    skipped: list[Skipped] = []
    for done, (folder, label, path) in enumerate(listed, 1):
        relative = Path(folder, CLASSES[label], path.name)
        try:
            radiographs.append(_read(path, relative, label, keys.get((folder, path.name))))
        except Rejected as reason:
            skipped.append(
                Skipped(shown_as=relative.as_posix(), code=reason.code, sentence=reason.sentence)
            )
        tell(done, len(listed))
    require_both_classes(
        radiographs,
        skipped,
        expected=lambda label: f"{Path(folders[0], CLASSES[label]).as_posix()}/*.jpeg",
    )
    return Found(radiographs=tuple(radiographs), skipped=tuple(skipped))


def _all_of(found: Found) -> tuple[Radiograph, ...]:
    for skipped in found.skipped:
        raise skipped.as_error()
    return found.radiographs


def _read(path: Path, relative: Path, label: int, key: str | None) -> Radiograph:
    """One file. Raises Rejected("IMAGE_UNREADABLE") where not even its size can be told."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            columns, rows = image.size
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  Pillow raises of every kind, from struct.error to SyntaxError
        raise Rejected(UNREADABLE, UNREADABLE_SENTENCE) from None
    return Radiograph(
        path=relative,
        label=label,
        patient_key=key or patient_key_from_name(path.name, label),
        sha256=hashlib.sha256(content).hexdigest(),
        size=(rows, columns),
        patient_is_known=bool(key) or tells_patient(path.name, label),
    )


def _read_index(root: Path) -> dict[tuple[str, str], str]:
    """(folder, file) -> patient key, from index.csv; empty where there is none of that kind."""
    path = root / INDEX
    if not path.exists():
        return {}
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        if not set(reader.fieldnames or ()) >= INDEX_COLUMNS:
            return {}
        return {(row["folder"], row["file"]): row["patient_key"] for row in reader}
