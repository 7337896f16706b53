"""One file to pixels: pictures of any kind, and DICOM bit for bit as a worker reads it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from db.values import ClaimedInstance
from db.vocabulary.enums import InstanceState
from tests.builders.dicom import write_instance
from training.data.decoding import decode_plane, load_tensor
from training.data.radiograph import Encoding
from worker.errors import Rejected
from worker.imaging.eligibility import EligibilityPolicy
from worker.imaging.preprocessing import PreprocessingSpec, preprocess, standardise
from worker.pipeline.process_study import prepare_instance
from worker.pipeline.stopwatch import Stopwatch
from worker.storage.intake_folder import IntakeStorage

SPEC = PreprocessingSpec(size=64)
ORIGINALS = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "kermany-originals"


class Batcher:
    """Keeps what the worker puts before the network."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []

    def submit(self, tensor: torch.Tensor, **_lane: bool) -> Future:
        self.tensors.append(tensor)
        return Future()


def tensor_in_worker(path: Path, spec: PreprocessingSpec) -> torch.Tensor:
    """What the worker's own story of an instance makes of a file."""
    batcher = Batcher()
    model = SimpleNamespace(
        policy=EligibilityPolicy(), manifest=SimpleNamespace(preprocessing=spec), batcher=batcher
    )
    judged = prepare_instance(
        ClaimedInstance(id=1, file_name=path.name, state=InstanceState.PENDING, prior=()),
        model,
        SimpleNamespace(storage=IntakeStorage(path.parent)),
        Stopwatch(),
        stat=False,
        keep=0,
    )
    assert judged.refusals == ()
    (tensor,) = batcher.tensors
    return tensor


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"bits_stored": 8},
        {"bits_stored": 16},
        {"photometric": "MONOCHROME1"},
        {"photometric": "MONOCHROME1", "bits_stored": 16, "window": (30_000, 41_000)},
        {"window": (1700, 2100), "voi_lut_function": "SIGMOID"},
        {"rescale": (2.0, -300.0), "window": (3000, 2500)},
        {"padding_value": 0},
        {"transfer_syntax": ExplicitVRBigEndian},
        {"transfer_syntax": JPEG2000Lossless},
        {"transfer_syntax": JPEGLosslessSV1, "bits_stored": 16},
        {"transfer_syntax": RLELossless, "photometric": "MONOCHROME1"},
        {"rows": 130, "columns": 411},
        {"rows": 224, "columns": 224},
    ],
    ids=str,
)
def test_evaluation_and_worker_make_equal_tensors(tmp_path, keywords, size):
    spec = PreprocessingSpec(size=size)
    path = write_instance(tmp_path / "a.dcm", **keywords)
    ours, theirs = load_tensor(path, spec), tensor_in_worker(path, spec)
    assert ours.dtype == theirs.dtype == torch.float32
    assert ours.shape == (3, size, size)
    assert torch.equal(ours, theirs)
    assert ours.std() > 0.1  # a picture, not two equal blanks


@pytest.mark.skipif(not ORIGINALS.exists(), reason="the original images are not at ../shared")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_evaluation_and_worker_make_equal_tensors_of_real_radiographs(tmp_path, photometric):
    for source in sorted(ORIGINALS.glob("*/*.jpeg"))[::15]:
        with Image.open(source) as image:
            stored = np.array(image.convert("L")).astype(np.uint16) * 16
        path = tmp_path / f"{source.stem}.dcm"
        write_instance(path, pixels=stored, photometric=photometric, window=(2040, 4000))
        spec = PreprocessingSpec()
        assert torch.equal(load_tensor(path, spec), tensor_in_worker(path, spec))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_dicom_plane_is_the_workers_tensor_to_half_a_grey_level(tmp_path, photometric):
    path = write_instance(tmp_path / "a.dcm", photometric=photometric, window=(2047, 3500))
    plane = decode_plane(path, Encoding.DICOM, SPEC)
    assert (plane.dtype, plane.shape) == (np.uint8, (64, 64))
    inputs = standardise(torch.from_numpy(plane)[None, None].float() / 255, SPEC)[0]
    off = (inputs - tensor_in_worker(path, SPEC)).abs().amax()
    assert 0 < off <= 0.5001 / 255 / min(SPEC.std)


def draw(path: Path, mode: str, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """A grey ramp, as `mode` has it; gives its grey levels."""
    levels = np.linspace(0, 255, size[0] * size[1]).round().astype(np.uint8).reshape(size)
    image = (
        Image.fromarray(levels.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(levels).convert(mode)
    )
    image.save(path)
    return levels


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16"])
def test_pngs_of_every_kind_give_their_grey_levels(tmp_path, mode):
    levels = draw(tmp_path / "a.png", mode)
    assert np.array_equal(decode_plane(tmp_path / "a.png", Encoding.PICTURE, SPEC), levels)


def test_a_picture_of_the_networks_size_is_the_same_on_both_ways(tmp_path):
    levels = draw(tmp_path / "a.png", "L")
    plane = torch.from_numpy(levels)[None, None].float() / 255
    assert torch.equal(load_tensor(tmp_path / "a.png", SPEC), standardise(plane, SPEC)[0])


def test_a_larger_picture_is_squashed_as_preprocess_does(tmp_path):
    levels = draw(tmp_path / "a.png", "L", size=(90, 300))
    plane = decode_plane(tmp_path / "a.png", Encoding.PICTURE, SPEC)
    exact = preprocess(levels.astype(np.float32) / 255, SPEC)
    inputs = standardise(torch.from_numpy(plane)[None, None].float() / 255, SPEC)[0]
    assert (inputs - exact).abs().amax() <= 0.5001 / 255 / min(SPEC.std)
    assert torch.equal(load_tensor(tmp_path / "a.png", SPEC), exact)


BROKEN = {
    "empty": lambda _: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "another thing": lambda _: b"<html>404</html>",
}


@pytest.mark.parametrize("ending", ["jpeg", "png"])
@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    "decode", [lambda p: decode_plane(p, Encoding.PICTURE, SPEC), lambda p: load_tensor(p, SPEC)]
)
def test_a_broken_picture_is_refused(tmp_path, ending, spoil, decode):
    path = tmp_path / f"a.{ending}"
    draw(path, "L")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(Rejected, match="no JPEG or PNG that can be decoded") as caught:
        decode(path)
    assert caught.value.code == "IMAGE_UNREADABLE"


@pytest.mark.parametrize("encoding", Encoding)
def test_a_file_that_has_gone_is_refused(tmp_path, encoding):
    with pytest.raises(Rejected, match="IMAGE_UNREADABLE"):
        decode_plane(tmp_path / "absent", encoding, SPEC)
    with pytest.raises(Rejected, match="IMAGE_UNREADABLE"):
        load_tensor(tmp_path / "absent", SPEC)


def test_a_broken_dicom_file_is_refused_by_the_workers_code(tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-5000])
    for decode in (
        lambda: decode_plane(path, Encoding.DICOM, SPEC),
        lambda: load_tensor(path, SPEC),
    ):
        with pytest.raises(Rejected, match=r"FILE_TRUNCATED|PIXEL_DATA"):
            decode()
