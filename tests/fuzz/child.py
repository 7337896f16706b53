"""Run cases until one takes too long or too much: `python -m tests.fuzz.child FOLDER FIRST LAST`.

Each case is announced before it begins and answered when it ends, a line of JSON each, so that the parent
knows which one ended this process.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.mutations import make_case
from tests.fuzz.ways_in import UnexpectedAnswer, WaysIn, way_of
from worker.logging import configure_logging

MEMORY_BYTES = 6 << 30
"""Address space of this process, most of which torch and the decoders reserve without using it."""


def run(folder: Path, first: int, last: int) -> None:
    """Run the cases `first` to `last`."""
    configure_logging("CRITICAL")
    ways = WaysIn(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for seed in range(first, last + 1):
        way = way_of(seed)
        _say(seed=seed, way=way, begins=True)
        started, before = time.monotonic(), _peak_mb()
        try:
            fate = ways.take(way, make_case(seed), seed)
            wrong = None
        except UnexpectedAnswer as error:
            fate, wrong = "broken", str(error)
        except BaseException as error:  # noqa: BLE001  whatever comes out is what we look for
            frame = traceback.extract_tb(error.__traceback__)[-1]
            fate, wrong = (
                "broken",
                f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}",
            )
        _say(seed=seed, way=way, fate=fate, wrong=wrong,
             seconds=round(time.monotonic() - started, 3), grown_mb=_peak_mb() - before)  # fmt: skip
    ways.close()


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as site:
        run(Path(site), int(sys.argv[2]), int(sys.argv[3]))
