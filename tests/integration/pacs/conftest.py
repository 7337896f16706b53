"""The intake's sites serve here too."""

from __future__ import annotations

from tests.integration.intake.conftest import migrated, site

__all__ = ["migrated", "site"]
