"""The acceptance tests' installations serve here too."""

from __future__ import annotations

from tests.acceptance.conftest import install

__all__ = ["install"]
