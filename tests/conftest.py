"""What every test needs: one torch thread, so that figures repeat and cores are shared fairly.

The builders' pictures are drawn, not taken, so the packaged model's guard would refuse them all: here
it warns, and the tests that are about it say otherwise. The shadow doubles the work of a CPU, so it
runs where it is the subject.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PNEUMO_WRONG_IMAGES", "warn")
os.environ.setdefault("PNEUMO_SHADOW", "false")
