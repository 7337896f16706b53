"""One chaos run: send in waves, break something after each, wait until all is settled, check."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checks import find_faults
from tests.chaos.crash_at import STEPS
from tests.chaos.faults import FAULTS, draw_faults
from tests.chaos.site import ChaosSite
from tests.chaos.studies import write_studies

OPEN_STUDIES = "SELECT count(*) FROM study WHERE state NOT IN ('done', 'parked')"
OPEN_DELIVERIES = "SELECT count(*) FROM result_delivery WHERE state NOT IN ('sent', 'parked')"


@dataclass(frozen=True, kw_only=True)
class ChaosPlan:
    """What a run consists of; the same seed draws the same studies and the same faults."""

    seed: int
    studies: int = 600
    kills: int = 20
    """At least so many kill -9 from outside; the crash at each named step comes on top."""
    postgresql: bool = False
    steps: int = len(STEPS)
    """At so many of the named steps, drawn at random, a process crashes."""
    faults: int | None = None
    """So many of the drawn faults; None: all."""
    wait_s: float = 600
    """Longest wait, on an idle machine, until everything is settled."""


@dataclass(frozen=True, kw_only=True)
class ChaosReport:
    """What happened."""

    faults: dict[str, int]
    """How often each fault was done."""
    steps: int
    """Named steps at which a process crashed."""
    wrong: list[str]
    """Every promise that was broken, in a sentence."""
    seconds: float

    def lines(self) -> list[str]:
        """Return the report for a person."""
        counted = [f"{count:>5}  {name}" for name, count in sorted(self.faults.items())]
        end = self.wrong or ["every promise was kept"]
        return [*counted, f"{self.steps:>5}  crashes at named steps", *end, f"{self.seconds:.0f} s"]


def run_chaos(
    plan: ChaosPlan, folder: Path, say: Callable[[str], None] = lambda _: None
) -> ChaosReport:
    """Do everything that the plan says in `folder`."""
    started = time.monotonic()
    draw = random.Random(plan.seed)
    studies = write_studies(folder / "studies", plan.studies, draw)
    faults = draw_faults(draw, plan.kills, postgresql=plan.postgresql)[: plan.faults]
    steps = frozenset(draw.sample([*STEPS], plan.steps))
    site = ChaosSite(folder, postgresql=plan.postgresql, steps=steps)
    try:
        waves = split(
            [folder / "studies" / f"{s.sop_instance_uid}.dcm" for s in studies], len(faults) + 1
        )
        site.tend()
        site.send(waves[0])
        _wait_for_steps(site, plan)
        for fault, wave in zip(faults, waves[1:], strict=True):
            site.send(wave)
            site.wait_for("the parts run", lambda: True, within_s=30)
            time.sleep(draw.uniform(0.1, 1.5))
            say(f"{time.monotonic() - started:5.0f} s  {fault}")
            FAULTS[fault].act(site)
            site.count(fault)
        _wait_until_settled(site, plan)
        return ChaosReport(
            faults=site.done,
            steps=len(site.crashed_steps()),
            wrong=find_faults(site, studies),
            seconds=time.monotonic() - started,
        )
    finally:
        site.close()


def split(files: list[Path], count: int) -> list[list[Path]]:
    """Return `count` parts: a third of the files first, the rest evenly."""
    first = max(len(files) // 3, 1)
    rest = files[first:]
    return [files[:first], *(rest[n :: count - 1] for n in range(count - 1))]


def _wait_for_steps(site: ChaosSite, plan: ChaosPlan) -> None:
    """Wait until a process has crashed at each step; the first wave gives them the work for it."""
    site.wait_for(
        "a crash at each step",
        lambda: site.crashed_steps() == site.steps,
        within_s=plan.wait_s,
    )


def _wait_until_settled(site: ChaosSite, plan: ChaosPlan) -> None:
    site.wait_for(
        "all acknowledged",
        lambda: not any(sender.is_alive() for sender in site.senders),
        within_s=plan.wait_s,
    )
    ask = site.installation.one
    site.wait_for("every study settled", lambda: ask(OPEN_STUDIES) == 0, within_s=plan.wait_s)
    site.wait_for("every delivery settled", lambda: ask(OPEN_DELIVERIES) == 0, within_s=plan.wait_s)
