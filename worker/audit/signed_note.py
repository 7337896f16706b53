"""Signed notes (C2SP signed-note): a text that people read, and Ed25519 signatures below it.

A text of lines, an empty line, then a line for each signature: an em dash, the name of the key, and
base64 over four bytes of the key's id and the signature. The keys are in the text form of the same
specification, so that other tools verify our notes as they are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from worker.errors import Rejected

ED25519 = b"\x01"
"""Type of the signature."""
PRIVATE = "PRIVATE+KEY+"
KEY_ID_BYTES = 4
NO_KEY = "is no Ed25519 key of the form NAME+ID+KEY"
NAME = re.compile(r"[^\s+]{1,100}")


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A public key, by which notes are verified."""

    name: str
    key: bytes
    """32 bytes."""

    @property
    def key_id(self) -> bytes:
        """Four bytes by which a signature says to which key it belongs."""
        named = self.name.encode() + b"\n" + ED25519 + self.key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.key)}"

    def accepts(self, note: SignedNote) -> bool:
        """Whether one of the note's signatures is of this key and fits the text."""
        public = Ed25519PublicKey.from_public_bytes(self.key)
        for name, signature in note.signatures:
            if name != self.name or signature[:KEY_ID_BYTES] != self.key_id:
                continue
            try:
                public.verify(signature[KEY_ID_BYTES:], note.text.encode())
            except InvalidSignature:
                continue
            return True
        return False


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A private key, by which notes are signed."""

    name: str
    seed: bytes = field(repr=False)
    """32 bytes."""

    @property
    def verifier(self) -> Verifier:
        """The public key that belongs to it."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return Verifier(name=self.name, key=private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """Return the note: the text, which ends with a newline, and the signature."""
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        signed = _base64(self.verifier.key_id + signature)
        return f"{text}\n— {self.name} {signed}\n"


@dataclass(frozen=True, kw_only=True)
class SignedNote:
    """A note as it was read; nothing is verified yet."""

    text: str
    """With its last newline; the signatures are over exactly this."""
    signatures: tuple[tuple[str, bytes], ...]
    """Name of the key, and its id with the signature."""


def read_notes(lines: Iterable[str]) -> Iterator[SignedNote]:
    """Yield the notes of a file that holds one or many, which empty lines may separate.

    What is no note yields a note without a signature, which no key accepts: an interrupted or changed
    file is reported at its place, and the notes after it are read.
    """
    text: list[str] = []
    signatures: list[tuple[str, bytes]] = []
    for line in lines:
        content = line.rstrip("\n")
        if content.startswith("— "):
            signatures.append(_signature(content))
            continue
        if signatures:
            yield _note(text, signatures)
            text, signatures = [], []
        if content:
            text.append(content)
    if text or signatures:
        yield _note(text, signatures)


def make_key(path: Path, name: str) -> Verifier:
    """Write a new private key into a file that only its owner may read; return the public key.

    Raises Rejected AUDIT_KEY_NAME, AUDIT_KEY_EXISTS.
    """
    if not NAME.fullmatch(name):
        raise Rejected(
            "AUDIT_KEY_NAME",
            "The name of the key must be 1 to 100 characters without blanks and without `+`, such as "
            "`audit.hospital.example`. Choose another with --name.",
        )
    signer = Signer(name=name, seed=os.urandom(32))
    verifier = signer.verifier
    line = f"{PRIVATE}{name}+{verifier.key_id.hex()}+{_base64(ED25519 + signer.seed)}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Rejected(
            "AUDIT_KEY_EXISTS",
            f"{path.name} exists already, and a key is never replaced: older checkpoints are verified "
            "with it. Name another file.",
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(line)
    return verifier


def read_signer(path: Path) -> Signer:
    """Read a private key. Raises Rejected AUDIT_KEY_UNUSABLE."""
    try:
        line = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise _unusable(f"cannot be read ({type(error).__name__})") from None
    if not line.startswith(PRIVATE):
        raise _unusable("is no private key")
    name, key_id, seed = _parse(line.removeprefix(PRIVATE))
    signer = Signer(name=name, seed=seed)
    if signer.verifier.key_id != key_id:
        raise _unusable("does not fit its own id: it was damaged")
    return signer


def read_verifier(text: str) -> Verifier:
    """Read a public key as `pneumo audit key` prints it. Raises Rejected AUDIT_KEY_UNUSABLE."""
    name, key_id, key = _parse(text.strip())
    verifier = Verifier(name=name, key=key)
    if verifier.key_id != key_id:
        raise _unusable("does not fit its own id: it was damaged")
    return verifier


def _parse(text: str) -> tuple[str, bytes, bytes]:
    try:
        name, key_id, encoded = text.split("+", 2)
        key = base64.b64decode(encoded, validate=True)
        id_bytes = bytes.fromhex(key_id)
    except ValueError:
        raise _unusable(NO_KEY) from None
    if not NAME.fullmatch(name) or len(key) != 33 or key[:1] != ED25519:
        raise _unusable(NO_KEY)
    return name, id_bytes, key[1:]


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix("— ").rpartition(" ")
    try:
        return name, base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return name, b""


def _note(text: list[str], signatures: list[tuple[str, bytes]]) -> SignedNote:
    return SignedNote(text="".join(f"{line}\n" for line in text), signatures=tuple(signatures))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _unusable(why: str) -> Rejected:
    return Rejected(
        "AUDIT_KEY_UNUSABLE",
        f"The key for audit checkpoints {why}. Expected what `pneumo audit key` wrote (PNEUMO_AUDIT_KEY), "
        "or the public key that it printed (--public-key).",
    )
