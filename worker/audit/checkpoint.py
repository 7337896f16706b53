"""Checkpoints: the heads of all audit chains at one moment, in the text form of C2SP tlog-checkpoint.

    audit.hospital.example          origin: the name of the key
    29                              records in all chains
    q1bX...=                        SHA-256 over the lines of the chains, in base64
    chain 0 12 5f70...              extension lines: chain, its last record, that record's hash
    ...
    written 2026-01-31T12:00:00Z

A chain's last hash covers every record before it, so that sixteen lines pin the whole trail.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from db.values.operations import ChainHead

CHAIN_LINE = re.compile(r"chain (\d{1,2}) (\d{1,18}) ([0-9a-f]{64})")
WRITTEN = "written "


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The heads of all chains at one moment."""

    origin: str
    heads: tuple[ChainHead, ...]
    """In the order of the chains."""
    written_at: datetime
    """UTC, to the second."""

    @property
    def records(self) -> int:
        """How many records the trail had."""
        return sum(head.sequence for head in self.heads)

    def to_text(self) -> str:
        """Return the text to be signed."""
        chains = _chain_lines(self.heads)
        root = base64.b64encode(hashlib.sha256(chains.encode("ascii")).digest()).decode("ascii")
        moment = self.written_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.origin}\n{self.records}\n{root}\n{chains}{WRITTEN}{moment}\n"


def read_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint. Raises ValueError if its text is not exactly what `to_text` writes."""
    origin, *rest = text.splitlines() or [""]
    written = rest[-1] if rest else ""
    if not re.fullmatch(WRITTEN + r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written):
        raise ValueError("not a checkpoint: it does not say when it was written")
    parts = [CHAIN_LINE.fullmatch(line) for line in rest]
    heads = tuple(
        ChainHead(chain=int(part[1]), sequence=int(part[2]), hash=part[3])
        for part in parts
        if part is not None
    )
    moment = datetime.strptime(written, f"{WRITTEN}%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    checkpoint = Checkpoint(origin=origin, heads=heads, written_at=moment)
    if checkpoint.to_text() != text:
        raise ValueError("not a checkpoint: its lines contradict each other")
    return checkpoint


def _chain_lines(heads: Sequence[ChainHead]) -> str:
    return "".join(f"chain {head.chain} {head.sequence} {head.hash}\n" for head in heads)
