"""The file of checkpoints: written by the relay, read by `pneumo audit verify --against`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from db.engine.session import Database
from db.ledger.chain_heads import read_heads, recorded_hashes
from db.values.operations import ChainHead
from worker.audit.checkpoint import Checkpoint, read_checkpoint
from worker.audit.signed_note import SignedNote, Signer, Verifier, read_notes
from worker.errors import Rejected


def sign_checkpoint(database: Database, signer: Signer) -> tuple[Checkpoint, str]:
    """Return a checkpoint of all heads at one moment, and the signed note of it."""
    with database.reading() as session:
        heads = read_heads(session)
    checkpoint = Checkpoint(origin=signer.name, heads=heads, written_at=datetime.now(UTC))
    return checkpoint, signer.sign(checkpoint.to_text())


def append_note(path: Path, note: str) -> None:
    """Append a note, on the disk when this returns; a new file is its owner's alone.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, f"{note}\n".encode())  # one write: several relays may append
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass
class CheckpointReport:
    """What a comparison of the trail with checkpoints found."""

    checkpoints: int = 0
    newest: Checkpoint | None = None
    faults: list[str] = field(default_factory=list)
    """A sentence each."""


def compare_with_checkpoints(session: Session, path: Path, verifier: Verifier) -> CheckpointReport:
    """Compare the trail with every checkpoint of a file, which holds one or many.

    Raises Rejected CHECKPOINTS_UNREADABLE, CHECKPOINTS_MISSING.
    """
    report, known = CheckpointReport(), dict[int, tuple[int, str]]()
    for number, note in enumerate(_notes(path), start=1):
        report.checkpoints = number
        if not verifier.accepts(note):
            report.faults.append(
                f"Checkpoint {number} has no valid signature of {verifier.name}: it was changed, cut off "
                "while it was written, or signed with another key."
            )
            continue
        try:
            checkpoint = read_checkpoint(note.text)
        except ValueError:
            report.faults.append(f"Checkpoint {number} is signed, but is no checkpoint of a trail.")
            continue
        report.newest = checkpoint
        unseen = [h for h in checkpoint.heads if known.get(h.chain) != (h.sequence, h.hash)]
        report.faults += _compare(session, checkpoint, unseen)
        known |= {head.chain: (head.sequence, head.hash) for head in unseen}
    if not report.checkpoints:
        raise Rejected(
            "CHECKPOINTS_MISSING",
            f"{path.name} holds no checkpoint. Name the file that PNEUMO_AUDIT_CHECKPOINT_FILE names, or a "
            "copy of it.",
        )
    return report


def _notes(path: Path) -> Iterator[SignedNote]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from read_notes(lines)
    except (OSError, ValueError) as error:
        raise Rejected(
            "CHECKPOINTS_UNREADABLE",
            f"{path.name} cannot be read ({type(error).__name__}). Name a file of checkpoints.",
        ) from None


def _compare(session: Session, checkpoint: Checkpoint, heads: list[ChainHead]) -> Iterator[str]:
    found = recorded_hashes(session, heads)
    moment = checkpoint.to_text().splitlines()[-1].removeprefix("written ")
    for head in heads:
        if head.sequence == 0:
            continue
        recorded = found.get((head.chain, head.sequence))
        if recorded is None:
            yield (
                f"Chain {head.chain}, record {head.sequence}: it is missing, and was there at {moment}. The "
                "chain's end was cut off, or an older backup was restored."
            )
        elif recorded != head.hash:
            yield (
                f"Chain {head.chain}, record {head.sequence}: its hash is not that of {moment}. The chain was "
                "recomputed after something in it was changed."
            )
