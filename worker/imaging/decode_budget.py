"""Memory is reserved before a frame is decoded, so that many threads with large frames wait, not fail.

One budget for the process: sixteen threads that each unpack a frame of 12,000 x 12,000 pixels would
otherwise ask for 18 GB at once, and the kernel would end the process with everybody's studies in it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.imaging.refusals import RefusedInstance, Step, refused

BYTES_PER_PIXEL = 8
"""At the most. While decoding: OpenJPEG's component and the containers (measured 7.8), others less; after:
containers, stored values and the normalised frame in float32."""
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """How much memory decoding may take."""

    frame_bytes: int = 1_200 * MEGABYTE
    """For one frame; 12,000 x 12,000 pixels, the most that the eligibility rules let through, fit."""
    process_bytes: int = 2_000 * MEGABYTE
    """For all frames that are decoded at once in one process."""

    @classmethod
    def of_megabytes(cls, *, frame: int, process: int) -> DecodeLimits:
        """As a site writes them (PNEUMO_DECODE_FRAME_MB, PNEUMO_DECODE_MEMORY_MB)."""
        return cls(frame_bytes=frame * MEGABYTE, process_bytes=process * MEGABYTE)


class DecodeBudget:
    """Bytes that frames in decoding hold together; who asks first is served first."""

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self._limits = limits or DecodeLimits()
        self._reserved = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def limit(self, limits: DecodeLimits) -> None:
        """Set other limits; what is reserved stays so."""
        with self._changed:
            self._limits = limits
            self._changed.notify_all()

    @property
    def limits(self) -> DecodeLimits:
        """As they are now."""
        return self._limits

    @contextmanager
    def reserved(self, pixels: int) -> Iterator[None]:
        """Hold the memory that decoding a frame of so many pixels takes, for as long as the block runs.

        Waits until there is room, behind all who asked before: a large frame is not starved by small ones.
        Raises RefusedInstance FRAME_TOO_LARGE if there never will be.
        """
        needed = pixels * BYTES_PER_PIXEL
        self._reserve(needed)
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= needed
                self._changed.notify_all()

    def _reserve(self, needed: int) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._may_go(ticket, needed))
                self._reserved += needed
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _may_go(self, ticket: object, needed: int) -> bool:
        most = min(self._limits.frame_bytes, self._limits.process_bytes)
        if needed > most:
            raise _too_large(needed, most)
        first = self._waiting[0] is ticket
        return first and self._reserved + needed <= self._limits.process_bytes


def _too_large(needed: int, most: int) -> RefusedInstance:
    return refused(
        "FRAME_TOO_LARGE",
        step=Step.DECODE,
        tag="(0028,0010) Rows, (0028,0011) Columns",
        found=f"a frame that takes {needed // MEGABYTE} MB to decode",
        expected=f"at most {most // MEGABYTE} MB",
        advice="If such images are meant to be predicted, raise PNEUMO_DECODE_FRAME_MB and "
        "PNEUMO_DECODE_MEMORY_MB.",
    )


PROCESS_BUDGET = DecodeBudget()
"""The one of this process; its limits are set where the process's settings are read."""
