"""`make chaos`: a long run; `python -m tests.chaos --help` for its options."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import ChaosPlan, run_chaos


def main() -> int:
    """Run once and print the report; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        description="Break a real installation, and check what it promised."
    )
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    options = parser.parse_args()
    plan = ChaosPlan(
        seed=options.seed,
        studies=options.studies,
        kills=options.kills,
        postgresql=options.postgresql,
    )
    print(plan)
    with tempfile.TemporaryDirectory(prefix="pneumo-chaos-") as temporary:
        report = run_chaos(
            plan, options.keep or Path(temporary), lambda line: print(line, flush=True)
        )
    print("\n".join(report.lines()))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
