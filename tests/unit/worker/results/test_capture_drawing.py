"""The capture's looks, as properties: nothing overlaps, nothing falls off, the scale tells the truth."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.builders.results import drawn_picture
from worker.results.capture_drawing import (
    HEIGHT,
    MARGIN,
    MAX_DETAILS,
    WHITE,
    WIDTH,
    CaptureLayout,
    Line,
    draw,
    lay_out,
    radiograph_box,
    scale_x,
)
from worker.results.capture_text import CaptureText, Tone
from worker.results.typography import Style, font_for

SHOWN_AT = 512 / HEIGHT
"""A viewer's thumbnail, the longer side 512 pixels."""
WORDS = CaptureText(
    headline="Pneumonia present",
    tone=Tone.PRESENT,
    probability=0.792826,
    threshold=0.566,
    details=("resnet50 9.9.9  ·  2026-11-23 09:50 UTC", "Image 1 of 1"),
    disclaimer="Not for diagnostic use without a radiologist.",
    legend="Colour: a sentence that is so long that it needs a second line on a page of this width.",
)
MUCH = replace(
    WORDS,
    details=tuple(f"Sentence {i} that goes on for quite a while, and then on." for i in range(40)),
    disclaimer="Word " * 24,
)
NOTICE = replace(
    MUCH, headline="Not evaluated", tone=Tone.NOT_EVALUATED, probability=None, legend=""
)
PAGES = {
    "plain": (WORDS, MAX_DETAILS),
    "much": (MUCH, MAX_DETAILS),
    "notice": (NOTICE, None),
    "short notice": (replace(NOTICE, details=("One line.",)), None),
    "hair's breadth": (replace(WORDS, probability=math.nextafter(0.566, 0)), MAX_DETAILS),
    **{
        f"threshold {t} probability {p}": (replace(WORDS, threshold=t, probability=p), MAX_DETAILS)
        for t, p in itertools.product((0.0, 0.02, 0.5, 0.98, 1.0), (0.0, 0.5, 1.0))
    },
}


def box_of(line: Line) -> tuple[float, float, float, float]:
    anchor = "ra" if line.right_aligned else "la"
    left, top, right, bottom = font_for(line.style, None).getbbox(line.text, anchor=anchor)
    return line.x + left, line.y + top, line.x + right, line.y + bottom


def page_of(name: str) -> CaptureLayout:
    words, room = PAGES[name]
    return lay_out(words, None, room=room)


def test_eight_threads_draw_what_one_thread_draws():
    pages = [words for words, _ in PAGES.values()]
    alone = [draw(words, drawn_picture(), None) for words in pages]
    assert not np.array_equal(alone[0], alone[1])
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda words: draw(words, drawn_picture(), None), pages))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_each_thread_has_its_own_fonts():
    """FreeType lets a face serve one thread at a time."""
    here = font_for(Style.BODY, None)
    assert here is font_for(Style.BODY, None)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(font_for, Style.BODY, None).result() is not here


@pytest.mark.parametrize("name", PAGES)
def test_all_letters_are_on_the_page_and_none_on_others(name):
    boxes = [box_of(line) for line in page_of(name).lines]
    assert boxes
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= HEIGHT
    for a, b in itertools.combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (a, b)


@pytest.mark.parametrize("name", PAGES)
def test_the_disclaimer_stands_there_to_the_last_word(name):
    words, _ = PAGES[name]
    page = page_of(name)
    foot = [line for line in page.lines if line.style is Style.FOOT]
    assert " ".join(line.text for line in foot).split() == words.disclaimer.split()
    assert all(line.y >= page.foot_top for line in foot)


def test_letters_can_be_read_at_512_pixels():
    """The height of a capital, in pixels of the thumbnail; 7 is what a terminal's font has."""
    for style in Style:
        _, top, _, bottom = font_for(style, None).getbbox("H")
        assert (bottom - top) * SHOWN_AT >= 7, style


def test_letters_stand_out_from_their_ground():
    """WCAG 2.1 asks for a contrast of 4.5."""
    for line in (*page_of("plain").lines, *page_of("notice").lines):
        ground = (46, 48, 56) if line.style is Style.FOOT else (0, 0, 0)
        assert contrast(line.colour, ground) >= 4.5, line


def contrast(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: tuple[int, int, int]) -> float:
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in colour)
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_what_does_not_fit_is_said_to_be_elsewhere():
    page = page_of("much")
    details = [
        x for x in page.lines if x.style is Style.BODY and x.text.startswith(("Sent", "More"))
    ]
    assert details[-1].text == "More in the structured report."
    assert details[0].text.startswith("Sentence 0")


def test_the_legend_stands_there_to_the_last_word_whatever_else_is_said():
    for name in ("plain", "much"):
        page = page_of(name)
        legend = [x for x in page.lines if x.style is Style.BODY and x.colour == Tone.PRESENT.value]
        assert " ".join(line.text for line in legend) == WORDS.legend
        under_the_scale = {line.y for line in page.lines if line.y > page.scale_top + 60}
        assert (
            len(under_the_scale - {x.y for x in page.lines if x.style is Style.FOOT}) <= MAX_DETAILS
        )


def test_the_notice_has_room_for_more_than_a_radiograph_leaves():
    many = [line for line in page_of("notice").lines if "Sentence" in line.text]
    assert len(many) > 2 * MAX_DETAILS


