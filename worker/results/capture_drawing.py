"""Draw a capture: the radiograph, and below it the finding, the scale, details and the disclaimer.

Lines are set from the foot upwards, so that nothing can push the disclaimer off the page; the
radiograph gets the remaining space. All text is readable when a viewer shows it 512 pixels high.
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
"""Lines under the scale of a radiograph, legend included; the notice has room for more."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (244, 244, 246)
SOFT: Colour = (188, 190, 198)
TRACK: Colour = (58, 62, 70)
FOOT_BAND: Colour = (46, 48, 56)
_CAPTION = "probability"
_MORE = "More in the structured report."
_FINE = 4
"""Shapes are drawn so many times larger and then shrunk, which smooths their edges."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of text."""

    text: str
    style: Style
    """Its font and size."""
    colour: Colour
    """RGB."""
    x: int
    """Its left end; with `right_aligned`, its right end."""
    y: int
    """Its top."""
    right_aligned: bool = False
    """Whether it ends at x."""


@dataclass(frozen=True, kw_only=True)
class CaptureLayout:
    """The positions of everything on a capture."""

    lines: tuple[Line, ...]
    """All lines of text."""
    foot_top: int
    """Top of the disclaimer's band."""
    panel_top: int
    """Top of the panel, where the radiograph ends."""
    scale_top: int | None
    """Top of the scale; None without a probability."""


def draw(content: CaptureText, picture: Picture | None, font: Path | None) -> np.ndarray:
    """Draw a capture as RGB uint8 (HEIGHT, WIDTH, 3); without a picture, a notice of text alone."""
    page = lay_out(content, font, room=MAX_DETAILS if picture else None)
    canvas = Image.new("RGB", (WIDTH, HEIGHT))
    if picture:
        _paste_radiograph(canvas, picture, content.tone.value, page.panel_top - MARGIN // 2)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, page.foot_top, WIDTH, HEIGHT), fill=FOOT_BAND)
    if page.scale_top is not None and content.probability is not None:
        _paste_scale(canvas, content.probability, content.threshold, content.tone, page.scale_top)
    for line in page.lines:
        pen.text(
            (line.x, line.y),
            line.text,
            fill=line.colour,
            font=font_for(line.style, font),
            anchor="ra" if line.right_aligned else "la",
        )
    return np.asarray(canvas)


def lay_out(content: CaptureText, font: Path | None, *, room: int | None) -> CaptureLayout:
    """Set all lines from the foot upwards. `room`: maximum lines of details; None: what fits."""
    width = WIDTH - 2 * MARGIN
    foot = list(wrapped(content.disclaimer, font_for(Style.FOOT, font), width))
    foot_top = HEIGHT - len(foot) * Style.FOOT.line_height - 28
    lines = _stack(foot, Style.FOOT, WHITE, foot_top + 14)

    body = font_for(Style.BODY, None)
    legend = list(wrapped(content.legend, body, width))
    details = [line for sentence in content.details for line in wrapped(sentence, body, width)]
    fitting = (foot_top - MARGIN) // Style.BODY.line_height - 4
    details = _shortened(details, (room or fitting) - len(legend))
    height = (len(details) + len(legend)) * Style.BODY.line_height
    details_top = foot_top - 18 - height if room else min(220, foot_top - 18 - height)
    lines += _stack(details, Style.BODY, SOFT, details_top)
    legend_top = details_top + len(details) * Style.BODY.line_height
    lines += _stack(legend, Style.BODY, content.tone.value, legend_top)

    scale_top = None if content.probability is None else details_top - 100
    headline_top = (details_top if scale_top is None else scale_top) - 78
    lines += _headline(content, headline_top)
    if scale_top is not None:
        lines += _scale_labels(content, scale_top)
    return CaptureLayout(
        lines=tuple(lines), foot_top=foot_top, panel_top=headline_top, scale_top=scale_top
    )


def _stack(texts: list[str], style: Style, colour: Colour, top: int) -> list[Line]:
    return [
        Line(text=line, style=style, colour=colour, x=MARGIN, y=top + i * style.line_height)
        for i, line in enumerate(texts)
    ]


def _shortened(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], _MORE]


def _headline(content: CaptureText, top: int) -> list[Line]:
    found = Line(
        text=content.headline, style=Style.HEADLINE, colour=content.tone.value, x=MARGIN, y=top
    )
    if content.probability is None:
        return [found]
    number, right = content.numbers[0], WIDTH - MARGIN
    lines = [
        found,
        Line(text=number, style=Style.HEADLINE, colour=WHITE, x=right, y=top, right_aligned=True),
    ]
    large, body = font_for(Style.HEADLINE, None), font_for(Style.BODY, None)
    end = round(right - large.getlength(number) - 18)
    if end - body.getlength(_CAPTION) > MARGIN + large.getlength(content.headline) + 18:
        lines.append(
            Line(
                text=_CAPTION, style=Style.BODY, colour=SOFT, x=end, y=top + 17, right_aligned=True
            )
        )
    return lines


# --- the radiograph ---------------------------------------------------------------------------------


def radiograph_box(shape: tuple[int, ...], height: int) -> tuple[int, int, int, int]:
    """Return left, top, width, height of a frame (H, W), as large as possible in its proportions."""
    scale = min(height / shape[0], WIDTH / shape[1])
    rows, columns = round(shape[0] * scale), round(shape[1] * scale)
    return (WIDTH - columns) // 2, (height - rows) // 2, columns, rows


def _paste_radiograph(canvas: Image.Image, picture: Picture, colour: Colour, height: int) -> None:
    left, top, columns, rows = radiograph_box(picture.pixels.shape, height)
    tinted = with_heat(resized(picture.pixels, (rows, columns)), picture.heat, colour)
    canvas.paste(Image.fromarray((tinted * 255).round().astype(np.uint8)), (left, top))


# --- the scale --------------------------------------------------------------------------------------


def scale_x(probability: float) -> int:
    """Return the x coordinate of a probability in [0, 1]."""
    return round(MARGIN + probability * (WIDTH - 2 * MARGIN))


def _paste_scale(
    canvas: Image.Image, probability: float, threshold: float, tone: Tone, top: int
) -> None:
    """Draw a bar from 0 to 1, filled up to the probability, and the threshold as a line across it."""
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


def _scale_labels(content: CaptureText, top: int) -> list[Line]:
    """Set `threshold 0.586` under its line, and 0 and 1 at the ends if they do not touch it."""
    font, y = font_for(Style.BODY, None), top + 46
    label = f"threshold {content.numbers[1]}"
    length = round(font.getlength(label))
    left = min(max(scale_x(content.threshold) - length // 2, MARGIN), WIDTH - MARGIN - length)
    lines = [Line(text=label, style=Style.BODY, colour=WHITE, x=left, y=y)]
    if left > MARGIN + 50:
        lines.append(Line(text="0", style=Style.BODY, colour=SOFT, x=MARGIN, y=y))
    if left + length < WIDTH - MARGIN - 50:
        end = WIDTH - MARGIN
        lines.append(Line(text="1", style=Style.BODY, colour=SOFT, x=end, y=y, right_aligned=True))
    return lines
