"""Body parts and views as consoles all over the world write them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tests.builders.dicom import make_instance
from worker.errors import Rejected
from worker.imaging import lexicon
from worker.imaging.eligibility import check_eligibility
from worker.imaging.reading import read_header
from worker.settings import current_settings, read_settings
from worker.vocabulary_file import Meaning, read_vocabulary_file

OUR_FILE = Path(lexicon.__file__).with_name("words.toml")
UNKNOWN = "a value of {} characters that is no defined term"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Write the site's words: site('chest = ["THX"]')."""
    path = tmp_path / "words.toml"

    def write(content: str) -> Path:
        path.write_text(content, encoding="utf-8")
        monkeypatch.setenv("PNEUMO_VOCABULARY", str(path))
        current_settings.cache_clear()
        return path

    yield write
    monkeypatch.undo()
    current_settings.cache_clear()


def refusals(*, encoding: str = "utf-8", **elements: Any) -> list[str]:
    """The codes for a file whose code strings are written in `encoding`, as consoles write them."""
    for name in {"body_part", "view_position"} & set(elements):
        elements[name] = elements[name].encode(encoding).decode("iso8859-1")
    content = io.BytesIO()
    make_instance(**elements).save_as(content, enforce_file_format=True)
    content.seek(0)
    return [refusal.code for refusal in check_eligibility(read_header(content)).refusals]


