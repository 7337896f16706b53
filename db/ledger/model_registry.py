"""Model versions: the registered bundles, the active one and its shadow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import insert_if_new
from db.ledger.audit import append_entry
from db.ledger.row_digests import as_text
from db.models import ModelVersion
from db.values import ModelRecord, NewModelVersion
from db.values.rows import from_row
from db.vocabulary.enums import AuditEvent
from db.vocabulary.errors import ModelConflict, ModelUnknown, ShadowIsActive


def register_model(
    session: Session, version: NewModelVersion, *, actor: str = "pneumo"
) -> ModelRecord:
    """Register a bundle; registering the same one again changes nothing.

    Returns:
        The bundle's row, new or known.

    Raises:
        ModelConflict: The name belongs to another bundle, or the bundle to another name.
    """
    moment = now(session)
    row_id = insert_if_new(
        session,
        ModelVersion,
        **asdict(version),
        is_active=False,
        is_shadow=False,
        registered_at=moment,
    )
    if row_id is None:
        return _registered_before(session, version)
    detail = {
        "model": version.name,
        "architecture": version.architecture,
        "bundle_digest": version.bundle_digest,
        "preprocessing_version": version.preprocessing_version,
        "threshold": version.threshold,
        "temperature": version.temperature,
        "bias": version.bias,
        "location": version.location,
        "registered_at": as_text(moment),
    }
    append_entry(session, AuditEvent.MODEL_REGISTERED, None, detail, actor)
    return _record(session.get_one(ModelVersion, row_id))


def activate_model(session: Session, name: str, actor: str) -> ModelRecord:
    """Make this version the only one that predicts. Raises ModelUnknown.

    If it was the shadow, there is no shadow any more.
    """
    rows = _locked(session)
    chosen = _chosen(rows, name)
    if chosen.is_active:
        return _record(chosen)
    before = next((row for row in rows if row.is_active), None)
    if before is not None:
        before.is_active = False
        session.flush()  # the index allows one active row at any moment
    moment = now(session)
    detail = {
        "model": name,
        "bundle_digest": chosen.bundle_digest,
        "before": before.name if before else None,
        "was_shadow": chosen.is_shadow,
        "activated_at": as_text(moment),
    }
    chosen.is_active, chosen.activated_at, chosen.is_shadow = True, moment, False
    append_entry(session, AuditEvent.MODEL_ACTIVATED, None, detail, actor)
    return _record(chosen)


def select_shadow(session: Session, name: str | None, actor: str) -> ModelRecord | None:
    """Let this version predict beside the active one without deciding anything.

    Args:
        session: The running transaction.
        name: The version; None: no version is the shadow any more.
        actor: Who selected it, for the audit trail.

    Returns:
        The shadow's row; None if there is none now.

    Raises:
        ModelUnknown: No version has this name.
        ShadowIsActive: It is the active version.
    """
    rows = _locked(session)
    chosen = _chosen(rows, name) if name is not None else None
    before = next((row for row in rows if row.is_shadow), None)
    if chosen is not None and chosen.is_active:
        raise ShadowIsActive(
            "SHADOW_IS_ACTIVE",
            f"{chosen.name} is the active model version, and a shadow must be another one. Name "
            "another, or activate another first.",
        )
    if chosen is before:
        return _record(chosen) if chosen else None
    if before is not None:
        before.is_shadow = False
        session.flush()  # the index allows one shadow at any moment
    if chosen is not None:
        chosen.is_shadow = True
    detail = {
        "model": chosen.name if chosen else None,
        "bundle_digest": chosen.bundle_digest if chosen else None,
        "before": before.name if before else None,
    }
    append_entry(session, AuditEvent.SHADOW_SELECTED, None, detail, actor)
    return _record(chosen) if chosen else None


def active_model(session: Session) -> ModelRecord | None:
    """Return the version that predicts; None on a new installation."""
    row = session.scalars(select(ModelVersion).where(ModelVersion.is_active)).one_or_none()
    return _record(row) if row else None


def shadow_model(session: Session) -> ModelRecord | None:
    """Return the version that predicts beside the active one; None without one."""
    row = session.scalars(select(ModelVersion).where(ModelVersion.is_shadow)).one_or_none()
    return _record(row) if row else None


def list_models(session: Session) -> list[ModelRecord]:
    """Return all versions in order of registration."""
    return [_record(row) for row in session.scalars(select(ModelVersion).order_by(ModelVersion.id))]


def _chosen(rows: Sequence[ModelVersion], name: str) -> ModelVersion:
    for row in rows:
        if row.name == name:
            return row
    raise ModelUnknown(
        "MODEL_UNKNOWN",
        f"No model version has the name {name!r}; registered are: "
        f"{', '.join(sorted(row.name for row in rows)) or 'none'}. Register its bundle with "
        "`pneumo model register FOLDER`.",
    )


def _registered_before(session: Session, version: NewModelVersion) -> ModelRecord:
    rows = _locked(session)
    same_name = next((row for row in rows if row.name == version.name), None)
    if same_name is None:
        owner = next(row for row in rows if row.bundle_digest == version.bundle_digest)
        raise ModelConflict(
            "MODEL_CONFLICT",
            f"This bundle is already registered as {owner.name}. Use that name, or build a new "
            f"bundle for {version.name}.",
        )
    if same_name.bundle_digest != version.bundle_digest:
        raise ModelConflict(
            "MODEL_CONFLICT",
            f"{version.name} is registered with bundle digest {same_name.bundle_digest[:12]}…, and "
            f"this bundle has {version.bundle_digest[:12]}…. Give the new bundle a version of its "
            "own and register that.",
        )
    return _record(same_name)


def _locked(session: Session) -> list[ModelVersion]:
    """Return all rows, locked in one order, so that concurrent activations are serialised."""
    query = select(ModelVersion).order_by(ModelVersion.id).with_for_update()
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _record(row: ModelVersion) -> ModelRecord:
    return from_row(ModelRecord, row)
