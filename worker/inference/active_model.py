"""The active model: its row, its bundle's folder, and the predictor loaded from it."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from db.engine.session import Database
from db.ledger.model_registry import (
    activate_model,
    active_model,
    register_model,
    select_shadow,
    shadow_model,
)
from db.values import ModelRecord, NewModelVersion
from worker.errors import PneumoError, Rejected, Resource
from worker.imaging.eligibility import EligibilityPolicy
from worker.inference.assessment import Assessment
from worker.inference.shadow import Shadow
from worker.logging import get_logger
from worker.model.batching import MicroBatcher
from worker.model.bundle import (
    default_bundle,
    is_whole,
    load_bundle,
    packaged_bundles,
    shadow_bundle,
)
from worker.model.manifest import BundleManifest
from worker.model.predictor import Predictor
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ActiveModel:
    """A verified bundle on its device, behind its micro-batch queue."""

    record: ModelRecord
    """Its row."""
    manifest: BundleManifest
    """The bundle's manifest."""
    predictor: Predictor
    """Weights on the device."""
    batcher: MicroBatcher
    """The only inference thread, which serves the decoding threads' queue."""
    policy: EligibilityPolicy
    """Eligibility by this model's intended population."""
    assessment: Assessment
    """Which frames it scores."""
    shadow: Shadow | None
    """The shadow, if one was selected and could be loaded."""
    selected_shadow: str | None
    """Name of the version that was selected as shadow when this was loaded."""

    def close(self, *, finish: bool = False) -> None:
        """End its threads; `finish`: answer the queue first."""
        self.batcher.close(finish=finish)
        if self.shadow:
            self.shadow.close()
        self.predictor.close()


def name_of(manifest: BundleManifest) -> str:
    """Return the model version's name, e.g. `resnet50-0.2.0`."""
    return f"{manifest.model_name}-{manifest.model_version}"


def register_bundle(
    database: Database, settings: Settings, folder: Path, *, actor: str
) -> ModelRecord:
    """Verify the bundle in `folder`, copy it under `models_dir` and store its row.

    Registering the same bundle again changes nothing.

    Raises:
        Rejected: (BundleRefused) A check failed.
        ModelConflict: This name is registered with another digest.
    """
    manifest = load_bundle(folder).manifest
    name = name_of(manifest)
    _copy_once(folder, settings.models_dir / name, manifest.digest)
    version = NewModelVersion(
        name=name,
        architecture=manifest.architecture,
        bundle_digest=manifest.digest,
        preprocessing_version=manifest.preprocessing.version,
        temperature=manifest.temperature,
        bias=manifest.bias,
        threshold=manifest.threshold,
        location=name,
    )
    return in_transaction(database, lambda session: register_model(session, version, actor=actor))


def ensure_default_model(database: Database, settings: Settings) -> ModelRecord:
    """Return the active model's row.

    On a new installation, register the packaged bundles, activate the default one and select the
    other as its shadow.
    """
    record = in_transaction(database, active_model)
    if record is not None:
        return record
    registered = register_bundle(database, settings, default_bundle(), actor="installation")
    folder = shadow_bundle()
    shadow = register_bundle(database, settings, folder, actor="installation") if folder else None

    def select(session: Session) -> ModelRecord:
        # Of several workers that start at the same time the first decides for all.
        before = active_model(session)
        if before is not None:
            return before
        record = activate_model(session, registered.name, actor="installation")
        if shadow is not None:
            select_shadow(session, shadow.name, actor="installation")
        return record

    log.info("default_model_activated", model=registered.name)
    return in_transaction(database, select)