def code(scheme: str, value: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "builder"
    return [item]


CHESTS = [
    *(
        "BRUST",
        "TORACE",
        "TÓRAX",
        "Torax",
        "胸部",
        "POUMON",
        "LUNGE",
        "KLATKA PIERSIOWA",
        "RIBCAGE",
    ),
    *("CHESTPA", "W_CHEST", "Thorax p.a.", "CHEST, PA", "PORT CHEST", "CHEST 2 VIEWS", "Rib Cage"),
    *("ГРУДНАЯ КЛЕТКА", "лёгкие", "ЛЕГКИЕ", "Гръден кош", "ΘΩΡΑΚΑΣ", "θώρακας", "الصدر", "GÖĞÜS"),
    *(
        "göğüs",
        "Akciğer grafisi",
        "胸部正位",
        "胸部P→A",
        "胸片",
        "双肺",
        "흉부",
        "흉부 PA",
        "ＣＨＥＳＴ",
    ),
    *(
        "hrudník",
        "HRUDNIK",
        "prsni koš",
        "pluća",
        "mellkas",
        "rintakehä",
        "bröstkorg",
        "brystkasse",
    ),
    *("krūtinės ląsta", "krūškurvis", "rindkere", "borstkas", "toraċi", "cliabhrach", "piept"),
    *("RADIOGRAFIA DE TORAX", "THORAX DE FACE", "Thorax-Übersicht", "klatka-piersiowa/AP"),
]


@pytest.mark.parametrize("value", CHESTS)
def test_a_chest_in_any_language_is_eligible(value) -> None:
    assert refusals(body_part=value) == []


OTHERS = [
    *("KNEE", "CHEST ABDOMEN", "CHEST LATERAL", "THORACIC SPINE", "胸椎", "Brustwirbelsäule"),
    *(
        "BRUSTBEIN",
        "흉추",
        "胸腹部",
        "CHESTLAT",
        "胸部側面",
        "thorax profil",
        "klatka piersiowa bok",
    ),
    *("DOE^JANE", "LAPA", "CHESTERTON", "THORAXOWA", "胸田", "PA", "1", "_", "CHEST" * 20),
]


@pytest.mark.parametrize("value", OTHERS)
def test_another_part_or_an_unknown_word_is_refused(value) -> None:
    assert refusals(body_part=value) == ["BODY_PART_NOT_CHEST"]


@pytest.mark.parametrize(
    "value",
    [
        *("P/A", "P.A.", "p. a.", "pa", "ANTERO-POSTERIOR", "Posterior/Anterior", "Thorax p.a."),
        *("de face", "FACE", "Postéro-antérieur", "przednio-tylna", "předozadní", "正位", "後前位"),
        *("正面", "정면", "прямая проекция", "AP SUPINE", "FRONTAL", "أمامي خلفي", "ön-arka"),
    ],
)
def test_a_frontal_view_in_any_language_is_eligible(value) -> None:
    assert refusals(view_position=value) == []


@pytest.mark.parametrize(
    "value",
    [
        *("LL", "LATERAL", "seitlich", "de profil", "boczna", "侧位", "側面", "측면", "боковая"),
        *("LORDOTIC AP", "AP OBLIQUE", "perfil", "CHEST", "JANE", "P", "A", "AP LINKS"),
    ],
)
def test_another_view_is_refused(value) -> None:
    assert refusals(view_position=value) == ["VIEW_NOT_FRONTAL"]


@pytest.mark.parametrize(
    ("term", "encoding", "value"),
    [
        (None, "iso8859-1", "TÓRAX"),
        ("ISO_IR 100", "iso8859-1", "TÓRAX"),
        ("ISO_IR 100", "utf-8", "TÓRAX"),
        ("ISO_IR 192", "utf-8", "胸部"),
        ("GB18030", "gb18030", "胸部正位"),
        ("ISO_IR 144", "iso8859-5", "Грудная клетка"),
        ("ISO_IR 126", "iso8859-7", "Θώρακας"),
        ("ISO_IR 127", "iso8859-6", "الصدر"),
        ("ISO_IR 148", "iso8859-9", "GÖĞÜS"),
        (["", "ISO 2022 IR 87"], "iso2022_jp", "胸部"),
        (["", "ISO 2022 IR 87"], "iso2022_jp", "胸部 AP"),
    ],
)
def test_a_word_in_the_character_set_of_its_data_set_is_read(term, encoding, value) -> None:
    assert refusals(body_part=value, encoding=encoding, SpecificCharacterSet=term) == []


@pytest.mark.parametrize("term", ["ISO_IR 192", "GB18030", "NONSENSE", ["", "ISO 2022 IR 149"]])
def test_bytes_of_no_character_set_are_described(term) -> None:
    found = refusals(body_part="\xff\xfe\x80", encoding="iso8859-1", SpecificCharacterSet=term)
    assert found == ["BODY_PART_NOT_CHEST"]


def test_values_are_quoted_as_they_are_written_and_unknown_ones_described() -> None:
    assert lexicon.phrase(" klatka  piersiowa ") == "KLATKA PIERSIOWA"
    assert lexicon.phrase("Brustbein") == "BRUSTBEIN"
    assert lexicon.phrase("Müller, Hans") == UNKNOWN.format(12)
    assert lexicon.phrase("chest Hans") == UNKNOWN.format(10)
    assert lexicon.phrase("  ") is None


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"AnatomicRegionSequence": code("SCT", "51185008")}, []),
        ({"ProcedureCodeSequence": code("SCT", "399208008")}, []),
        ({"ProcedureCodeSequence": code("LN", "36643-5")}, []),
        ({"ProcedureCodeSequence": code("C4", "71046")}, []),
        ({"ProcedureCodeSequence": code("99LOCAL", "71046")}, ["BODY_PART_NOT_CHEST"]),
        (
            {"ProcedureCodeSequence": code("C4", "71046") + code("C4", "73560")},
            ["BODY_PART_NOT_CHEST"],
        ),
        (
            {
                "AnatomicRegionSequence": code("SCT", "72696002"),
                "ProcedureCodeSequence": code("C4", "71046"),
            },
            ["BODY_PART_NOT_CHEST", "ANATOMIC_REGION_NOT_CHEST"],
        ),
    ],
)
def test_a_code_decides_where_the_word_is_unknown(elements, expected) -> None:
    assert refusals(body_part="STD PROG 7", **elements) == expected


