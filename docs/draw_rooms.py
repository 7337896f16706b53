"""Draw the rooms of the house from its imports: `make picture` writes docs/rooms.svg.

Rows are the layers that pyproject.toml holds the code to: a room imports from rows below its own,
never from rows above. Arrows are the imports that no longer path already implies; small print under a
room says which rooms of `db` (or of `worker`) it uses. tests/unit/test_architecture.py draws it anew and
compares, so the picture cannot differ from the code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
PACKAGES = ("worker", "db", "training")

GROUND = {"db.engine", "db.values", "db.vocabulary"}
"""What nearly every room uses, so that saying it of each would say nothing."""

BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 170, 52, 90, 30, 24
INK, PAPER, LINE, SMALL = "#1d2733", "#ffffff", "#8fa3b8", "#4d6072"
FILL = {"worker": "#e4eef8", "db": "#e6f3e8", "training": "#fbf0dd"}


@dataclass(frozen=True, kw_only=True)
class Room:
    """One box of the picture: a package or module directly below a top-level package."""

    name: str
    """Dotted, e.g. `worker.intake`."""
    modules: int
    """How many modules it has; 1 for a loose one."""
    uses: tuple[str, ...]
    """Rooms of other packages that it imports, e.g. `db.studies`."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One panel of the picture."""

    name: str
    rows: tuple[tuple[Room, ...], ...]
    """From the highest layer to the lowest; the loose modules at the ground stand apart."""
    base: tuple[Room, ...]
    """Loose modules that every room may import; they get one box and no arrows."""
    arrows: tuple[tuple[str, str], ...]
    """Importing room, imported room; what follows from other arrows is left out."""


def draw() -> str:
    """Return the picture as SVG text; the same code gives the same bytes."""
    graph = grimp.build_graph(*PACKAGES)
    edges = room_edges(graph)
    packages = [package_of(name, graph, edges) for name in PACKAGES]
    return render(packages)


