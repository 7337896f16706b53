"""Run many cases in a process of their own, bound their time and memory, and list what broke a promise."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders.installation import ROOT
from tests.builders.waiting import scaled
from tests.fuzz.ways_in import way_of

LIMIT_S = 20.0
"""Longest time for a case, on an idle machine."""
START_S = 90.0
"""Longest time until the first case begins: torch is loaded and a database is made."""
LIMIT_MB = 2000
"""Most memory by which a case may raise the peak: PNEUMO_DECODE_FRAME_MB and some more."""


@dataclass(frozen=True, kw_only=True)
class BrokenCase:
    """A case that broke a promise; `tests.fuzz.mutations.make_case(seed)` makes it again."""

    seed: int
    way: str
    why: str


@dataclass
class FuzzReport:
    """What became of all cases."""

    fates: Counter[str] = field(default_factory=Counter)
    """How often each way ended in each code or yes."""
    broken: list[BrokenCase] = field(default_factory=list)
    slowest_s: float = 0.0
    most_grown_mb: int = 0

    @property
    def count(self) -> int:
        """All cases that were answered, and those that were not."""
        return self.fates.total()

    def add(self, answer: dict) -> None:
        """Count one answer."""
        self.fates[f"{answer['way']}: {answer['fate']}"] += 1
        self.slowest_s = max(self.slowest_s, answer["seconds"])
        self.most_grown_mb = max(self.most_grown_mb, answer["grown_mb"])
        if answer["grown_mb"] > LIMIT_MB:
            self.add_broken(answer["seed"], f"memory grew by {answer['grown_mb']} MB", counted=True)
        elif answer["wrong"]:
            self.add_broken(answer["seed"], answer["wrong"], counted=True)

    def add_broken(self, seed: int, why: str, *, counted: bool = False) -> None:
        """Note a case that broke a promise."""
        way = way_of(seed)
        self.broken.append(BrokenCase(seed=seed, way=way, why=why))
        if not counted:
            self.fates[f"{way}: broken"] += 1


def fuzz(
    first: int, count: int, folder: Path, say: Callable[[str], None] = lambda _: None
) -> FuzzReport:
    """Run `count` cases from number `first` on; a process that a case ends is started again after it."""
    report, seed, last = FuzzReport(), first, first + count - 1
    while seed <= last:
        seed = _run_child(seed, last, folder, report) + 1
        say(f"{seed - first} of {count}, {len(report.broken)} broken")
    return report


def _run_child(first: int, last: int, folder: Path, report: FuzzReport) -> int:
    """Run one process; return the last case that it began."""
    with (folder / "child.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(folder), str(first), str(last)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert child.stdout
    begun, is_open = first - 1, False
    try:
        for line in _lines(child.stdout.fileno()):
            answer = json.loads(line)
            is_open, begun = "begins" in answer, answer["seed"]
            if not is_open:
                report.add(answer)
    except TimeoutError:
        child.kill()
        if begun < first:
            raise RuntimeError(
                f"The first case did not begin; see {folder / 'child.log'}."
            ) from None
        report.add_broken(begun, f"took longer than {scaled(LIMIT_S):.0f} s")
        is_open = False
    except BaseException:
        child.kill()
        raise
    code = child.wait()
    if is_open:
        report.add_broken(begun, f"ended its process with code {code}")
    elif code != 0 and begun < first:
        raise RuntimeError(f"The process of the cases did not start; see {folder / 'child.log'}.")
    return begun


def _lines(descriptor: int) -> Iterator[bytes]:
    """Yield lines until the end. Raises TimeoutError if none comes in time."""
    selector, rest, limit_s = selectors.DefaultSelector(), b"", START_S
    selector.register(descriptor, selectors.EVENT_READ)
    while True:
        if not selector.select(scaled(limit_s)):
            raise TimeoutError
        limit_s = LIMIT_S
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
