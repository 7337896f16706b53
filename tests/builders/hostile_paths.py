"""Things that bear a file's name and are none: what a careless or hostile writer puts into a folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path


def fifo(path: Path) -> None:
    """A FIFO: opening it for reading blocks until somebody writes."""
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """A socket, bound from inside its folder since such addresses are short."""
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


def link_to_device(path: Path) -> None:
    """A link to a file without end."""
    path.symlink_to("/dev/zero")


def link_to_folder(path: Path) -> None:
    """A link to a folder elsewhere."""
    path.symlink_to("/etc")


def link_to_file(path: Path) -> None:
    """A link to a file elsewhere, which this user may read."""
    path.symlink_to("/etc/passwd")


def broken_link(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to(path.parent / "nowhere")


def huge_sparse_file(path: Path) -> None:
    """A file of 4 TiB that takes no room."""
    with path.open("wb") as file:
        file.truncate(4 * 1024**4)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a FIFO": (fifo, "NOT_A_REGULAR_FILE"),
    "a socket": (unix_socket, "NOT_A_REGULAR_FILE"),
    "a link to a device": (link_to_device, "LINK_REFUSED"),
    "a link to a folder": (link_to_folder, "LINK_REFUSED"),
    "a link to a file": (link_to_file, "LINK_REFUSED"),
    "a broken link": (broken_link, "LINK_REFUSED"),
    "a huge sparse file": (huge_sparse_file, "FILE_TOO_LARGE"),
}
"""What it is: its builder, and the code of its refusal."""
