"""The process that decodes frames of suspect studies, which the poison ends as it ends a worker."""

from __future__ import annotations

from tests.chaos.crash_at import crashing_decoder
from worker.imaging import guarded_decoding

if __name__ == "__main__":
    guarded_decoding.normalise_frame = crashing_decoder(guarded_decoding.normalise_frame)
    guarded_decoding._child()
