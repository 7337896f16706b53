"""The acceptance tests' installations and the intake tests' sites serve here too."""

from __future__ import annotations

from tests.acceptance.conftest import install
from tests.integration.intake.conftest import migrated, site

__all__ = ["install", "migrated", "site"]
