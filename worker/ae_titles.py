"""AE titles, as PS3.5 6.2 has them (VR AE)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")]
"""1 to 16 characters of the default repertoire without backslash."""