# --- the scale --------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.0, 0.031, 0.3, 0.566, 0.792826, 1.0])
def test_the_bar_is_filled_up_to_the_probability(probability):
    words = replace(WORDS, probability=probability, threshold=0.999)
    page = lay_out(words, None, room=MAX_DETAILS)
    row = draw(words, drawn_picture(), None)[page.scale_top + 27]
    filled = np.abs(row.astype(int) - Tone.PRESENT.value).sum(axis=1) < 10
    knob = np.abs(row[: scale_x(0.97)].astype(int) - WHITE).sum(axis=1) < 10
    if probability < 0.95:
        assert np.nonzero(knob)[0].mean() == pytest.approx(scale_x(probability), abs=1)
    if probability > 0.05:
        assert filled[: scale_x(probability) - 20].sum() >= scale_x(probability) - MARGIN - 25
    assert not filled[scale_x(probability) + 16 :].any()


@pytest.mark.parametrize("threshold", [0.0, 0.087, 0.5, 0.566, 1.0])
def test_the_threshold_is_a_line_across_the_bar(threshold):
    words = replace(WORDS, threshold=threshold, probability=0.3)
    page = lay_out(words, None, room=MAX_DETAILS)
    above_the_bar = draw(words, drawn_picture(), None)[page.scale_top + 6]
    white = np.nonzero(np.abs(above_the_bar.astype(int) - WHITE).sum(axis=1) < 10)[0]
    assert white.mean() == pytest.approx(scale_x(threshold), abs=1)
    label = next(line for line in page.lines if line.text.startswith("threshold"))
    left, _, right, _ = box_of(label)
    assert left - 45 <= scale_x(threshold) <= right + 45


@pytest.mark.parametrize(
    ("probability", "threshold", "shown"),
    [
        (0.792826, 0.566, ("0.793", "0.566")),
        (0.56596, 0.5660207, ("0.56596", "0.56602")),
        (0.566, 0.566, ("0.566", "0.566")),
        (0.99999, 1.0, ("0.99999", "1.00000")),
        (math.nextafter(0.5, 0), 0.5, ("<0.500000", "0.500000")),
        (math.nextafter(0.5, 1), 0.5, ("0.500000", "0.500000")),
    ],
)
def test_there_are_digits_enough_to_see_which_is_greater(probability, threshold, shown):
    assert replace(WORDS, probability=probability, threshold=threshold).numbers == shown


# --- the radiograph ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3000, 2500), (1000, 1500), (300, 300), (900, 200), (200, 900)])
def test_the_radiograph_keeps_its_proportions_and_fills_its_room(shape):
    left, top, columns, rows = radiograph_box(shape, 800)
    assert columns / rows == pytest.approx(shape[1] / shape[0], rel=0.01)
    assert columns == WIDTH or rows == 800
    assert left == (WIDTH - columns) // 2
    assert top == (800 - rows) // 2


def test_the_picture_is_the_radiograph_where_there_is_no_heat():
    picture = drawn_picture(hot=False)
    rgb = draw(WORDS, picture, None)
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert rgb.dtype == np.uint8
    page = lay_out(WORDS, None, room=MAX_DETAILS)
    left, top, columns, rows = radiograph_box(picture.pixels.shape, page.panel_top - MARGIN // 2)
    shown = rgb[top : top + rows, left : left + columns].astype(float) / 255
    assert (shown[..., 0] == shown[..., 2]).all()
    rows_at, columns_at = np.linspace(10, 300, 30).astype(int), np.linspace(10, 270, 30).astype(int)
    scale = rows / picture.pixels.shape[0]
    there = shown[(rows_at * scale).astype(int)][:, (columns_at * scale).astype(int), 0]
    assert np.corrcoef(there.ravel(), picture.pixels[rows_at][:, columns_at].ravel())[0, 1] > 0.99


def test_the_hot_place_is_coloured_at_its_place():
    cold, hot = draw(WORDS, drawn_picture(hot=False), None), draw(WORDS, drawn_picture(), None)
    page = lay_out(WORDS, None, room=MAX_DETAILS)
    left, top, columns, rows = radiograph_box((320, 288), page.panel_top - MARGIN // 2)
    changed = np.nonzero((cold != hot).any(axis=2))
    assert (changed[1].mean() - left) / columns == pytest.approx(0.3, abs=0.03)
    assert (changed[0].mean() - top) / rows == pytest.approx(0.35, abs=0.03)
    assert changed[0].max() < page.panel_top


def test_other_words_change_only_the_foot():
    one = draw(WORDS, drawn_picture(), None)
    other = draw(
        replace(WORDS, disclaimer="Only for research by those who know."), drawn_picture(), None
    )
    rows = np.nonzero((one != other).any(axis=(1, 2)))[0]
    assert rows.min() >= lay_out(WORDS, None, room=MAX_DETAILS).foot_top


def test_present_and_absent_differ_in_brightness_and_hue_for_any_eye():
    present, absent = np.asarray(Tone.PRESENT.value), np.asarray(Tone.ABSENT.value)
    blue_less_red = [int(c[2]) - int(c[0]) for c in (present, absent)]
    assert blue_less_red[0] < -100 < 100 < blue_less_red[1]


def test_the_same_is_drawn_each_time():
    assert np.array_equal(draw(WORDS, drawn_picture(), None), draw(WORDS, drawn_picture(), None))
