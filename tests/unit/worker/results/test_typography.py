"""Fonts: every letter of the disclaimer is there, every line fits."""

from __future__ import annotations

import pytest

from tests.builders.results import make_result_settings
from worker.errors import Rejected
from worker.results.typography import FONTS, Style, font_for, wrapped

BODY = font_for(Style.BODY, None)


@pytest.mark.parametrize(
    "disclaimer",
    [
        "Nur für Forschung: ohne Befundung nicht verwenden.",
        "Только для исследований",
        "Μόνο για έρευνα",
    ],
)
def test_letters_of_many_languages_are_there(disclaimer):
    assert make_result_settings(disclaimer=disclaimer).disclaimer == disclaimer


def test_a_letter_that_would_be_a_box_is_refused_by_name():
    with pytest.raises(
        Rejected, match=r"PNEUMO_RESULT_DISCLAIMER: found the character U\+7814"
    ) as caught:
        make_result_settings(disclaimer="研究用")
    assert caught.value.code == "LETTER_NOT_IN_FONT"


@pytest.mark.parametrize("name", ["absent.ttf", "LICENSE_DEJAVU"])
def test_a_font_that_is_none_is_refused(name):
    with pytest.raises(Rejected, match="PNEUMO_RESULT_FONT") as caught:
        make_result_settings(font=FONTS / name)
    assert caught.value.code == "FONT_UNREADABLE"


def test_the_sites_font_is_for_the_sites_words_alone():
    chosen = FONTS / "DejaVuSans.ttf"
    assert font_for(Style.FOOT, chosen).getname() == ("DejaVu Sans", "Book")
    assert font_for(Style.FOOT, None).getname() == ("DejaVu Sans", "Bold")
    assert font_for(Style.BODY, chosen).path == font_for(Style.BODY, None).path


def test_lines_break_between_words_and_lose_none():
    words = "one two three four five six seven eight nine ten " * 5
    lines = list(wrapped(words, BODY, 300))
    assert " ".join(lines) == " ".join(words.split())
    assert len(lines) > 5
    assert all(BODY.getlength(line) <= 300 for line in lines)


def test_a_word_that_is_too_long_is_cut_and_lost_nowhere():
    lines = list(wrapped("a " + "x" * 100 + " b", BODY, 300))
    assert "".join(lines).replace(" ", "") == "a" + "x" * 100 + "b"
    assert all(BODY.getlength(line) <= 300 for line in lines)


def test_an_unknown_time_zone_is_refused_by_name():
    with pytest.raises(Rejected, match="PNEUMO_RESULT_TIME_ZONE: found 'Mars/Base'"):
        make_result_settings(time_zone="Mars/Base")
