"""Display Shutter (PS3.3 C.7.6.11): what it covers, what is shown there, and what it keeps out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tests.builders.dicom import chest_like_pixels, make_instance
from worker.imaging.pixels import NormalisedFrame, normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.refusals import RefusedInstance

SPEC = PreprocessingSpec(stretch_percentiles=(0.0, 100.0))
thorough = settings(deadline=None, max_examples=60)

RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 2,
    "ShutterRightVerticalEdge": 4,
    "ShutterUpperHorizontalEdge": 2,
    "ShutterLowerHorizontalEdge": 3,
}
CIRCLE = {
    "ShutterShape": "CIRCULAR",
    "CenterOfCircularShutter": [3, 4],
    "RadiusOfCircularShutter": 2,
}
POLYGON = {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1, 5, 5, 1]}


def drawn(*rows: str) -> np.ndarray:
    """bool: where a character is "#"."""
    return np.array([[character == "#" for character in row] for row in rows])


def picture(rows: int = 5, columns: int = 6) -> np.ndarray:
    """Stored values 100, 101, … in reading order, so that every pixel is told apart."""
    return 100 + np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns)


def read(**header: Any) -> NormalisedFrame:
    pixels = header.pop("pixels", picture())
    return normalise_frame(make_instance(pixels=pixels, **header), SPEC)


SHOWN = {
    # name: header, the pixels inside as a person draws them on squared paper
    "a rectangle shows its edges": (
        RECTANGLE,
        ("......", ".###..", ".###..", "......", "......"),
    ),
    "a circle is centred at row and column": (
        CIRCLE,
        ("...#..", "..###.", ".#####", "..###.", "...#.."),
    ),
    "a polygon shows its outline": (
        POLYGON,
        ("#####.", "####..", "###...", "##....", "#....."),
    ),
    "a polygon with an inlet": (
        {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [1, 1, 3, 3, 1, 5, 5, 5, 5, 1],
        },
        ("#...#.", "##.##.", "#####.", "#####.", "#####."),
    ),
    "several shapes show what lies in all": (
        {**CIRCLE, **RECTANGLE, "ShutterShape": ["RECTANGULAR", "CIRCULAR"]},
        ("......", "..##..", ".###..", "......", "......"),
    ),
    "all three shapes": (
        {
            **CIRCLE,
            **RECTANGLE,
            **POLYGON,
            "ShutterShape": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        },
        ("......", "..##..", ".##...", "......", "......"),
    ),
    "edges beyond the picture cover nothing on their side": (
        {**RECTANGLE, "ShutterLeftVerticalEdge": -3, "ShutterLowerHorizontalEdge": 99},
        ("......", "####..", "####..", "####..", "####.."),
    ),
    "a circle beyond the picture": (
        {**CIRCLE, "CenterOfCircularShutter": [-1, 0], "RadiusOfCircularShutter": 3},
        ("##....", "......", "......", "......", "......"),
    ),
    "a polygon beyond the picture": (
        {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [-10, -10, -10, 3, 20, 3, 20, -10],
        },
        ("###...",) * 5,
    ),
}


@pytest.mark.parametrize(("header", "rows"), SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("value", [0, 13_107, 65_535])
def test_outside_its_shapes_the_presentation_value_is_shown(header, rows, value) -> None:
    inside = drawn(*rows)
    frame = read(**header, ShutterPresentationValue=value, window=(115, 1000))
    # C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5)
    expected = np.where(inside, (picture() - 114.5) / 999 + 0.5, value / 65_535)
    np.testing.assert_allclose(frame.pixels, expected, atol=1e-6)
    assert frame.record.shutter_covered_pixels == (~inside).sum()
    assert frame.record.shutter_presentation_value == value


def test_without_a_presentation_value_the_outside_is_black() -> None:
    assert read(**RECTANGLE).pixels[0, 0] == 0


def test_what_is_covered_takes_no_part_in_extremes_and_stretch() -> None:
    pixels = np.full((5, 6), 4095, dtype=np.uint16)
    pixels[1:3, 1:4] = [[10, 20, 30], [40, 50, 60]]
    frame = read(pixels=pixels, **RECTANGLE)
    assert (frame.record.stored_min, frame.record.stored_max) == (10, 60)
    assert (frame.record.stretch_low, frame.record.stretch_high) == (10, 60)
    np.testing.assert_allclose(frame.pixels[1:3, 1:4], [[0, 0.2, 0.4], [0.6, 0.8, 1]], atol=1e-6)


def test_percentiles_are_those_of_the_inside() -> None:
    inside = chest_like_pixels(40, 40)
    framed = np.pad(inside, ((300, 300), (400, 100)), constant_values=4095)
    shutter = {
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 401,
        "ShutterRightVerticalEdge": 440,
        "ShutterUpperHorizontalEdge": 301,
        "ShutterLowerHorizontalEdge": 340,
    }
    alone, found = (
        normalise_frame(dataset, PreprocessingSpec())
        for dataset in (make_instance(pixels=inside), make_instance(pixels=framed, **shutter))
    )
    np.testing.assert_array_equal(found.pixels[300:340, 400:440], alone.pixels)


def test_the_presentation_value_is_a_p_value_and_not_turned_over() -> None:
    frame = read(photometric="MONOCHROME1", **RECTANGLE, ShutterPresentationValue=65_535)
    assert frame.record.inverted
    assert frame.pixels[0, 0] == 1
    assert frame.pixels[1, 1] == 1  # the least stored value of the inside
    assert frame.pixels[2, 3] == 0


def test_a_shutter_is_that_of_the_stored_picture_which_is_turned_afterwards() -> None:
    frame = read(**RECTANGLE, PatientOrientation=["R", "F"], ShutterPresentationValue=65_535)
    assert frame.record.reorientation == "mirrored"
    covered = ~drawn("......", "..###.", "..###.", "......", "......")
    np.testing.assert_array_equal(frame.pixels[covered], 1)
    np.testing.assert_allclose(frame.pixels[1, 2:5], [2 / 8, 1 / 8, 0])  # 107 to 115, mirrored


def test_padding_inside_stays_black_and_padding_outside_is_covered() -> None:
    pixels = picture()
    pixels[0, 0] = pixels[1, 1] = 0
    frame = read(pixels=pixels, padding_value=0, **RECTANGLE, ShutterPresentationValue=65_535)
    assert (frame.pixels[0, 0], frame.pixels[1, 1]) == (1, 0)
    assert frame.record.stored_min == 108


def test_the_record_has_shape_numbers_value_and_count() -> None:
    header = {**CIRCLE, **RECTANGLE, "ShutterShape": ["CIRCULAR", "RECTANGULAR"]}
    record = read(**header, ShutterPresentationValue=7).record
    assert record.shutter_shape == "CIRCULAR\\RECTANGULAR"
    assert record.shutter_geometry == "3\\4\\2\\2\\4\\2\\3"
    assert (record.shutter_presentation_value, record.shutter_covered_pixels) == (7, 25)
    assert record.shutter_passed_over is None


PASSED_OVER = {
    "elements without a shape": (
        {**RECTANGLE, "ShutterShape": None},
        "elements of a shutter without Shutter Shape",
    ),
    "an empty shape": (
        {**CIRCLE, "ShutterShape": ""},
        "elements of a shutter without Shutter Shape",
    ),
    "a shape without elements": (
        {"ShutterShape": "RECTANGULAR"},
        "RECTANGULAR without any of its elements",
    ),
}


@pytest.mark.parametrize(("header", "words"), PASSED_OVER.values(), ids=PASSED_OVER.keys())
def test_what_names_no_area_is_passed_over_and_recorded(header, words) -> None:
    frame = read(**header)
    np.testing.assert_array_equal(frame.pixels, read().pixels)
    assert frame.record.shutter_passed_over == words
    assert frame.record.shutter_shape is None
    assert frame.record.shutter_covered_pixels is None


def test_a_shape_without_elements_leaves_the_other_in_force() -> None:
    record = read(**{**RECTANGLE, "ShutterShape": ["CIRCULAR", "RECTANGULAR"]}).record
    assert record.shutter_shape == "RECTANGULAR"
    assert record.shutter_passed_over == "CIRCULAR without any of its elements"


INVALID = {
    "another term": ({"ShutterShape": "OVAL"}, r"\(0018,1600\) Shutter Shape: found another term"),
    "a bitmap": ({"ShutterShape": "BITMAP"}, r"found a bitmap shutter"),
    "an edge missing": (
        {**RECTANGLE, "ShutterRightVerticalEdge": None},
        r"\(0018,1604\) Shutter Right Vertical Edge: found no value",
    ),
    "edges the wrong way round": (
        {**RECTANGLE, "ShutterLeftVerticalEdge": 5},
        r"found a shutter that covers every pixel",
    ),
    "all edges 0": (
        {k: v if k == "ShutterShape" else 0 for k, v in RECTANGLE.items()},
        r"found a shutter that covers every pixel",
    ),
    "a circle without radius": (
        {**CIRCLE, "RadiusOfCircularShutter": None},
        r"\(0018,1612\) Radius of Circular Shutter: found no value",
    ),
    "a radius of 0": (
        {**CIRCLE, "RadiusOfCircularShutter": 0},
        r"found 0; expected a radius of 1 or more",
    ),
    "a centre of one value": (
        {**CIRCLE, "CenterOfCircularShutter": 3},
        r"\(0018,1610\) Center of Circular Shutter: found a value that is not this; expected 2 whole",
    ),
    "a polygon of two vertices": (
        {**POLYGON, "VerticesOfThePolygonalShutter": [1, 1, 5, 5]},
        r"\(0018,1620\) Vertices of the Polygonal Shutter: found 4 values",
    ),
    "half a vertex": (
        {**POLYGON, "VerticesOfThePolygonalShutter": [1, 1, 5, 5, 1, 5, 3]},
        r"found 7 values; expected rows and columns of 3 to 1024 vertices",
    ),
    "more vertices than an outline has": (
        {**POLYGON, "VerticesOfThePolygonalShutter": [1, 1] * 1025},
        r"found 2050 values",
    ),
    "a coordinate beyond all bounds": (
        {**RECTANGLE, "ShutterRightVerticalEdge": 2_000_000},
        r"expected 1 whole number\(s\) within 1000000 of 0",
    ),
    "several presentation values": (
        {**RECTANGLE, "ShutterPresentationValue": [1, 2]},
        r"\(0018,1622\) Shutter Presentation Value.*one whole number from 0 to 65535",
    ),
}


@pytest.mark.parametrize(("header", "words"), INVALID.values(), ids=INVALID.keys())
def test_a_shutter_that_cannot_be_read_is_refused(header, words) -> None:
    with pytest.raises(RefusedInstance, match=words) as refusal:
        read(**header)
    assert refusal.value.code == "SHUTTER_INVALID"


@pytest.mark.parametrize("written", ["2.5", "two", "1,5"])
def test_an_edge_that_is_no_whole_number_is_refused(written) -> None:
    dataset = make_instance(pixels=picture(), **RECTANGLE)
    del dataset.ShutterLeftVerticalEdge
    dataset.add_new("ShutterLeftVerticalEdge", "LO", written)  # pydicom would not write such an IS
    with pytest.raises(RefusedInstance, match="Shutter Left Vertical Edge: found a value that is"):
        normalise_frame(dataset, SPEC)


def test_an_inside_of_one_value_is_no_picture() -> None:
    pixels = picture()
    pixels[1:3, 1:4] = 500
    with pytest.raises(RefusedInstance, match="neither padding nor behind a shutter"):
        read(pixels=pixels, **RECTANGLE)


points = st.tuples(st.integers(-4, 16), st.integers(-4, 16))
shapes = st.one_of(
    st.builds(
        lambda low, high: {
            "ShutterShape": "RECTANGULAR",
            "ShutterLeftVerticalEdge": low[0],
            "ShutterRightVerticalEdge": high[0],
            "ShutterUpperHorizontalEdge": low[1],
            "ShutterLowerHorizontalEdge": high[1],
        },
        points,
        points,
    ),
    st.builds(
        lambda center, radius: {
            "ShutterShape": "CIRCULAR",
            "CenterOfCircularShutter": list(center),
            "RadiusOfCircularShutter": radius,
        },
        points,
        st.integers(1, 12),
    ),
    st.builds(
        lambda vertices: {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [value for vertex in vertices for value in vertex],
        },
        st.lists(points, min_size=3, max_size=7),
    ),
)


def lies_inside(header: dict[str, Any], row: int, column: int) -> bool:
    """Pixel by pixel, by the definitions alone."""
    if header["ShutterShape"] == "RECTANGULAR":
        left, right, upper, lower = list(header.values())[1:]
        return left <= column <= right and upper <= row <= lower
    if header["ShutterShape"] == "CIRCULAR":
        (center_row, center_column), radius = list(header.values())[1:]
        return (row - center_row) ** 2 + (column - center_column) ** 2 <= radius**2
    flat = header["VerticesOfThePolygonalShutter"]
    vertices = list(zip(flat[::2], flat[1::2], strict=True))
    odd = False
    for (y1, x1), (y2, x2) in zip(vertices, [*vertices[1:], vertices[0]], strict=True):
        turn = (x2 - x1) * (row - y1) - (y2 - y1) * (column - x1)
        on_edge = min(x1, x2) <= column <= max(x1, x2) and min(y1, y2) <= row <= max(y1, y2)
        if turn == 0 and on_edge:
            return True
        if (y1 > row) != (y2 > row):
            odd ^= (turn > 0) != (y2 > y1)
    return odd


@thorough
@given(header=shapes)
def test_any_shape_covers_what_its_definition_says(header) -> None:
    inside = np.array(
        [[lies_inside(header, row, column) for column in range(1, 13)] for row in range(1, 12)]
    )
    dataset = make_instance(pixels=picture(11, 12), window=(115, 1000), **header)
    if inside.sum() < 2:
        with pytest.raises(RefusedInstance) as refusal:
            normalise_frame(dataset, SPEC)
        assert refusal.value.code == ("CONSTANT_IMAGE" if inside.any() else "SHUTTER_INVALID")
        return
    dataset.ShutterPresentationValue = 65_535
    frame = normalise_frame(dataset, SPEC)
    np.testing.assert_array_equal(frame.pixels < 1, inside)


@thorough
@given(header=shapes, seed=st.integers(0, 20), noise=st.integers(0, 4095))
def test_nothing_behind_a_shutter_changes_what_is_before_it(header, seed, noise) -> None:
    inside = np.array(
        [[lies_inside(header, row, column) for column in range(1, 15)] for row in range(1, 17)]
    )
    pixels = chest_like_pixels(16, 14, seed=seed)
    if len(np.unique(pixels[inside])) < 2:
        return
    first, second = (
        normalise_frame(make_instance(pixels=shown, **header), SPEC)
        for shown in (pixels, np.where(inside, pixels, noise).astype(np.uint16))
    )
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.record == second.record


def test_a_shutter_that_covers_nothing_changes_no_bit() -> None:
    whole = {
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 1,
        "ShutterRightVerticalEdge": 144,
        "ShutterUpperHorizontalEdge": 1,
        "ShutterLowerHorizontalEdge": 160,
    }
    plain, found = (normalise_frame(make_instance(**header), SPEC) for header in ({}, whole))
    np.testing.assert_array_equal(found.pixels, plain.pixels)
    assert found.record.shutter_covered_pixels == 0


def test_without_a_shutter_the_record_names_none() -> None:
    record = normalise_frame(make_instance(), SPEC).record.to_dict()
    assert {v for k, v in record.items() if k.startswith("shutter")} == {None}


def test_an_instance_with_an_element_of_another_kind_is_refused() -> None:
    dataset = make_instance(**RECTANGLE)
    del dataset.ShutterShape
    dataset.add_new("ShutterShape", "SQ", [Dataset()])
    with pytest.raises(RefusedInstance) as refusal:
        normalise_frame(dataset, SPEC)
    assert refusal.value.code == "HEADER_UNREADABLE"
