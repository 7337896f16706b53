"""Print every command that a broker on loopback receives, until ended: `python -m … PORT`."""

from __future__ import annotations

import sys

import redis

with redis.Redis(port=int(sys.argv[1])).monitor() as monitor:
    for command in monitor.listen():
        print(command["command"], flush=True)
