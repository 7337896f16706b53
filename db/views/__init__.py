"""The analysts' views, one file each; the text before migration NNNN is in `before_NNNN`."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["view_text"]


def view_text(view: str, as_of: str) -> str:
    """Return the statement that creates a view as it was at migration `as_of`, e.g. "0002"."""
    here = files(__name__)
    changed = sorted(
        folder.name
        for folder in here.iterdir()
        if folder.name.startswith("before_") and folder.joinpath(f"{view}.sql").is_file()
    )
    later = [folder for folder in changed if folder.removeprefix("before_") > as_of]
    place = here.joinpath(later[0]) if later else here
    return place.joinpath(f"{view}.sql").read_text(encoding="utf-8")
