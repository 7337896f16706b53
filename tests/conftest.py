"""What every test needs: one torch thread, so that figures repeat and cores are shared fairly."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
