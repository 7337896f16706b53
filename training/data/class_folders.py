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
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from training.data.pool import Layout, Pool, Skipped
from training.data.radiograph import CLASSES, ProgressCallback, Radiograph, ignore_progress
from worker.errors import Rejected

DEVELOPMENT = ("train", "val")
"""For training and for every choice."""
TEST = ("test",)
"""The authors' own test: looked at once per release."""
BARE = (".",)
"""The class folders stand in the root itself, as in a set that is only measured."""
SUFFIXES = {".jpeg", ".jpg", ".png"}
_NORMAL = re.compile(r"^((?:NORMAL2-)?IM-\d+)")
_PNEUMONIA = re.compile(r"^(person\d+)_(bacteria|virus)")
"""The names of the set's authors: `IM-0115-0001`, `NORMAL2-IM-0838-0001`, `person1000_virus_1681`."""
INDEX, INDEX_COLUMNS = "index.csv", {"folder", "file", "patient_key"}

UNREADABLE = "IMAGE_UNREADABLE"
UNREADABLE_SENTENCE = (
    "It is no JPEG or PNG that can be decoded, or it was cut short; fetch the file again."
)


def has_class_folders(root: Path, folders: Sequence[str]) -> bool:
    """Whether any of `folders` has a folder for a class."""
    return any((root / folder / name).is_dir() for folder in folders for name in CLASSES)


def read_class_folders(
    root: Path, folders: Sequence[str], on_progress: ProgressCallback = ignore_progress
) -> Pool:
    """Read every image of these folders, pixels excepted. Raises Rejected("TRAINING_DATA_EMPTY")."""
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
            skipped.append(Skipped.because(reason, relative.as_posix()))
        on_progress(done, len(listed))
    pool = Pool(
        root=root,
        layout=Layout.CLASS_FOLDERS,
        radiographs=tuple(radiographs),
        skipped=tuple(skipped),
    )
    pool.require_both_classes(lambda label: f"{Path(folders[0], CLASSES[label]).as_posix()}/*.jpeg")
    return pool


def _read(path: Path, relative: Path, label: int, key: str | None) -> Radiograph:
    """One file. Raises Rejected("IMAGE_UNREADABLE") where not even its size can be read."""
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
        patient_is_known=bool(key) or names_patient(path.name, label),
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


def patient_key_from_name(name: str, label: int) -> str:
    """The patient key in a file name of the original set.

    A file named otherwise gets a key of its own: nothing is grouped, and nothing wrongly.
    """
    if label == 0 and (match := _NORMAL.match(name)):
        return f"normal:{match[1]}"
    if label == 1 and (match := _PNEUMONIA.match(name)):
        return f"{match[2]}:{match[1]}"
    return f"{CLASSES[label].lower()}:{Path(name).stem}"


def names_patient(name: str, label: int) -> bool:
    """Whether a file name is one of the original set's."""
    return (_NORMAL, _PNEUMONIA)[label].match(name) is not None