def room_edges(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """Return every import between two different rooms as (importer, imported)."""
    return {
        (room_of(importer), room_of(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if room_of(importer) != room_of(imported)
    }


def room_of(module: str) -> str:
    """Return the room of a module: the first two parts of its name."""
    return ".".join(module.split(".")[:2])


def package_of(name: str, graph: grimp.ImportGraph, edges: set[tuple[str, str]]) -> Package:
    """Return the rooms of one package by layer, with the arrows between them."""
    rows = tuple(
        tuple(room(f"{name}.{word}", graph, edges) for word in row) for row in layers_of(name)
    )
    height = len(rows)
    while height and all(item.modules == 1 for item in rows[height - 1]):
        height -= 1
    base = tuple(item for row in rows[height:] for item in row)
    loose = {item.name for item in base}
    inside = {
        (a, b)
        for a, b in edges
        if a.startswith(f"{name}.") and b.startswith(f"{name}.") and not {a, b} & loose
    }
    arrows = tuple(sorted(reduced(inside)))
    return Package(name=name, rows=rows[:height], base=base, arrows=arrows)


def layers_of(package: str) -> list[list[str]]:
    """Return the layers that the contract of `package` names, highest first."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in pyproject["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == [package]:
            return [
                [word.strip() for word in layer.replace(":", "|").split("|")]
                for layer in contract["layers"]
            ]
    raise LookupError(f"No layers contract names {package} as its container.")


def room(name: str, graph: grimp.ImportGraph, edges: Iterable[tuple[str, str]]) -> Room:
    """Return one room with its size and what it uses of other packages."""
    package = name.split(".", maxsplit=1)[0]
    modules = [m for m in graph.modules if m == name or m.startswith(f"{name}.")]
    uses = {
        b for a, b in edges if a == name and not b.startswith(f"{package}.") and b not in GROUND
    }
    return Room(name=name, modules=max(1, len(modules) - 1), uses=tuple(sorted(uses)))


def reduced(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges that no longer path implies (the transitive reduction of a graph without circles)."""
    below: dict[str, set[str]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)
    reach = {a: _reachable(a, below) for a in below}
    return {(a, b) for a, b in edges if not any(b in reach.get(c, ()) for c in below[a] if c != b)}


def _reachable(start: str, below: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [*below.get(start, ())]
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting += below.get(here, ())
    return seen


def render(packages: Sequence[Package]) -> str:
    """Return `worker` on the left, the other packages below each other on its right."""
    first, *others = packages
    right = MARGIN + _width(first) + 3 * MARGIN
    parts, height = _panel(first, MARGIN, 0)
    top = 0.0
    for package in others:
        panel, top = _panel(package, right, top)
        parts += panel
    height = max(height, top)
    width = right + max(_width(package) for package in others) + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        f'font-family="Helvetica, Arial, sans-serif" fill="{INK}">'
    )
    marker = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker></defs>'
    )
    ground = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
    return "\n".join([head, marker, ground, *parts, "</svg>"]) + "\n"


def _width(package: Package) -> int:
    return max(len(row) for row in package.rows) * (BOX_W + GAP_X) - GAP_X


def _panel(package: Package, left: float, top: float) -> tuple[list[str], float]:
    """Return what is drawn of one package, and where the next one may begin."""
    places: dict[str, tuple[float, float]] = {}
    boxes: list[str] = []
    width, y = _width(package), top + MARGIN * 2.5
    for row in package.rows:
        x = left + (width - len(row) * (BOX_W + GAP_X) + GAP_X) / 2
        for item in row:
            places[item.name] = (x, y)
            boxes += _box(item, x, y, FILL[package.name])
            x += BOX_W + GAP_X
        y += BOX_H + GAP_Y
    if package.base:
        boxes += _base_box(package, left, y, width)
        y += BOX_H + GAP_Y
    title = f'<text x="{left}" y="{top + MARGIN * 1.5}" font-size="22" font-weight="bold">{package.name}/</text>'
    arrows = [_arrow(places[a], places[b]) for a, b in package.arrows]
    return [title, *arrows, *boxes], y


def _box(item: Room, x: float, y: float, fill: str) -> list[str]:
    name = item.name.split(".")[1]
    is_package = (ROOT / item.name.replace(".", "/")).is_dir()
    count = f" ({item.modules})" if is_package else ".py"
    box = (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX_W}" height="{BOX_H}" rx="7" fill="{fill}" '
        f'stroke="{LINE}"/>'
        f'<text x="{x + BOX_W / 2:.0f}" y="{y + 19:.0f}" font-size="14" text-anchor="middle" '
        f'font-weight="bold">{escape(name)}<tspan font-weight="normal" fill="{SMALL}">{count}'
        "</tspan></text>"
    )
    lines = [box]
    for number, words in enumerate(_wrapped(item.uses)):
        lines.append(
            f'<text x="{x + BOX_W / 2:.0f}" y="{y + 35 + number * 12:.0f}" font-size="9.5" '
            f'text-anchor="middle" fill="{SMALL}">{escape(words)}</text>'
        )
    return lines


def _base_box(package: Package, left: float, y: float, width: float) -> list[str]:
    words = ", ".join(item.name.split(".")[1] for item in package.base)
    box = (
        f'<rect x="{left:.0f}" y="{y:.0f}" width="{width}" height="{BOX_H}" rx="7" '
        f'fill="{PAPER}" stroke="{LINE}" stroke-dasharray="4 3"/>'
        f'<text x="{left + width / 2:.0f}" y="{y + 22:.0f}" font-size="13" '
        'text-anchor="middle" font-weight="bold">base, for every room</text>'
        f'<text x="{left + width / 2:.0f}" y="{y + 42:.0f}" font-size="10.5" '
        f'text-anchor="middle" fill="{SMALL}">{escape(words)}</text>'
    )
    return [box]


def _wrapped(uses: Sequence[str], *, width: int = 31) -> list[str]:
    """Return what a room uses of other packages, in at most two lines."""
    if not uses:
        return []
    package = uses[0].split(".")[0]
    lines, line = [], f"{package}:"
    for use in uses:
        word = use.split(".")[1]
        if len(line) + len(word) + 1 > width:
            lines.append(line)
            line = ""
        line += f" {word}"
    return [text.strip() for text in [*lines, line]][:2]


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + BOX_W / 2, start[1] + BOX_H
    x2, y2 = end[0] + BOX_W / 2, end[1] - 2
    bend = max(18.0, (y2 - y1) / 2)
    return (
        f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} '
        f'{x2:.0f} {y2:.0f}" fill="none" stroke="{LINE}" stroke-width="1.2" '
        'marker-end="url(#arrow)"/>'
    )


def circles(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return pairs of rooms that import each other, directly or through others; empty in order."""
    below: dict[str, set[str]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)
    reach = {a: _reachable(a, below) for a in below}
    return sorted(
        (a, b) for a, b in product(reach, reach) if a < b and b in reach[a] and a in reach[b]
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} drawn.")
