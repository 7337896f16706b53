"""Find the files of a folder that a name in a table may mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from training.data.text import capitalised
from worker.errors import Rejected

ENDINGS = {".dcm", ".dicom", ".jpeg", ".jpg", ".png"}
"""What a table may leave out of a name."""


class FilesByName:
    """Looks names up by path within the set, by file name, and by file name without its ending."""

    def __init__(self, files: Iterable[str]) -> None:
        self._paths = frozenset(files)  # relative to the root, with slashes
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self._paths):
            name = PurePosixPath(path)
            self._by_name[name.name].append(path)
            if name.suffix.lower() in ENDINGS:
                self._by_name[name.stem].append(path)

    def __contains__(self, name: str) -> bool:
        return bool(self.candidates(name))

    def candidates(self, name: str) -> Sequence[str]:
        """Every file that the name may mean. Nothing outside the folder can be named."""
        path = PurePosixPath(name.replace("\\", "/")).as_posix()
        return [path] if path in self._paths else self._by_name.get(path, [])

    def find(self, name: str, line: str) -> str | None:
        """The file of that name, None if there is none. Raises Rejected("FILE_NAME_AMBIGUOUS").

        `line`: the table's line with the name, for the message.
        """
        found = self.candidates(name)
        if len(found) > 1:
            raise Rejected(
                "FILE_NAME_AMBIGUOUS",
                f"{capitalised(line)} may mean any of {len(found)} files of the same name in "
                "different folders; write the file's path within the set instead.",
            )
        return found[0] if found else None


def files_under(root: Path) -> list[str]:
    """Every file below `root`, relative to it, with slashes; hidden ones are left out."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
