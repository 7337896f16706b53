"""Run a command that dies with its parent: `python -m worker.local.die_with_parent PARENT COMMAND…`.

A supervisor that is killed with -9 cannot stop its children; they would keep running, hold ports and
claims, and collide with the next installation. Linux kills them by itself when asked to (prctl(2),
PR_SET_PDEATHSIG); the request survives exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask to be killed with the parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  the command is the supervisor's own


if __name__ == "__main__":
    main()
