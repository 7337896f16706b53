"""How a capture looks: the radiograph, below it what was found, the scale, details, the disclaimer.

Set from the foot upwards, so that nothing can push the disclaimer off the page; the radiograph takes
what is left. Sizes are chosen so that all of it can be read when a viewer shows it 512 pixels high.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from worker.results.capture_text import CaptureText, Tone
from worker.results.heat_map import Colour, with_heat
from worker.results.picture import Picture, resized
from worker.results.typography import Style, font_for, wrapped

WIDTH, HEIGHT = 1024, 1280
MARGIN = 40
MAX_DETAILS = 7
"""Lines under the scale of a radiograph, its legend among them; the notice has room for more."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (244, 244, 246)
SOFT: Colour = (188, 190, 198)
TRACK: Colour = (58, 62, 70)
FOOT_BAND: Colour = (46, 48, 56)
_CAPTION = "probability"
_MORE = "More in the structured report."
_FINE = 4
"""Shapes are drawn so many times larger and shrunk, which softens their edges."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of letters."""

    words: str
    """What it says."""
    style: Style
    """Its font and size."""
    colour: Colour
    """RGB."""
    x: int
    """Where it starts; with `right_aligned`, where it ends."""
    y: int
    """Its top."""
    right_aligned: bool = False
    """Whether it ends at x."""


@dataclass(frozen=True, kw_only=True)
class CaptureLayout:
    """Where everything goes."""

    lines: tuple[Line, ...]
    """All letters."""
    foot_top: int
    """Where the disclaimer's band begins."""
    panel_top: int
    """Where the panel begins, and the radiograph ends."""
    scale_top: int | None
    """Where the scale stands; None without a probability."""


def draw(words: CaptureText, picture: Picture | None, font: Path | None) -> np.ndarray:
    """RGB uint8 (HEIGHT, WIDTH, 3); without a picture, a notice in letters alone."""
    page = lay_out(words, font, room=MAX_DETAILS if picture else None)
    canvas = Image.new("RGB", (WIDTH, HEIGHT))
    if picture:
        _paste_radiograph(canvas, picture, words.tone.value, page.panel_top - MARGIN // 2)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, page.foot_top, WIDTH, HEIGHT), fill=FOOT_BAND)
    if page.scale_top is not None and words.probability is not None:
        _paste_scale(canvas, words.probability, words.threshold, words.tone, page.scale_top)
    for line in page.lines:
        pen.text(
            (line.x, line.y),
            line.words,
            fill=line.colour,
            font=font_for(line.style, font),
            anchor="ra" if line.right_aligned else "la",
        )
    return np.asarray(canvas)


def lay_out(words: CaptureText, font: Path | None, *, room: int | None) -> CaptureLayout:
    """Set all lines, from the foot upwards. `room`: most lines of details; None: what fits."""
    width = WIDTH - 2 * MARGIN
    foot = list(wrapped(words.disclaimer, font_for(Style.FOOT, font), width))
    foot_top = HEIGHT - len(foot) * Style.FOOT.line_height - 28
    lines = _stack(foot, Style.FOOT, WHITE, foot_top + 14)

    body = font_for(Style.BODY, None)
    legend = list(wrapped(words.legend, body, width))
    details = [line for sentence in words.details for line in wrapped(sentence, body, width)]
    fitting = (foot_top - MARGIN) // Style.BODY.line_height - 4
    details = _shortened(details, (room or fitting) - len(legend))
    height = (len(details) + len(legend)) * Style.BODY.line_height
    details_top = foot_top - 18 - height if room else min(220, foot_top - 18 - height)
    lines += _stack(details, Style.BODY, SOFT, details_top)
    legend_top = details_top + len(details) * Style.BODY.line_height
    lines += _stack(legend, Style.BODY, words.tone.value, legend_top)

    scale_top = None if words.probability is None else details_top - 100
    headline_top = (details_top if scale_top is None else scale_top) - 78
    lines += _headline(words, headline_top)
    if scale_top is not None:
        lines += _scale_labels(words, scale_top)
    return CaptureLayout(
        lines=tuple(lines), foot_top=foot_top, panel_top=headline_top, scale_top=scale_top
    )


def _stack(words: list[str], style: Style, colour: Colour, top: int) -> list[Line]:
    return [
        Line(words=line, style=style, colour=colour, x=MARGIN, y=top + i * style.line_height)
        for i, line in enumerate(words)
    ]


def _shortened(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], _MORE]


