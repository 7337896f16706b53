"""Parts of the sentences that a person reads about a data set."""

from __future__ import annotations


def capitalised(words: str) -> str:
    """The words with a capital first letter; `str.capitalize` would change a file's name."""
    return words[:1].upper() + words[1:]


def counted(count: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def were(count: int, noun: str) -> str:
    """`1 file was`, `3 files were`."""
    return f"{counted(count, noun)} {'was' if count == 1 else 'were'}"
