"""Fonts of a capture: which one, whether it has a character, how long a line is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

from worker.errors import Rejected

FONTS = Path(__file__).parent / "fonts"
_IN_NO_FONT = "\uffff"
"""Unicode guarantees that this is no character, so a font draws its box for missing glyphs."""


class Style(Enum):
    """Fonts and sizes, in pixels of the capture; each is readable when the capture is 512 high."""

    HEADLINE = ("DejaVuSans-Bold.ttf", 50)
    """The verdict."""
    BODY = ("DejaVuSans.ttf", 30)
    """Everything else."""
    FOOT = ("DejaVuSans-Bold.ttf", 31)
    """The disclaimer."""

    @property
    def line_height(self) -> int:
        """Distance from one line's top to the next."""
        return round(self.value[1] * 1.32)


def font_for(style: Style, chosen: Path | None) -> FreeTypeFont:
    """Return the site's font for its own text (the disclaimer), DejaVu Sans for everything else.

    Raises Rejected FONT_UNREADABLE.
    """
    name, size = style.value
    return _font(chosen if chosen and style is Style.FOOT else FONTS / name, size)


class _FontsOfThread(threading.local):
    """The fonts that a thread has opened: a FreeType face may serve one thread at a time, and Pillow
    calls back into Python, where another thread may go on, while it draws."""

    def __init__(self) -> None:
        self.opened: dict[tuple[Path, int], FreeTypeFont] = {}


_fonts = _FontsOfThread()


def _font(path: Path, size: int) -> FreeTypeFont:
    if (path, size) not in _fonts.opened:
        _fonts.opened[path, size] = _open(path, size)
    return _fonts.opened[path, size]


def _open(path: Path, size: int) -> FreeTypeFont:
    try:
        # The basic layout is part of Pillow: what it draws does not depend on the machine's libraries.
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        raise Rejected(
            "FONT_UNREADABLE",
            "PNEUMO_RESULT_FONT: found no TrueType or OpenType font there; expected the path of one. "
            "Correct the variable and start again.",
        ) from None


def check_glyphs(words: str, chosen: Path | None) -> None:
    """Check that the disclaimer's font has all its characters; a row of boxes disclaims nothing.

    Raises Rejected FONT_UNREADABLE, LETTER_NOT_IN_FONT.
    """
    font = font_for(Style.FOOT, chosen)
    unknown = bytes(font.getmask(_IN_NO_FONT))
    for letter in words:
        if not letter.isspace() and bytes(font.getmask(letter)) == unknown:
            raise Rejected(
                "LETTER_NOT_IN_FONT",
                f"PNEUMO_RESULT_DISCLAIMER: found the character U+{ord(letter):04X}, which the font "
                "does not have. Set PNEUMO_RESULT_FONT to a font that has it, or choose other words.",
            )


def wrapped(words: str, font: FreeTypeFont, width: int) -> Iterator[str]:
    """Yield lines of at most `width` pixels, broken between words; a longer word is cut."""
    line = ""
    for word in words.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *full, line = _pieces(word, font, width)
        yield from full
    if line:
        yield line


def _pieces(word: str, font: FreeTypeFont, width: int) -> Iterator[str]:
    """Yield a word in pieces that fit, usually one: Chinese has no spaces."""
    piece = ""
    for letter in word:
        if piece and font.getlength(piece + letter) > width:
            yield piece
            piece = ""
        piece += letter
    yield piece
