"""The ways by which a file comes in, each of which must answer every case with a code or with a yes."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch  # noqa: F401  loaded before memory is measured, as in a worker
from pydicom.uid import UID
from pynetdicom import AE
from sqlalchemy import text

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders.dicom import ALL_SYNTAXES, make_instance
from tests.builders.ports import free_port
from tests.builders.site import data_set_of, store_file, write_with_other_meta
from tests.fuzz.mutations import written
from worker.errors import PneumoError
from worker.imaging.eligibility import EligibilityPolicy, MultiFrame, check_eligibility
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance
from worker.intake.accept import accept_study
from worker.intake.drop_folder import accept_folder
from worker.intake.manifest import read_manifests
from worker.intake.watched_folder import WatchedFolder
from worker.listener.storage_scp import Listener, start_listener
from worker.settings import Settings, read_settings

SPEC = PreprocessingSpec(size=32)
POLICY = EligibilityPolicy(multi_frame=MultiFrame.FIRST, min_side=1)
STORAGE_CLASS = UID("1.2.840.10008.5.1.4.1.1.1")
PLANTED = "PLANTED"
"""Part of the patient's name in every case: no refusal may quote it."""


class UnexpectedAnswer(Exception):
    """A case broke a promise; the text says which."""


class WaysIn:
    """One site in a folder, and every way into it."""

    def __init__(self, folder: Path) -> None:
        warnings.simplefilter("ignore")
        self.folder = folder
        self.settings: Settings = read_settings(
            state_dir=folder / "state",
            listen_port=free_port(),
            watch_settle_s=0.001,
            disk_refuse_free="1MB",
            disk_warn_free="0%",
        )
        self.settings.handed_over_dir.mkdir(parents=True)
        (self.settings.intake_dir / "incoming").mkdir()
        (folder / "watched").mkdir()
        upgrade(self.settings.database_url)
        self.database = Database(self.settings.database_url)
        self.watcher = WatchedFolder(
            folder=folder / "watched", settings=self.settings, database=self.database
        )
        self.listener: Listener = start_listener(self.settings, self.database)

    def take(self, way: str, content: bytes, seed: int) -> str:
        """Return what became of the case: a code, or a yes. Raises UnexpectedAnswer."""
        try:
            return WAYS[way](self, content, seed)
        except (RefusedInstance, PneumoError) as error:
            return _foreseen(error)

    def pixels(self, content: bytes, _seed: int) -> str:
        """As a worker reads, judges, decodes and normalises."""
        header = read_header(BytesIO(content))
        judgement = check_eligibility(header, POLICY)
        frame = normalise_frame(read_dataset(BytesIO(content)), SPEC)
        if not np.isfinite(frame.pixels).all():
            raise UnexpectedAnswer("pixels that are not finite")
        return judgement.refusals[0].code if judgement.refusals else "predicted"

    def enqueue(self, content: bytes, _seed: int) -> str:
        """`pneumo enqueue` and Python."""
        path = self._file(content)
        accept_study([path], database=self.database, site=self.settings)
        return "accepted"

    def handed_over(self, content: bytes, seed: int) -> str:
        """A bridge's folder with a good file beside it, which must be accepted all the same."""
        name = f"{seed:032x}"
        folder = self.settings.handed_over_dir / name
        folder.mkdir()
        uid = f"1.2.826.0.1.3680043.8.498.5.{seed}"
        good = make_instance(rows=8, columns=8, study_instance_uid=uid)
        (folder / "good.dcm").write_bytes(written(good))
        (folder / "case.dcm").write_bytes(content)
        outcome = accept_folder(name, self.settings, self.database)
        if folder.exists():
            raise UnexpectedAnswer("the folder stays")
        with self.database.reading() as session:
            there = session.execute(
                text("SELECT count(*) FROM study WHERE study_instance_uid = :uid"), {"uid": uid}
            ).scalar()
        if there != 1:
            raise UnexpectedAnswer("the good file beside it was not accepted")
        return f"folder {outcome.value}"

    def watched(self, content: bytes, seed: int) -> str:
        """A file in the watched folder, which must leave it."""
        path = self.watcher.folder / f"{seed}.dcm"
        path.write_bytes(content)
        self.watcher.run_once()
        time.sleep(0.002)
        turn = self.watcher.run_once()
        if path.exists():
            raise UnexpectedAnswer(f"the file stays: {turn}")
        return "taken over" if turn.taken_over else "refused"

    def c_store(self, content: bytes, seed: int) -> str:
        """The case's data set over a real association; there must be an answer, and a next one."""
        uid = f"1.2.826.0.1.3680043.8.498.6.{seed}.2"
        syntax, data_set = _parts_of(content)
        path = write_with_other_meta(
            self.folder / "case.dcm",
            make_instance(rows=8, columns=8, sop_instance_uid=uid),
            syntax=syntax,
        )
        head = path.read_bytes()
        path.write_bytes(head[: len(head) - len(data_set_of(head))] + data_set)
        unit = AE(ae_title="FUZZ")
        unit.dimse_timeout = unit.acse_timeout = 60
        unit.add_requested_context(STORAGE_CLASS, syntax)
        opened = unit.associate("127.0.0.1", self.settings.listen_port, ae_title="PNEUMO")
        if not opened.is_established:
            raise UnexpectedAnswer("no association")
        try:
            status = store_file(opened, path)
        finally:
            opened.release()
        if "Status" not in status:
            raise UnexpectedAnswer("no answer")
        if PLANTED in str(status):
            raise UnexpectedAnswer("the answer quotes the patient")
        return f"{status.Status:04X}"

    def manifest(self, content: bytes, seed: int) -> str:
        """A manifest made of the case's bytes, as JSON or as what it is."""
        draw = random.Random(seed)
        texts = [
            b"[" * draw.choice([1, 1000, 100_000]),
            b'{"study_instance_uid": ' + draw.choice([b"null", b"1e999", b'"\\ud800"', b"[]", b'"1.2"']) + b"}",
            b'{"study_instance_uid": "1.2.3", "sop_instance_uids": ['
            + draw.choice([b"7", b'""', b'"1.2",' * 1000 + b'"1"', b"null", b'"PLANTED^NAME"']) + b"]}",
            content[: draw.randrange(len(content))],
        ]  # fmt: skip
        path = self.folder / draw.choice(["manifest.json", "case.dcm"])
        path.write_bytes(draw.choice(texts))
        read_manifests(path)
        return "read"

    def close(self) -> None:
        """End listener and database."""
        self.listener.close(grace_s=0)
        self.database.dispose()

    def _file(self, content: bytes) -> Path:
        path = self.folder / "case.dcm"
        path.write_bytes(content)
        return path


