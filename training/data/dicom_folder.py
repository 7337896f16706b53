"""A folder of DICOM files with a CSV of labels: read, judged and grouped by the worker's rules.

What a worker would refuse, such as a lateral view, is left out here too. The
patient is the header's Patient ID as a hash, which is in no message and no file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from training.data.files_by_name import FilesByName, files_under
from training.data.labels import LabelledFile, Labels, read_labels
from training.data.pool import Layout, Pool, Skipped
from training.data.radiograph import (
    CLASSES,
    Encoding,
    ProgressCallback,
    Radiograph,
    ignore_progress,
)
from worker.errors import Rejected
from worker.imaging.dicom_files import looks_like_dicom
from worker.imaging.eligibility import check_eligibility
from worker.imaging.header import InstanceHeader
from worker.imaging.reading import read_header

UNREADABLE_SENTENCE = "The file cannot be read from the disk; check its rights, or copy it again."


def read_dicom_folder(
    root: Path, csv: Path, on_progress: ProgressCallback = ignore_progress
) -> Pool:
    """Read every labelled and eligible file under `root`, pixels excepted.

    Raises Rejected: those of `read_labels`, LABELS_WITHOUT_FILES, TRAINING_DATA_EMPTY.
    """
    files = files_under(root)
    labels = read_labels(csv, FilesByName(files))
    if not labels.labelled:
        raise Rejected(
            "LABELS_WITHOUT_FILES",
            f"None of the {len(labels.without_file)} rows of {csv.name} names a file of the folder "
            f"{root.name}; expected <name>.dcm, or the file's path within the folder.",
        )
    radiographs: list[Radiograph] = []
    skipped: list[Skipped] = []
    for done, labelled in enumerate(labels.labelled, 1):
        try:
            radiographs.append(_read(root, labelled))
        except Rejected as reason:
            skipped.append(Skipped.because(reason, labelled.line))
        on_progress(done, len(labels.labelled))
    pool = Pool(
        root=root,
        layout=Layout.LABELLED_DICOM,
        radiographs=tuple(radiographs),
        skipped=tuple(skipped),
        labels_without_file=labels.without_file,
        files_without_label=_count_unlabelled(root, files, labels),
    )
    pool.require_both_classes(lambda label: f"files with the label {label} in {csv.name}")
    return pool


def has_dicom(root: Path) -> bool:
    """Whether any file below `root` looks like DICOM."""
    return any(_is_dicom(root / file) for file in files_under(root))


def _read(root: Path, labelled: LabelledFile) -> Radiograph:
    """Read one file. Raises Rejected with the code of the first rule by which a worker refuses it."""
    try:
        content = (root / labelled.file).read_bytes()
    except OSError:
        raise Rejected("IMAGE_UNREADABLE", UNREADABLE_SENTENCE) from None
    header = read_header(io.BytesIO(content))
    for refusal in check_eligibility(header).refusals:
        raise Rejected(refusal.code, refusal.sentence)
    return Radiograph(
        path=Path(labelled.file),
        label=labelled.label,
        patient_key=f"{CLASSES[labelled.label].lower()}:{_patient_hash(header)}",
        sha256=hashlib.sha256(content).hexdigest(),
        encoding=Encoding.DICOM,
        size=(header.rows or 0, header.columns or 0),
        patient_is_known=bool(header.patient_id),
        label_line=labelled.line,
    )


def _patient_hash(header: InstanceHeader) -> str:
    """A hash of Patient ID; without one, of the study, whose images surely show one patient."""
    return hashlib.sha256((header.patient_id or header.study_instance_uid).encode()).hexdigest()[
        :16
    ]


def _count_unlabelled(root: Path, files: Iterable[str], labels: Labels) -> int:
    labelled = {label.file for label in labels.labelled}
    return sum(_is_dicom(root / file) for file in files if file not in labelled)


def _is_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":  # a directory of the others
        return False
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file)
    except OSError:
        return False
