"""`make bench`: how many times faster than the plain loop, measured in one and the same run.

After that the way in (`intake`): our listener beside dcmtk's storescp, and its memory.

The plain loop is what most scripts do: dcmread, pixel_array, pydicom's VOI, PIL resize, one image
at a time. Both read the same files, on one core, and the figures are CPU milliseconds for an image;
only their ratio says something beyond this machine.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pydicom
import torch
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.benchmarks import intake
from tests.builders.dicom import make_instance
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess

ROWS, COLUMNS = 3000, 2500
"""A real chest CR's size."""
REPEATS = 5
SYNTAXES = {
    "uncompressed": "1.2.840.10008.1.2.1",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG Lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS lossless": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
}


def main() -> None:
    """Time both ways over every syntax and print one table."""
    torch.set_num_threads(1)
    table = Table(title=f"{ROWS} x {COLUMNS}, 12 bits: file to network input, CPU-ms per image")
    for heading in ("transfer syntax", "plain loop", "pneumo", "times faster"):
        table.add_column(heading, justify="left" if heading == "transfer syntax" else "right")
    for name, syntax in track(SYNTAXES.items(), description="measuring"):
        file = encoded(syntax)
        plain, ours = cpu_ms(lambda f=file: plain_loop(f)), cpu_ms(lambda f=file: our_way(f))
        table.add_row(name, f"{plain:.0f}", f"{ours:.0f}", f"{plain / ours:.1f}")
    Console().print(table)
    intake.main()


def encoded(syntax: str) -> bytes:
    """A chest-like file of the stated size in the given transfer syntax."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    smooth = 2048 + 1200 * np.sin(x / 400) * np.cos(y / 500)
    noise = np.random.default_rng(0).normal(0, 12, (ROWS, COLUMNS))
    pixels = np.clip(smooth + noise, 0, 4095).astype(np.uint16)
    dataset = make_instance(
        pixels=pixels, bits_stored=12, window=(2048, 3000), transfer_syntax=syntax
    )
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def plain_loop(file: bytes) -> torch.Tensor:
    """The common script."""
    dataset = pydicom.dcmread(io.BytesIO(file))
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = values.min(), values.max()
    grey = ((values - low) / (high - low) * 255).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    small = np.asarray(Image.fromarray(grey).resize((224, 224), Image.Resampling.BILINEAR))
    return torch.from_numpy(small.copy()).float().div(255).expand(3, -1, -1)


def our_way(file: bytes) -> torch.Tensor:
    """What workers do."""
    spec = PreprocessingSpec()
    dataset = pydicom.dcmread(io.BytesIO(file))
    return preprocess(normalise_frame(dataset, spec).pixels, spec)


def cpu_ms(work: Callable[[], object]) -> float:
    """Median CPU milliseconds of `work` over a few repeats, after one to warm up."""
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - started))
    return float(np.median(taken))


if __name__ == "__main__":
    main()