def _headline(words: CaptureText, top: int) -> list[Line]:
    found = Line(
        words=words.headline, style=Style.HEADLINE, colour=words.tone.value, x=MARGIN, y=top
    )
    if words.probability is None:
        return [found]
    number, right = words.numbers[0], WIDTH - MARGIN
    lines = [
        found,
        Line(words=number, style=Style.HEADLINE, colour=WHITE, x=right, y=top, right_aligned=True),
    ]
    large, body = font_for(Style.HEADLINE, None), font_for(Style.BODY, None)
    end = round(right - large.getlength(number) - 18)
    if end - body.getlength(_CAPTION) > MARGIN + large.getlength(words.headline) + 18:
        lines.append(
            Line(
                words=_CAPTION, style=Style.BODY, colour=SOFT, x=end, y=top + 17, right_aligned=True
            )
        )
    return lines


# --- the radiograph ---------------------------------------------------------------------------------


def radiograph_box(shape: tuple[int, ...], height: int) -> tuple[int, int, int, int]:
    """Left, top, width, height of a frame (H, W): as large as it can be, in its own proportions."""
    scale = min(height / shape[0], WIDTH / shape[1])
    rows, columns = round(shape[0] * scale), round(shape[1] * scale)
    return (WIDTH - columns) // 2, (height - rows) // 2, columns, rows


def _paste_radiograph(canvas: Image.Image, picture: Picture, colour: Colour, height: int) -> None:
    left, top, columns, rows = radiograph_box(picture.pixels.shape, height)
    tinted = with_heat(resized(picture.pixels, (rows, columns)), picture.heat, colour)
    canvas.paste(Image.fromarray((tinted * 255).round().astype(np.uint8)), (left, top))


# --- the scale --------------------------------------------------------------------------------------


def scale_x(probability: float) -> int:
    """Where on the page a probability in [0, 1] stands."""
    return round(MARGIN + probability * (WIDTH - 2 * MARGIN))


def _paste_scale(
    canvas: Image.Image, probability: float, threshold: float, tone: Tone, top: int
) -> None:
    """A bar from 0 to 1, filled up to the probability, with the threshold as a line across it."""
    strip = canvas.crop((0, top, WIDTH, top + 44)).resize((WIDTH * _FINE, 44 * _FINE))
    pen = ImageDraw.Draw(strip)
    start, end = scale_x(0), scale_x(1)

    def bar(left: int, right: int, colour: Colour) -> None:
        box = tuple(_FINE * side for side in (left, 14, right, 30))
        pen.rounded_rectangle(box, radius=8 * _FINE, fill=colour)

    bar(start - 8, end + 8, TRACK)
    bar(start - 8, scale_x(probability) + 8, tone.value)
    line = scale_x(threshold)
    for half_width, colour in ((5, BLACK), (2, WHITE)):
        across = (line - half_width, 4, line + half_width + 1, 42)
        pen.rectangle(tuple(_FINE * side for side in across), fill=colour)
    knob = scale_x(probability)
    box = tuple(_FINE * side for side in (knob - 14, 8, knob + 14, 36))
    pen.ellipse(box, fill=WHITE, outline=BLACK, width=3 * _FINE)
    canvas.paste(strip.resize((WIDTH, 44), Image.Resampling.BOX), (0, top))


def _scale_labels(words: CaptureText, top: int) -> list[Line]:
    """`threshold 0.586` under its line, 0 and 1 at the ends where they do not touch it."""
    font, y = font_for(Style.BODY, None), top + 46
    label = f"threshold {words.numbers[1]}"
    length = round(font.getlength(label))
    left = min(max(scale_x(words.threshold) - length // 2, MARGIN), WIDTH - MARGIN - length)
    lines = [Line(words=label, style=Style.BODY, colour=WHITE, x=left, y=y)]
    if left > MARGIN + 50:
        lines.append(Line(words="0", style=Style.BODY, colour=SOFT, x=MARGIN, y=y))
    if left + length < WIDTH - MARGIN - 50:
        end = WIDTH - MARGIN
        lines.append(Line(words="1", style=Style.BODY, colour=SOFT, x=end, y=y, right_aligned=True))
    return lines
