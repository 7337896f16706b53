"""A worker's runtime on a model that a test made, in a folder of its own.

Drawn pictures are unlike the training set: the packaged model's guard refuses them. A bundle that is
written here has no guard unless a test gives it one, so it predicts whatever it is shown.
"""

from __future__ import annotations

from pathlib import Path

import torch
from sqlalchemy import text

from db.engine.migrate import upgrade
from db.engine.session import Database
from db.ledger.model_registry import activate_model, select_shadow
from tests.builders.bundles import make_manifest
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.reading import read_dataset
from worker.inference.active_model import register_bundle
from worker.intake.accept import accept_study
from worker.model.architectures import Network, build_model
from worker.model.bundle import save_bundle
from worker.model.wrong_image import WrongImageGuard
from worker.pipeline.runtime import Runtime
from worker.pipeline.worker_identity import WorkerIdentity
from worker.settings import Settings, read_settings

SPEC = PreprocessingSpec()


def random_network(seed: int) -> Network:
    """A ResNet50 with random weights, so that its logits say nothing but are always the same."""
    torch.manual_seed(seed)
    return build_model("resnet50").eval()


def features_of(model: Network, path: Path) -> torch.Tensor:
    """Pooled features (F,) of a file's first frame, as a worker computes them."""
    tensor = preprocess(normalise_frame(read_dataset(path), SPEC).pixels, SPEC)
    with torch.inference_mode():
        return model.features_and_logits(tensor[None])[0][0]


def guard_around(model: Network, like: Path, unlike: Path) -> WrongImageGuard:
    """A guard that measures from one picture and draws the line half-way to another."""
    centre, far = features_of(model, like), features_of(model, unlike)
    direction = (far - centre) / (far - centre).norm()
    return WrongImageGuard(
        mean=centre, whitening=direction[:, None], cut_off=(far - centre).norm().item() / 2
    )


def write_bundle(
    folder: Path, model: Network, guard: WrongImageGuard | None = None, **changes
) -> Path:
    """A bundle of this model; its name and version come from `changes`."""
    manifest = make_manifest(**changes)
    path = folder / f"{manifest.model_name}-{manifest.model_version}"
    reference = guard.to_reference() if guard else None
    save_bundle(path, model=model, card="# A card\n", manifest=manifest, reference=reference)
    return path


def make_settings(folder: Path, **changes) -> Settings:
    """Return the product's default settings in this folder, with one torch thread as tests have."""
    folder.mkdir(parents=True, exist_ok=True)
    return read_settings(state_dir=folder, **({"torch_threads": 1} | changes))


def start_runtime(
    settings: Settings, active: Path | None = None, shadow: Path | None = None
) -> Runtime:
    """Start a runtime on a new database.

    `active` and `shadow` are the bundles that predict; without one it is the packaged ones, as at
    a new installation.
    """
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    if active:
        record = register_bundle(database, settings, active, actor="test")
        beside = register_bundle(database, settings, shadow, actor="test") if shadow else None
        with database.transaction() as session:
            activate_model(session, record.name, "test")
            if beside:
                select_shadow(session, beside.name, "test")
    database.dispose()
    return Runtime(settings, WorkerIdentity.new(["stat", "routine"]))


def accept_files(runtime: Runtime, *paths: Path) -> str:
    """Accept the files as one study and return its key."""
    return accept_study(list(paths), database=runtime.database, site=runtime.settings).study_key


def query_rows(runtime: Runtime, sql: str, **values) -> list[dict]:
    """Return what the database answers, as dictionaries."""
    with runtime.database.transaction() as session:
        return [dict(row) for row in session.execute(text(sql), values).mappings()]