def test_a_code_does_not_outvote_a_word_that_is_known() -> None:
    region = code("SCT", "51185008")
    assert refusals(body_part="KNEE", AnatomicRegionSequence=region) == ["BODY_PART_NOT_CHEST"]
    view = code("SCT", "399348003")
    assert refusals(view_position="LL", ViewCodeSequence=view) == ["VIEW_NOT_FRONTAL"]
    assert refusals(view_position="STD 7", ViewCodeSequence=view) == []


def test_a_site_adds_words_and_changes_ours(site) -> None:
    path = site(
        'chest = ["STD PROG 7", "Ж-1"]\nother_body_part = ["RIBCAGE"]\n[frontal]\nx = ["DV"]'
    )
    assert refusals(body_part="std-prog 7", view_position="d.v.") == []
    assert refusals(body_part="ж1") == []
    assert refusals(body_part="RIBCAGE") == ["BODY_PART_NOT_CHEST"]
    assert refusals(body_part="CHEST") == []

    path.write_text('chest = ["THIRD"]', encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert refusals(body_part="THIRD") == []
    assert refusals(body_part="STD PROG 7") == ["BODY_PART_NOT_CHEST"]


def test_a_file_that_breaks_while_processes_run_leaves_our_words(site) -> None:
    path = site('chest = ["THX PRIVATE"]')
    assert refusals(body_part="THX PRIVATE") == []
    path.write_text("chest = ", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert refusals(body_part="CHEST") == []
    assert refusals(body_part="THX PRIVATE") == ["BODY_PART_NOT_CHEST"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("chest = ", "the file is not TOML"),
        ('lungs = ["x"]', "'lungs' is no meaning; expected chest, frontal"),
        ('chest = "BRUST"', "chest is no list of words"),
        ("chest = [7]", "word 1 of a list in chest is none"),
        ('chest = ["CHEST", "--"]', "word 2 of a list in chest is none"),
        (
            f'frontal = ["{"A" * 65}"]',
            "word 1 of a list in frontal is none; expected text of 1 to 64",
        ),
    ],
)
def test_a_wrong_file_is_told_at_the_start(site, content, words) -> None:
    site(content)
    with pytest.raises(Rejected, match=f"PNEUMO_VOCABULARY: {words}") as refusal:
        read_settings()
    assert refusal.value.code == "SETTINGS_INVALID"


def test_a_file_that_is_missing_is_told_at_the_start(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PNEUMO_VOCABULARY", str(tmp_path / "none.toml"))
    with pytest.raises(Rejected, match="PNEUMO_VOCABULARY: the file cannot be read"):
        read_settings()


def test_an_empty_setting_is_none(monkeypatch) -> None:
    monkeypatch.setenv("PNEUMO_VOCABULARY", "")
    assert read_settings().vocabulary is None


def test_no_word_of_ours_means_two_things() -> None:
    meanings: dict[str, set[Meaning]] = {}
    for meaning, words in read_vocabulary_file(OUR_FILE).items():
        for word in words:
            key = "".join(part for part in lexicon.fold(word) if part.isalnum())
            meanings.setdefault(key, set()).add(meaning)
    assert {word for word, found in meanings.items() if len(found) > 1} == set()


def test_every_word_of_ours_is_read_as_what_its_table_says() -> None:
    for meaning, words in read_vocabulary_file(OUR_FILE).items():
        for word in words:
            for written in (word, word.upper(), word.casefold(), word.replace(" ", "-")):
                assert lexicon.lexicon().read(written) == (meaning,), written


@given(st.text(max_size=80))
def test_any_text_is_known_or_described_and_never_quoted_otherwise(value) -> None:
    shown = lexicon.phrase(value)
    if shown is not None and not lexicon.is_known(shown):
        assert shown.startswith("a value of ")
        assert not lexicon.says_chest(shown)
        assert not lexicon.says_frontal(shown)
