"""Results made in code, as rows and headers would give them: each test states what it is about.

make_result(predicted_instance(0.8), refused_instance())   a study of two images, one not evaluated
drawn_picture(rows=300, columns=200)                       a radiograph with one hot place
"""

from __future__ import annotations

import io
import warnings
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pydicom
from highdicom.sr import Comprehensive3DSR
from pydicom.dataset import Dataset

from tests.builders.dicom import chest_like_pixels, make_instance
from worker.results.build import to_bytes
from worker.results.picture import Picture
from worker.results.result_settings import ResultSettings
from worker.results.structured_report import build_report
from worker.results.study_result import (
    FrameResult,
    InstanceResult,
    ModelUsed,
    NotEvaluated,
    ResultVerdict,
    StudyResult,
)
from worker.settings import read_settings

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
STUDY_KEY = "5f" * 16
WHEN = datetime(2026, 11, 23, 9, 50, 7, 250_000, tzinfo=UTC)
MODEL = ModelUsed(
    name="resnet50",
    version="9.9.9",
    bundle_digest="0123456789abcdef" * 4,
    threshold=0.4,
    preprocessing_version="1",
)


def make_result_settings(**settings: Any) -> ResultSettings:
    """A site's words; `disclaimer="…"` stands for PNEUMO_RESULT_DISCLAIMER."""
    return ResultSettings.of(read_settings(**{f"result_{k}": v for k, v in settings.items()}))


def make_header(number: int = 1, **keywords: Any) -> Dataset:
    """A radiograph of the study, with UIDs that are the same each time."""
    chosen = {
        "study_instance_uid": STUDY_UID,
        "series_instance_uid": f"{STUDY_UID}.2",
        "sop_instance_uid": f"{STUDY_UID}.3.{number}",
        "InstanceNumber": number,
        **keywords,
    }
    with warnings.catch_warnings():  # malformed values are what some tests are about
        warnings.simplefilter("ignore")
        return make_instance(**chosen)


def predicted_instance(
    *probabilities: float, number: int = 1, says: tuple[str, ...] = (), **keywords: Any
) -> InstanceResult:
    """An instance with a probability for each of its frames. `says`: warnings."""
    several = {"number_of_frames": len(probabilities)} if len(probabilities) > 1 else {}
    if several and "pixels" not in keywords:
        several["pixels"] = np.stack([chest_like_pixels(seed=i) for i in range(len(probabilities))])
    return InstanceResult(
        header=make_header(number, **several, **keywords),
        frames=tuple(
            FrameResult(
                frame_number=i,
                probability=p,
                verdict=verdict_at(p),
                predicted_at=WHEN,
                warnings=says,
            )
            for i, p in enumerate(probabilities, start=1)
        ),
    )


def refused_instance(
    number: int = 1,
    sentence: str = "(0018,5101) View Position: found LL; expected PA or AP. Send a frontal view.",
    **keywords: Any,
) -> InstanceResult:
    """An instance without a score."""
    reason = NotEvaluated(code="VIEW_NOT_FRONTAL", sentence=sentence)
    return InstanceResult(header=make_header(number, **keywords), not_evaluated=reason)


def make_result(*instances: InstanceResult, **changes: Any) -> StudyResult:
    """A study's result whose verdict follows from its instances."""
    probabilities = [frame.probability for item in instances for frame in item.frames]
    verdict = verdict_at(max(probabilities)) if probabilities else ResultVerdict.REJECTED
    fields = {
        "study_key": STUDY_KEY,
        "revision": 1,
        "model": MODEL,
        "verdict": verdict,
        "finished_at": WHEN,
        **changes,
    }
    return StudyResult(instances=instances, **fields)


def verdict_at(probability: float, threshold: float = MODEL.threshold) -> ResultVerdict:
    """What positive means; equal is positive."""
    return ResultVerdict.POSITIVE if probability >= threshold else ResultVerdict.NEGATIVE


@cache
def drawn_picture(rows: int = 320, columns: int = 288, *, hot: bool = True) -> Picture:
    """A chest-like picture whose heat has one peak, left of the middle and above it."""
    pixels = chest_like_pixels(rows, columns, bits_stored=12).astype(np.float32) / 4095
    y, x = np.mgrid[0:1:224j, 0:1:224j]
    peak = np.exp(-(((x - 0.3) / 0.15) ** 2) - ((y - 0.35) / 0.15) ** 2)
    heat = peak / peak.max() if hot else np.zeros_like(peak)
    return Picture(pixels=pixels, heat=heat.astype(np.float32))


def picture_of_any(_item: InstanceResult, _frame_number: int) -> Picture:
    """Stands for the network: the same picture for every frame."""
    return drawn_picture()


def read_report_back(result: StudyResult, **settings: Any) -> Comprehensive3DSR:
    """The report of a result, read from its bytes as a PACS would."""
    written = to_bytes(build_report(result, make_result_settings(**settings)))
    return Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(written)))
