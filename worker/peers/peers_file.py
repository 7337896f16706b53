"""The file of peers: archives that we query and fetch from, and destinations of results.

One TOML file (`PNEUMO_PEERS`), a table each:

    [archive]
    ae_title = "ORTHANC"
    host = "pacs.example"
    port = 4242
    retrieve = "c-get"
    results = "c-store"

`search`, `count`, `retrieve` and `results` say what a peer does for us; it gets no other requests.
Secrets are in separate files, which are named here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.ae_titles import AETitle
from worker.errors import Rejected

PeerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""The name of a peer in commands, rows and logs, which never show its address."""


class ResultObjectKind(StrEnum):
    """One kind of object that a result consists of."""

    SR = "sr"
    """The structured report (Comprehensive 3D SR)."""
    CAPTURE = "capture"
    """The pictures (Secondary Capture)."""


class Peer(BaseModel):
    """One system, and what it does for us."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PeerName

    # DIMSE (PS3.7)
    ae_title: AETitle | None = None
    """Its AE title."""
    host: str | None = Field(None, min_length=1)
    port: int | None = Field(None, ge=1, le=65535)
    tls: bool = False
    """Use DICOM TLS (PS3.15 B.9): we verify its certificate and show ours, if we have one."""

    # DICOMweb (PS3.18)
    dicomweb: str | None = Field(None, pattern=r"^https?://[^/@\s]+(/\S*)?$")
    """Base URL of its services, without name or password."""
    token_file: Path | None = None
    """Holds a bearer token; read at each use, so that it can be renewed."""

    # Certificates, for both
    authorities: Path | None = None
    """PEM of authorities that may sign its certificate; else PNEUMO_TLS_AUTHORITIES, else the system's."""
    certificate: Path | None = None
    """PEM that we show it; else PNEUMO_TLS_CERTIFICATE."""
    key: Path | None = None
    """PEM of our private key; else PNEUMO_TLS_KEY."""

    # What it does for us
    search: Literal["c-find", "qido-rs"] | None = None
    """Lists its studies (`pneumo backfill`, `pneumo coverage`)."""
    search_limit: int | None = Field(None, ge=1)
    """How many studies it lists at most; without it, round numbers are taken for a limit."""
    count: Literal["c-find", "qido-rs"] | None = None
    """Reports how many instances a study has, which closes the study without an idle window."""
    retrieve: Literal["c-get", "c-move", "wado-rs"] | None = None
    """Sends us the images of a study that we name."""
    results: Literal["c-store", "stow-rs"] | None = None
    """Receives the results."""
    result_objects: tuple[ResultObjectKind, ...] = (ResultObjectKind.SR, ResultObjectKind.CAPTURE)
    """Which objects of a result it receives."""
    storage_commitment: bool = False
    """We request that it confirms that it keeps the results (PS3.4 annex J)."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for breaks, sentence in _RULES:
            if breaks(self):
                raise ValueError(sentence)
        return self

    def roles(self) -> set[str]:
        """Return all that it does for us."""
        return {way for way in (self.search, self.count, self.retrieve, self.results) if way}


_BY_DIMSE = {"c-find", "c-get", "c-move", "c-store"}
_BY_WEB = {"qido-rs", "wado-rs", "stow-rs"}
_RULES: tuple[tuple[Callable[[Peer], bool], str], ...] = (
    *(
        (
            lambda peer, way=way: (
                way in peer.roles() and not (peer.ae_title and peer.host and peer.port)
            ),
            f"{way} needs ae_title, host and port",
        )
        for way in sorted(_BY_DIMSE)
    ),
    *(
        (
            lambda peer, way=way: way in peer.roles() and not peer.dicomweb,
            f"{way} needs dicomweb, the base URL",
        )
        for way in sorted(_BY_WEB)
    ),
    (
        lambda peer: bool(peer.search_limit) and not peer.search,
        "search_limit needs search",
    ),
    (
        lambda peer: peer.storage_commitment and peer.results != "c-store",
        'storage_commitment needs results = "c-store"',
    ),
    (
        lambda peer: "result_objects" in peer.model_fields_set and not peer.results,
        'result_objects needs results = "c-store" or "stow-rs"',
    ),
    (
        lambda peer: (
            len(set(peer.result_objects)) != len(peer.result_objects) or not peer.result_objects
        ),
        'result_objects names each of "sr" and "capture" once at most, and one of them at least',
    ),
    (
        lambda peer: bool(peer.certificate) != bool(peer.key),
        "certificate and key go together",
    ),
    (
        lambda peer: bool(peer.token_file) and (peer.dicomweb or "").startswith("http://"),
        "a bearer token must not travel without TLS; dicomweb must be https",
    ),
)
"""Contradictions, each with the sentence that reports it."""


class Peers(tuple[Peer, ...]):
    """All peers in the order of the file."""

    __slots__ = ()

    def named(self, name: str) -> Peer:
        """Return the peer with this name. Raises Rejected PEER_UNKNOWN."""
        for peer in self:
            if peer.name == name:
                return peer
        known = ", ".join(peer.name for peer in self) or "none"
        raise Rejected(
            "PEER_UNKNOWN",
            f"No system has the name {name!r}; the file that PNEUMO_PEERS names has: {known}. Use "
            "one of these, or add the system to the file.",
        )

    def with_role(self, does: Literal["search", "count", "retrieve", "results"]) -> Peers:
        """Return the peers that do this for us."""
        return Peers(peer for peer in self if getattr(peer, does))

    def single_with_role(
        self, does: Literal["search", "count", "retrieve", "results"], name: str | None = None
    ) -> Peer:
        """Return the peer called `name`, or without a name the only one that does this.

        Raises Rejected PEER_UNKNOWN, PEER_CANNOT, PEER_AMBIGUOUS.
        """
        if name is not None:
            peer = self.named(name)
            if not getattr(peer, does):
                raise Rejected(
                    "PEER_CANNOT",
                    f"{name} has no `{does}` in the file that PNEUMO_PEERS names. Add it, or name "
                    "another system.",
                )
            return peer
        able = self.with_role(does)
        if not able:
            raise Rejected(
                "PEER_CANNOT",
                f"No system in the file that PNEUMO_PEERS names has `{does}`. Add one "
                "(docs/hospital.md).",
            )
        if len(able) > 1:
            names = ", ".join(peer.name for peer in able)
            raise Rejected("PEER_AMBIGUOUS", f"Several systems could be meant: {names}. Name one.")
        return able[0]


def read_peers(path: Path | None) -> Peers:
    """Read the peers of a file; none without a file.

    Relative paths in it start from the folder of the file.

    Raises:
        Rejected: PEERS_INVALID, which names the peer and the key.
    """
    if path is None:
        return Peers()
    return Peers(_peers(path))


def authorization(peer: Peer) -> dict[str, str]:
    """Return the HTTP header with its bearer token, read at each use, so that it can be renewed.

    Raises Rejected TOKEN_FILE_UNREADABLE.
    """
    if peer.token_file is None:
        return {}
    try:
        token = peer.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token or any(not sign.isprintable() for sign in token):
        raise Rejected(
            "TOKEN_FILE_UNREADABLE",
            f"The token_file of {peer.name} holds no bearer token that this process can read; "
            "expected one line of ASCII. Correct the file or its permissions.",
        )
    return {"Authorization": f"Bearer {token}"}


def _peers(path: Path) -> Iterator[Peer]:
    for name, values in _tables(path).items():
        if not isinstance(values, dict):
            raise _invalid(f"{name} is outside of a table. Begin with [name-of-the-system].")
        try:
            peer = Peer(name=name, **values)
        except ValidationError as error:
            raise _invalid("; ".join(_sentences(name, error))) from None
        yield peer.model_copy(update=_from(path.parent, peer))


def _tables(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(f"it cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise _invalid(f"it is not TOML: {error}.") from None


def _from(folder: Path, peer: Peer) -> dict[str, Path]:
    files = ("token_file", "authorities", "certificate", "key")
    return {word: folder / path for word in files if (path := getattr(peer, word)) is not None}


def _sentences(name: str, error: ValidationError) -> Iterator[str]:
    """Yield a sentence for each wrong value, without the value: it may hold a password."""
    for item in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in (name, *item["loc"]))
        yield f"{where}: {item['msg'].removeprefix('Value error, ')}"


def _invalid(why: str) -> Rejected:
    return Rejected(
        "PEERS_INVALID", f"The file that PNEUMO_PEERS names cannot be used: {why.rstrip('.')}."
    )
