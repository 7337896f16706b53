"""A TOML file of words and what they mean: tables of meanings, with lists of words or one list a language.

The project's own words and a site's are written alike. What a site's file says replaces what ours says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path


class Meaning(StrEnum):
    """What a word in Body Part Examined or View Position says of a radiograph."""

    CHEST = "chest"
    """It shows the chest."""
    FRONTAL = "frontal"
    """It is a frontal view."""
    QUALIFIER = "qualifier"
    """It stands beside a chest or a frontal view and does not make it another one."""
    OTHER_VIEW = "other_view"
    """It is a view that is not frontal, or of one side."""
    OTHER_BODY_PART = "other_body_part"
    """It shows something else."""


LONGEST = 64
"""Characters of a word: an element of these (CS, LO, SH) holds no more (PS3.5 6.2)."""


class VocabularyInvalidError(ValueError):
    """A file of words is not as it should be; the text says where, and what was expected."""


def read_vocabulary_file(path: Path) -> dict[Meaning, tuple[str, ...]]:
    """The words of each meaning, as they are written. Raises VocabularyInvalidError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VocabularyInvalidError(f"the file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise VocabularyInvalidError("the file is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise VocabularyInvalidError(f"the file is not TOML: {error}") from None
    return {_meaning(name): tuple(_words(name, content)) for name, content in tables.items()}


def _meaning(name: str) -> Meaning:
    try:
        return Meaning(name)
    except ValueError:
        expected = ", ".join(Meaning)
        raise VocabularyInvalidError(f"{name!r} is no meaning; expected {expected}") from None


def _words(name: str, content: object) -> Iterator[str]:
    lists = content.values() if isinstance(content, Mapping) else [content]
    for words in lists:
        if not isinstance(words, list):
            raise VocabularyInvalidError(f"{name} is no list of words, and no table of such lists")
        for place, word in enumerate(words, start=1):
            if not isinstance(word, str) or not any(map(str.isalnum, word)) or len(word) > LONGEST:
                raise VocabularyInvalidError(
                    f"word {place} of a list in {name} is none; expected text of 1 to {LONGEST} "
                    "characters, with a letter or digit"
                )
            yield word
