"""Small things that sentences need."""

from __future__ import annotations


def at_start(words: str) -> str:
    """The words as a sentence begins with them; `str.capitalize` would change a file's name."""
    return words[:1].upper() + words[1:]


def counted(count: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def were(count: int, noun: str) -> str:
    """`1 file was`, `3 files were`."""
    return f"{counted(count, noun)} {'was' if count == 1 else 'were'}"
