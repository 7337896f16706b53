"""Signed notes and checkpoints: what was signed is accepted, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import stat
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from db.values.operations import ChainHead
from worker.audit.checkpoint import Checkpoint, read_checkpoint
from worker.audit.signed_note import (
    Signer,
    make_key,
    read_notes,
    read_signer,
    read_verifier,
)
from worker.errors import Rejected

SIGNER = Signer(name="audit.example", seed=bytes(range(32)))
TEXT = "audit.example\n5\nroot\n"


def notes(text):
    return list(read_notes(text.splitlines(keepends=True)))


def test_a_signed_text_is_read_back_and_accepted():
    (note,) = notes(SIGNER.sign(TEXT))
    assert note.text == TEXT
    assert SIGNER.verifier.accepts(note)


def test_the_form_is_that_of_c2sp_signed_note():
    """Text, empty line, em dash, name, base64 of key id and signature; computed here by hand."""
    text, _, last = SIGNER.sign(TEXT).partition("\n\n")
    dash, name, encoded = last.rstrip("\n").split(" ")
    raw = base64.b64decode(encoded)
    public = SIGNER.verifier.key
    assert (dash, name, len(raw)) == ("—", "audit.example", 68)
    assert raw[:4] == hashlib.sha256(b"audit.example\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{text}\n".encode())


def test_the_public_key_is_in_the_text_form_of_the_same_specification():
    """The example key of the specification, read and written."""
    known = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(read_verifier(known)) == known


@given(st.integers(0, 10_000), st.characters(codec="utf-8"))
def test_any_other_character_is_refused(place, other):
    signed = SIGNER.sign(TEXT)
    place %= len(signed)
    if signed[place] == other or (place == len(signed) - 1):
        return
    changed = signed[:place] + other + signed[place + 1 :]
    accepted = [note.text for note in notes(changed) if SIGNER.verifier.accepts(note)]
    assert accepted in ([], [TEXT])  # a line before it in the file may break off another note


def test_of_several_notes_each_is_read_and_a_broken_one_hides_no_other():
    second = SIGNER.sign("audit.example\n6\nroot\n")
    torn = SIGNER.sign(TEXT)[:30]
    read = notes(f"{SIGNER.sign(TEXT)}\n{second}\n{torn}")
    assert [SIGNER.verifier.accepts(note) for note in read] == [True, True, False]


def test_another_key_of_the_same_name_is_refused():
    (note,) = notes(Signer(name="audit.example", seed=bytes(32)).sign(TEXT))
    assert not SIGNER.verifier.accepts(note)


def test_a_key_is_written_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "keys" / "audit.key"
    verifier = make_key(path, "audit.example")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_signer(path).verifier == verifier == read_verifier(str(verifier))
    with pytest.raises(Rejected, match=r"audit\.key exists already"):
        make_key(path, "audit.example")


@pytest.mark.parametrize("name", ["", "two words", "a+b"])
def test_a_key_needs_a_name_that_a_note_can_hold(tmp_path, name):
    with pytest.raises(Rejected, match="AUDIT_KEY_NAME"):
        make_key(tmp_path / "k", name)


@pytest.mark.parametrize(
    "content", ["", "x", "PRIVATE+KEY+a+b+c", "PRIVATE+KEY+a+00000000+AQ==", b"\xff\xfe"]
)
def test_a_file_that_is_no_key_is_refused_by_code(tmp_path, content):
    path = tmp_path / "k"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Rejected, match="AUDIT_KEY_UNUSABLE"):
        read_signer(path)


def test_a_damaged_key_does_not_fit_its_id(tmp_path):
    path = tmp_path / "k"
    make_key(path, "a")
    name, key_id, key = path.read_text().removeprefix("PRIVATE+KEY+").strip().split("+", 2)
    other = base64.b64encode(b"\x01" + bytes(32)).decode()
    path.write_text(f"PRIVATE+KEY+{name}+{key_id}+{other}")
    with pytest.raises(Rejected, match="does not fit its own id"):
        read_signer(path)
    assert key not in str(read_verifier(str(SIGNER.verifier)))


def test_no_key_stands_in_a_repr():
    assert "seed" not in repr(SIGNER)


CHECKPOINT = Checkpoint(
    origin="audit.example",
    heads=tuple(
        ChainHead(chain=chain, sequence=chain, hash=f"{chain:064x}") for chain in range(16)
    ),
    written_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
)


def test_a_checkpoint_begins_as_c2sp_tlog_checkpoint_says():
    origin, size, root, *rest = CHECKPOINT.to_text().splitlines()
    assert (origin, size, len(base64.b64decode(root))) == ("audit.example", "120", 32)
    assert rest[2] == f"chain 2 2 {2:064x}"
    assert rest[-1] == "written 2026-01-31T12:00:00Z"
    assert all(rest), "extension lines are not empty"


def test_a_checkpoint_is_read_back():
    assert read_checkpoint(CHECKPOINT.to_text()) == CHECKPOINT


@pytest.mark.parametrize(
    "change",
    [("120", "121"), ("chain 2 2", "chain 2 3"), ("written", "Written"), ("chain 9", "x 9")],
)
def test_a_checkpoint_that_contradicts_itself_is_none(change):
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(CHECKPOINT.to_text().replace(*change, 1))