WAYS: dict[str, Callable[[WaysIn, bytes, int], str]] = {
    "pixels": WaysIn.pixels,
    "enqueue": WaysIn.enqueue,
    "handed over": WaysIn.handed_over,
    "watched": WaysIn.watched,
    "C-STORE": WaysIn.c_store,
    "manifest": WaysIn.manifest,
}
WEIGHTS = {"pixels": 10, "enqueue": 2, "handed over": 1, "watched": 1, "C-STORE": 2, "manifest": 1}


def way_of(seed: int) -> str:
    """Return the way by which this case comes."""
    return random.Random(seed + 10**9).choices([*WAYS], weights=[WEIGHTS[w] for w in WAYS])[0]


def _parts_of(content: bytes) -> tuple[UID, bytes]:
    """Return transfer syntax and data set of a case, whatever its file meta looks like now."""
    try:
        data_set = data_set_of(content)
    except AssertionError:
        data_set = content[132:]
    for syntax in ALL_SYNTAXES:
        if b"\x02\0\x10\0UI" in content[:400] and str(syntax).encode() + b"\0" in content[:400]:
            return UID(syntax), data_set
    return UID(ALL_SYNTAXES[0]), data_set


def _foreseen(error: RefusedInstance | PneumoError) -> str:
    """Return the code; a refusal that nobody foresaw or that quotes the patient breaks a promise."""
    sentence = str(error)
    if PLANTED in sentence:
        raise UnexpectedAnswer(f"{error.code} quotes the patient")
    if "reference" in sentence or error.code == "BUG":
        raise UnexpectedAnswer(f"{error.code} was not foreseen: {sentence}")
    return error.code
