"""A sender like any modality: it keeps what was not acknowledged and sends it again.

    python -m tests.acceptance.retrying_sender PORT FOLDER NOTES

NOTES gets a line for each event: `acknowledged UID` (status 0000), `refused STATUS`, `lost` (the
association ended without an answer), `closed` (nobody listens). The sender ends when all files of
FOLDER are acknowledged.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.sop_class import ComputedRadiographyImageStorage

ANSWER_TIMEOUT_S = 3.0
"""pynetdicom waits so long for an answer even from a process that died."""
STUDIES_EACH = 20
"""In one association."""
PAUSE_S = 0.2


def send_all(port: int, files: dict[str, Path], notes: TextIO) -> None:
    """Until each was acknowledged."""
    left = dict(files)
    while left:
        for word in send_some(port, left):
            notes.write(f"{word}\n")
            notes.flush()


def send_some(port: int, left: dict[str, Path]) -> Iterator[str]:
    """One association; takes from `left` what was acknowledged."""
    unit = AE(ae_title="MODALITY")
    unit.dimse_timeout = unit.acse_timeout = unit.network_timeout = ANSWER_TIMEOUT_S
    unit.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    opened = unit.associate("127.0.0.1", port, ae_title="PNEUMO")
    if not opened.is_established:
        time.sleep(PAUSE_S)
        yield "closed"
        return
    for uid, path in list(left.items())[:STUDIES_EACH]:
        status = opened.send_c_store(path) if opened.is_established else None
        if status is None or "Status" not in status:
            yield "lost"
            return
        if status.Status == 0x0000:
            del left[uid]
            yield f"acknowledged {uid}"
        else:
            yield f"refused {status.Status:04X}"
    opened.release()


if __name__ == "__main__":
    _config.STORE_SEND_CHUNKED_DATASET = True
    folder = Path(sys.argv[2])
    with Path(sys.argv[3]).open("a") as stream:
        send_all(int(sys.argv[1]), {p.stem: p for p in sorted(folder.glob("*.dcm"))}, stream)
