"""`make fuzz`: a long run; `python -m tests.fuzz --help` for its options."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import fuzz


def main() -> int:
    """Run the cases and print what became of them; 1 if one broke a promise."""
    parser = argparse.ArgumentParser(description="Mutated files over every way in.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pneumo-fuzz-") as folder:
        report = fuzz(
            options.first, options.count, Path(folder), lambda line: print(line, flush=True)
        )
    for fate, count in sorted(report.fates.items()):
        print(f"{count:>7}  {fate}")
    for case in report.broken:
        print(f"case {case.seed} ({case.way}): {case.why}")
    print(
        f"{report.count} cases, {len(report.broken)} broken; slowest {report.slowest_s:.1f} s, "
        f"peak grew by at most {report.most_grown_mb} MB in a case"
    )
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
