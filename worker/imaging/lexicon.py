"""Which words say chest, which frontal, which something else: in many languages and spellings.

A value is taken apart at everything that is no letter and no digit, its parts are joined where together
they are a word ("P.A.", "klatka piersiowa"), and divided where they are several ("CHESTPA", "胸部正位").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from worker.imaging.vocabulary import describe
from worker.logging import get_logger
from worker.settings import current_settings
from worker.vocabulary_file import LONGEST, Meaning, VocabularyInvalidError, read_vocabulary_file

log = get_logger(__name__)

_PARTS = re.compile(r"[^\W_]+")
_MOST_PARTS = 5
"""Parts that together may be one word."""
_MARKS = re.compile("[\u0300-\u036f\u064b-\u0652\u0640]")
"""Accents of Latin, Greek and Cyrillic letters; vowel signs and the stretching line of Arabic ones."""
_WITHOUT_DECOMPOSITION = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe", "ħ": "h"}
)
_LEAST_LETTERS = 4
"""Of one word in an alphabet, for parts without a gap to count as several words: "CHESTPA", not "LAPA"."""


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words, folded, and what each of them means."""

    meanings: Mapping[str, Meaning]

    def read(self, value: str) -> tuple[Meaning, ...] | None:
        """The meanings of a value's words in turn; None if it has none, or one that is unknown."""
        if len(value) > LONGEST:
            return None
        parts = _PARTS.findall(fold(value))
        found: list[Meaning] = []
        while parts:
            for count in range(min(_MOST_PARTS, len(parts)), 0, -1):
                meanings = self._of_joined("".join(parts[:count]))
                if meanings:
                    found += meanings
                    parts = parts[count:]
                    break
            else:
                return None
        return tuple(found) or None

    def _of_joined(self, joined: str) -> tuple[Meaning, ...] | None:
        meaning = self.meanings.get(joined)
        return (meaning,) if meaning else self._divided(joined)

    def _divided(self, joined: str) -> tuple[Meaning, ...] | None:
        """The meanings of words written without gaps: as few words as there can be, or None."""
        best: list[tuple[str, ...] | None] = [(), *[None] * len(joined)]
        for end in range(1, len(joined) + 1):
            for start in range(end):
                before, word = best[start], joined[start:end]
                if before is None or word not in self.meanings or _is_lone(word):
                    continue
                shortest = best[end]
                if shortest is None or len(before) + 1 < len(shortest):
                    best[end] = (*before, word)
        words = best[-1]
        if not words or not any(_is_unmistakable(word) for word in words):
            return None
        return tuple(self.meanings[word] for word in words)


def fold(value: str) -> str:
    """A value as it is compared: without width, capitals and accents."""
    plain = unicodedata.normalize("NFKC", value).casefold()
    without_marks = _MARKS.sub("", unicodedata.normalize("NFKD", plain))
    return unicodedata.normalize("NFC", without_marks).translate(_WITHOUT_DECOMPOSITION)


def phrase(value: str | None) -> str | None:
    """A value in capitals if all its words are known, a description if not, None if empty."""
    if value is None or not value.strip():
        return None
    shown = " ".join(unicodedata.normalize("NFKC", value).upper().split())
    return shown if is_known(shown) else describe(shown)


def is_known(value: str) -> bool:
    """Whether every word of a value is known, so that it may be quoted."""
    return lexicon().read(value) is not None


def says_chest(value: str) -> bool:
    """Whether a value names the chest, and nothing that would make it something else."""
    return _says(value, Meaning.CHEST)


def says_frontal(value: str) -> bool:
    """Whether a value names a frontal view, and nothing that would make it something else."""
    return _says(value, Meaning.FRONTAL)


def lexicon() -> Lexicon:
    """Our words, and those of the site's file as it is now."""
    path = current_settings().vocabulary
    return _own() if path is None else _with_site(path, _changed(path))


_BESIDE = {Meaning.CHEST, Meaning.FRONTAL, Meaning.QUALIFIER}


def _says(value: str, meaning: Meaning) -> bool:
    found = lexicon().read(value)
    return found is not None and meaning in found and set(found) <= _BESIDE


def _is_lone(word: str) -> bool:
    """Whether a word is too short to be found within another: one letter of an alphabet."""
    return len(word) == 1 and not _is_ideograph(word)


def _is_unmistakable(word: str) -> bool:
    return len(word) >= _LEAST_LETTERS or any(map(_is_ideograph, word))


def _is_ideograph(character: str) -> bool:
    """Whether it is of a script that is written without gaps, or with gaps where the writer likes."""
    return unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))


@cache
def _own() -> Lexicon:
    return Lexicon(meanings=_folded(Path(str(files("worker.imaging") / "words.toml"))))


@lru_cache(maxsize=4)
def _with_site(path: Path, _changed_ns: int | None) -> Lexicon:
    """Read anew when the file changes. What became unreadable adds nothing: processes refuse it at start."""
    try:
        return Lexicon(meanings={**_own().meanings, **_folded(path)})
    except VocabularyInvalidError as error:
        log.warning("vocabulary_invalid", code="VOCABULARY_INVALID", reason=str(error))
        return _own()


def _folded(path: Path) -> dict[str, Meaning]:
    return {
        "".join(_PARTS.findall(fold(word))): meaning
        for meaning, words in read_vocabulary_file(path).items()
        for word in words
    }


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