def load_active_model(database: Database, settings: Settings) -> ActiveModel:
    """Load the active model onto the configured device, ready to predict."""
    record = ensure_default_model(database, settings)
    bundle = load_bundle(find_bundle(record, settings))
    predictor = Predictor(
        bundle,
        device=settings.device,
        max_batch=settings.max_batch,
        cpu_threads=settings.torch_threads,
    )
    ages = bundle.manifest.intended_population.age_years
    log.info("model_loaded", model=record.name, device=predictor.device_name)
    wanted = in_transaction(database, shadow_model) if settings.shadow else None
    return ActiveModel(
        record=record,
        manifest=bundle.manifest,
        predictor=predictor,
        batcher=MicroBatcher(
            predictor.predict, max_batch=settings.max_batch, linger_s=settings.linger_s
        ),
        policy=EligibilityPolicy(population_age_years=ages),
        assessment=Assessment(
            model_name=record.name,
            cut_off=bundle.guard.cut_off if bundle.guard else None,
            assess_unlike=settings.wrong_images == "warn",
        ),
        shadow=load_shadow(database, settings, wanted, active_manifest=bundle.manifest)
        if wanted
        else None,
        selected_shadow=wanted.name if wanted else None,
    )


def load_shadow(
    database: Database, settings: Settings, record: ModelRecord, *, active_manifest: BundleManifest
) -> Shadow | None:
    """Load the shadow onto the configured device, of a CPU on one core.

    Returns:
        None, after a warning in the log, if it cannot be loaded for whatever reason: the active model
        works without it.
    """
    try:
        bundle = load_bundle(find_bundle(record, settings))
        _require_same_input(bundle.manifest, active_manifest)
        predictor = Predictor(
            bundle, device=settings.device, max_batch=settings.max_batch, cpu_threads=1
        )
    except PneumoError as error:
        log.warning(
            "shadow_not_loaded", model=record.name, code=error.code, sentence=error.sentence
        )
        return None
    except Exception as error:  # noqa: BLE001  e.g. a device whose memory holds only one model
        log.warning("shadow_not_loaded", model=record.name, error_type=type(error).__qualname__)
        return None
    log.info("shadow_loaded", model=record.name, device=predictor.device_name)
    return Shadow(record, bundle, predictor, database)


def _require_same_input(shadow: BundleManifest, active: BundleManifest) -> None:
    """Refuse a shadow with another preprocessing: it gets the active model's tensors."""
    if shadow.preprocessing != active.preprocessing:
        raise Rejected(
            "SHADOW_INPUT_DIFFERS",
            f"{name_of(shadow)} was trained on pictures of side {shadow.preprocessing.size}, and "
            f"{name_of(active)} on side {active.preprocessing.size}, or with another recipe; a shadow "
            "needs the active model's preprocessing. Choose another with `pneumo model shadow`.",
        )


def find_bundle(record: ModelRecord, settings: Settings) -> Path:
    """Return the folder on this machine whose manifest has the registered digest.

    Raises Rejected MODEL_BUNDLE_MISSING.
    """
    for folder in [settings.models_dir / record.location, *packaged_bundles()]:
        if is_whole(folder, record.bundle_digest):
            return folder
    raise Rejected(
        "MODEL_BUNDLE_MISSING",
        f"Model version {record.name} is selected, but no folder on this machine holds the bundle "
        f"with digest {record.bundle_digest[:12]}…. Copy that bundle here and run "
        "`pneumo model register FOLDER`.",
    )


def _copy_once(folder: Path, target: Path, digest: str) -> None:
    """Copy a bundle so that no process ever sees an incomplete copy, however many copy at once.

    Each process copies to a folder with its own name; the first one renames it, and the others find a
    complete copy. (On a new installation all workers start at the same time.) A damaged copy is
    renamed and kept.
    """
    if is_whole(target, digest):
        return
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, partial)
        if target.exists() and not is_whole(target, digest):
            target.rename(target.with_name(f".{target.name}.{secrets.token_hex(8)}.damaged"))
        _rename_unless_there(partial, target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Resource(
            "MODEL_COPY_FAILED",
            f"The bundle could not be copied to the models folder ({reason}). "
            "Free space or correct PNEUMO_STATE_DIR and register it again.",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _rename_unless_there(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:  # a non-empty folder cannot be replaced: another process was first
        if not target.is_dir():
            raise
