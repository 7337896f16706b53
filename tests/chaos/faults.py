"""What is done to a running installation, each fault with its weight in the draw."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.builders.waiting import scaled
from tests.chaos.site import ChaosSite


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of accident."""

    act: Callable[[ChaosSite], None]
    weight: int
    """Share of the draw."""
    is_kill: bool = False
    """Whether it is a kill -9 of ours."""
    needs_postgresql: bool = False


def _kill(part: str) -> Callable[[ChaosSite], None]:
    return lambda site: site.kill(part)


def wipe_broker(site: ChaosSite) -> None:
    """Take every message."""
    site.installation.broker.client().flushall()


def restart_broker(site: ChaosSite) -> None:
    """End the broker, and start an empty one."""
    site.installation.broker.terminate()
    time.sleep(1)
    site.installation.start_broker()


def stop_database(site: ChaosSite) -> None:
    """PostgreSQL's immediate shutdown, which leaves what a power cut leaves, and a start."""
    assert site.server
    process = site.server.get_postmaster_info().process
    process.send_signal(signal.SIGQUIT)
    process.wait(scaled(10))
    time.sleep(2)
    site.server.ensure_postgres_running()
    site.installation.database.dispose()


def fill_disk(site: ChaosSite) -> None:
    """Let the listener believe for a while that its disk is nearly full; senders hear A700 or no."""
    site.kill("listener")
    site.extra = {"disk_refuse_free": "100%"}
    site.start("listener")
    time.sleep(3)
    site.kill("listener")
    site.extra = {}


def suspend_worker(site: ChaosSite) -> None:
    """Stop a worker until its leases have run out and others have its studies; then it goes on."""
    process = site.running["worker 2"]
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(site.installation.settings.lease_s * 1.5)
        process.send_signal(signal.SIGCONT)


def close_pacs(site: ChaosSite) -> None:
    """The PACS is away for a moment."""
    site.pacs.stop()
    time.sleep(1)
    site.pacs.start()


FAULTS = {
    "kill worker 1": Fault(act=_kill("worker 1"), weight=3, is_kill=True),
    "kill worker 2": Fault(act=_kill("worker 2"), weight=3, is_kill=True),
    "kill listener": Fault(act=_kill("listener"), weight=3, is_kill=True),
    "kill relay": Fault(act=_kill("relay"), weight=2, is_kill=True),
    "kill delivery": Fault(act=_kill("delivery"), weight=3, is_kill=True),
    # At most once: a study of which workers died twice alone is parked, whoever killed them.
    "kill suspect": Fault(act=_kill("suspect"), weight=0, is_kill=True),
    "wipe broker": Fault(act=wipe_broker, weight=2),
    "restart broker": Fault(act=restart_broker, weight=2),
    "stop database": Fault(act=stop_database, weight=2, needs_postgresql=True),
    "fill disk": Fault(act=fill_disk, weight=1),
    "suspend worker beyond its lease": Fault(act=suspend_worker, weight=1),
    "close PACS": Fault(act=close_pacs, weight=1),
}


def draw_faults(draw: random.Random, kills: int, *, postgresql: bool) -> list[str]:
    """Return a random order with every fault once, and more of them until there are enough kills."""
    possible = {n: f for n, f in FAULTS.items() if postgresql or not f.needs_postgresql}
    chosen = [*possible]
    while sum(FAULTS[name].is_kill for name in chosen) < kills:
        weights = [fault.weight for fault in possible.values()]
        chosen += draw.choices([*possible], weights=weights)
    draw.shuffle(chosen)
    return chosen
