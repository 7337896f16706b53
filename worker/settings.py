"""One typed, frozen `Settings`, read once from PNEUMO_* variables at the start of a process.

Every process of an installation reads the same variables, so one env file describes a site.
A wrong value is reported in one sentence at the start, never at the first study.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.ae_titles import AETitle
from worker.errors import Rejected
from worker.vocabulary_file import read_vocabulary_file

PREFIX = "PNEUMO_"
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
DicomLongString = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[ -\[\]-~]+$")]
"""PS3.5 6.2, VR LO, of the default repertoire: it must be valid in whatever character set a study has."""
FREE_SPACE = re.compile(r"(100|\d{1,2}(\.\d+)?)%|\d+(\.\d+)?[MGT]B")
"""A share of the disk (`5%`), or an amount (`10GB`)."""


class Settings(BaseSettings):
    """What a site may decide. With the defaults everything runs on one machine in `state_dir`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    # Where data is kept
    state_dir: Path = Path("pneumo-state")
    """Folder of a single-machine installation: database, intake, models, broker, logs."""
    database_url: str = ""
    """SQLAlchemy URL (`sqlite:///…`, `postgresql+psycopg://…`); empty: SQLite in `state_dir`."""
    run_dir: Path | None = None
    """Folder of the processes' heartbeat files; empty: `run` in `state_dir`."""
    broker_url: str = "redis://127.0.0.1:6390/0"
    """Redis >= 6.2 or Valkey. It only carries hints: the truth is in SQL, the broker may be wiped."""
    broker_prefix: str = "pneumo:"
    """Put before every key, so that a shared Redis database stays tidy."""

    group_access: bool = False
    """Whether the group of our user may enter the state folder and read the intake, e.g. a bridge that hands
    over folders there; otherwise everything is closed to all but our user."""

    # How studies arrive
    listen_host: str = "127.0.0.1"
    """Address the DICOM listener binds to; 0.0.0.0 to be reached from other machines."""
    listen_port: int = Field(11112, ge=1, le=65535)
    """TCP port of the DICOM listener (11112 is DICOM's registered one)."""
    ae_title: AETitle = "PNEUMO"
    """Our AE title."""
    stat_ae_title: AETitle = "PNEUMO_STAT"
    """A sender that calls this AE title sends STAT (as does C-STORE priority HIGH)."""
    calling_ae_titles: str = ""
    """AE titles that may send, separated by commas; empty: any."""
    called_ae_titles: str = ""
    """AE titles by which we may be called, besides our own two; empty: any."""
    max_associations: int = Field(50, ge=1, le=1000)
    """Associations at once; each takes a few MB, however large its instances. One more is rejected as
    over the local limit (PS3.8 9.3.4), which is temporary, so that its sender tries again."""
    idle_window_s: Seconds = 10.0
    """Seconds without a further instance after which a study that came by C-STORE is closed."""
    count_quiet_s: Seconds = 5.0
    """Seconds without a new image before an archive is asked for its count, which grows as they arrive."""
    manifest_patience_s: Seconds = 3600.0
    """Seconds that a study waits for the next instance when its manifest names more than has arrived."""
    watch_folder: Path | None = None
    """Folder from which `pneumo watch` accepts DICOM files, including all folders in it."""
    watch_settle_s: Seconds = 2.0
    """Seconds without a change after which a file in it counts as complete."""
    listen_tls: Literal["off", "server", "mutual"] = "off"
    """`server`: only DICOM TLS; `mutual`: the caller must show a certificate that we trust."""
    association_timeout_s: Seconds = 10.0
    """A connection must ask for its association within this time, or it is closed."""
    max_associations_per_host: int = Field(25, ge=1, le=1000)
    """Of `max_associations`, how many one calling host may hold; one more is rejected likewise."""
    silence_timeout_s: Seconds = 60.0
    """An association that sends nothing for this time, or does not complete a PDU in it, is closed."""
    min_bytes_per_s: int = Field(1000, ge=0, le=10**9)
    """A sender that is slower over `silence_timeout_s` is closed, so that it holds no place for days."""
    max_file_bytes: int = Field(2 * 1024**3, ge=1024**2, le=2**40)
    """Size of one instance, by whatever way it comes; a larger one is refused (FILE_TOO_LARGE)."""
    max_folder_depth: int = Field(32, ge=1, le=1000)
    """Folders inside folders, in what is enqueued, watched or handed over (FOLDER_TOO_DEEP)."""
    max_handover_files: int = Field(20_000, ge=1, le=10**7)
    """Files and folders in one folder that a bridge hands over (TOO_MANY_FILES)."""
    handover_limit_s: Seconds = 300.0
    """A handed-over file that takes longer hangs its worker, which is then restarted."""
    handover_attempts: int = Field(5, ge=1, le=100)
    """After so many failed attempts to accept a handed-over folder, it is moved to `refused`."""
    handover_patience_s: Seconds = 10.0
    """Seconds that a folder which a bridge handed over waits for its message; then the relay sends one."""

    # The disk of the intake folder
    disk_warn_free: str = "10GB"
    """With less free space operators are warned. A share (`5%`) or an amount (`10GB`); `0%`: never."""
    disk_refuse_free: str = "2GB"
    """With less free space nothing new is accepted, so that what is here can be finished: 25 senders
    with 15 MB each in flight, results, database and logs fit into it several times."""

    own_disk: bool = False
    """True on a node that fetches to a disk that it does not share with the listener: it creates its
    intake folder even if the database already has images (worker/storage/storage_factory.py)."""

    keep_files_days: float = Field(30, ge=0, le=36_500)
    """Days after the result until the files of a finished study are removed; 0: never. We are no archive:
    long enough to ask again or to compare another model, short enough for disk and privacy."""

    identity_key: Path | None = None
    """File with the site's secret key for pseudonyms of patients; empty: `identity.key` in `state_dir`."""

    # The systems around us
    peers: Path | None = None
    """TOML file of the archives that we query and the destinations of results (docs/hospital.md)."""
    tls_certificate: Path | None = None
    """PEM of our certificate and its chain, shown to those who call us and those we call."""
    tls_key: Path | None = None
    """PEM of its private key, without a password."""
    tls_authorities: Path | None = None
    """PEM of the certificate authorities that we trust; without it, the system's, when we call."""
    vocabulary: Path | None = None
    """TOML file of the site's own words for body parts and views (docs/hospital.md)."""

    archive_timeout_s: Seconds = 60.0
    """Seconds that an archive may take to answer, or to send one image."""
    fetches_at_once: int = Field(3, ge=1, le=64)
    """Threads of a worker that may fetch routine studies at once; the others process what is here."""

    # Queue and claims (reasons: worker/celery.py and docs/delivery.md)
    lease_s: Seconds = 120.0
    """Seconds that a claim holds without renewal; a dead worker's studies wait at most so long."""
    lease_renewal_s: Seconds = 30.0
    """Seconds between two renewals of a claim; at most half of the lease."""
    study_limit_s: Seconds = 900.0
    """Seconds after which an attempt counts as hung; its worker then exits and is restarted."""
    relay_interval_s: Seconds = 1.0
    """Seconds between two rounds of the relay, which publishes, closes and sweeps studies."""
    requeue_after_s: Seconds = 60.0
    """Seconds after which a published study that nobody has claimed is published again."""
    stat_after_s: Seconds = 1800.0
    """Seconds after which a waiting routine study moves to the stat lane, so that it cannot starve."""
    max_retries: int = Field(8, ge=0, le=100)
    """Transient and resource failures of one study before it is parked."""
    retry_base_s: Seconds = 1.0
    """First delay in seconds; it doubles with each retry, with +-50 % jitter."""
    retry_ceiling_s: Seconds = 300.0
    """Longest delay in seconds between two retries."""

    # Decoding (worker/imaging/decode_budget.py, worker/imaging/guarded_decoding.py)
    decode_memory_mb: int = Field(2000, ge=100)
    """Memory that frames in decoding may hold together in one process; others wait."""
    decode_frame_mb: int = Field(1200, ge=10)
    """Memory that decoding one frame may take, 8 bytes a pixel; a larger frame is refused."""
    decode_limit_s: Seconds = 60.0
    """Longest decoding of a frame of a suspect study, or of one that is costly; then it is refused."""

    # The model
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """`auto` uses CUDA if there is one; the device used is recorded with every prediction."""
    max_batch: int = Field(16, ge=1, le=256)
    """Largest number of frames in one forward pass."""
    linger_s: float = Field(0.01, ge=0, le=1)
    """Seconds that the inference thread waits for a batch to fill; a STAT frame does not wait."""
    torch_threads: int = Field(0, ge=0, le=256)
    """Frames that go through the network in parallel on the CPU; 0: as many as cores."""
    wrong_images: Literal["refuse", "warn"] = "refuse"
    """How images unlike the training set are treated: no score, or a score with a warning."""
    shadow: bool = True
    """Whether this worker runs the shadow model beside the active one, if one is selected."""

    # Results: what we send to the PACS
    result_disclaimer: str = Field(
        "Not for diagnostic use without a radiologist.", min_length=1, max_length=120
    )
    """Printed in every structured report and at the foot of every capture."""
    result_manufacturer: DicomLongString = "pneumo"
    """(0008,0070) Manufacturer of the objects that we send."""
    result_device_name: DicomLongString = "pneumo"
    """(0008,1090) Manufacturer's Model Name, and the name of the observing device."""
    result_time_zone: str = "UTC"
    """Time zone of dates and times in results, where the images name no offset of their own."""
    result_font: Path | None = None
    """A TrueType or OpenType font for the captures, for letters that DejaVu Sans lacks."""
    results_for_rejected: bool = True
    """Whether destinations also get a result of a study of which nothing could be evaluated."""
    delivery_retry_ceiling_s: Seconds = 3600.0
    """Longest pause in seconds between two attempts to reach a destination; it is never given up."""
    delivery_refusals: int = Field(3, ge=1, le=100)
    """How often a destination may refuse a result, or lose it, before the delivery is parked."""
    delivery_timeout_s: Seconds = 60.0
    """Seconds that a destination may take for each answer."""
    commitment_patience_s: Seconds = 3600.0
    """Seconds after which a destination that has not confirmed storage of a result is asked again."""

    # The audit trail (docs/audit.md)
    audit_key: Path | None = None
    """Private key that signs checkpoints of the trail, made by `pneumo audit key`; empty: none are made."""
    audit_checkpoint_file: Path | None = None
    """File to which checkpoints are appended; empty: `audit-checkpoints.txt` in `state_dir`."""
    audit_checkpoint_s: Seconds = 900.0
    """Seconds between two checkpoints; none is made while nothing was recorded."""
    audit_collector: str = Field(
        "", pattern=r"^$|^(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}$"
    )
    """Syslog receiver (`tls://host:6514`) of audit messages (DICOM PS3.15 A.5) and checkpoints."""

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level written; no level ever holds personal data."""
    log_format: Literal["json", "text"] = "json"
    """`json`: one object a line, for machines; `text`: for a terminal."""

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, object]) -> dict[str, object]:
        """Fill in what follows from `state_dir` (before freezing)."""
        state_dir = Path(str(values.get("state_dir") or "pneumo-state")).expanduser().resolve()
        values["state_dir"] = state_dir
        if not values.get("database_url"):
            values["database_url"] = f"sqlite:///{state_dir / 'pneumo.sqlite'}"
        return values

    @field_validator(
        "peers", "vocabulary", "audit_key", "audit_checkpoint_file", "identity_key", mode="before"
    )
    @classmethod
    def _no_file(cls, value: object) -> object:
        """Treat an empty value as none: compose files can leave a variable empty, but not out."""
        return None if value == "" else value

    @field_validator("vocabulary")
    @classmethod
    def _is_vocabulary(cls, value: Path | None) -> Path | None:
        """Read the file once: a process with wrong words must not refuse images for them."""
        if value is not None:
            read_vocabulary_file(value)
        return value

    @field_validator("calling_ae_titles", "called_ae_titles")
    @classmethod
    def _are_ae_titles(cls, value: str) -> str:
        """Check each title against PS3.5 6.2."""
        for place, title in enumerate(_titles(value), start=1):
            try:
                _AE_TITLE.validate_python(title)
            except ValidationError:
                raise ValueError(
                    f"title {place} is no AE title; expected 1 to 16 letters, digits and symbols "
                    "without backslash, separated by commas"
                ) from None
        return value

    @field_validator("disk_warn_free", "disk_refuse_free")
    @classmethod
    def _is_room(cls, value: str) -> str:
        compact = value.replace(" ", "").upper()
        if not FREE_SPACE.fullmatch(compact):
            raise ValueError("expected a share of the disk (5%) or an amount (500MB, 2GB, 1TB)")
        return compact

    @model_validator(mode="after")
    def _lease_outlives_renewal(self) -> Settings:
        if self.lease_renewal_s * 2 > self.lease_s:
            raise ValueError(
                f"lease_renewal_s ({self.lease_renewal_s:g}) must be at most half of "
                f"lease_s ({self.lease_s:g}), or a single late renewal would lose a running worker's claim"
            )
        return self

    @property
    def calling_ae_title_list(self) -> tuple[str, ...]:
        """`calling_ae_titles`, one by one."""
        return _titles(self.calling_ae_titles)

    @property
    def called_ae_title_list(self) -> tuple[str, ...]:
        """`called_ae_titles`, one by one."""
        return _titles(self.called_ae_titles)

    @property
    def alive_dir(self) -> Path:
        """Folder of the heartbeat files that running processes touch."""
        return self.run_dir or self.state_dir / "run"

    @property
    def intake_dir(self) -> Path:
        """Folder of accepted files, under opaque names."""
        return self.state_dir / "intake"

    @property
    def handed_over_dir(self) -> Path:
        """Folders that a bridge hands over by message (docs/bridges.md)."""
        return self.intake_dir / "handed-over"

    @property
    def models_dir(self) -> Path:
        """Folder of registered bundles, one folder each."""
        return self.state_dir / "models"

    @property
    def checkpoint_file(self) -> Path:
        """File to which checkpoints of the audit trail are appended."""
        return self.audit_checkpoint_file or self.state_dir / "audit-checkpoints.txt"

    @property
    def log_dir(self) -> Path:
        """Folder of the logs of `pneumo up`, with the tracebacks that parked studies refer to."""
        return self.state_dir / "logs"

    def as_environment(self) -> dict[str, str]:
        """Return these settings as PNEUMO_* variables, for the processes that we start.

        What is None is left out: add it to an environment `without_settings`.
        """
        return {
            f"{PREFIX}{name}".upper(): str(value)
            for name, value in self.model_dump(exclude_none=True).items()
        }


_AE_TITLE: TypeAdapter[str] = TypeAdapter(AETitle)


def _titles(listed: str) -> tuple[str, ...]:
    return tuple(title.strip() for title in listed.split(",")) if listed.strip() else ()


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment. Raises Rejected SETTINGS_INVALID, which names the variable."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise Rejected("SETTINGS_INVALID", "; ".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> list[str]:
    """Write a sentence for each wrong value; the value may hold a password and is not shown."""
    return [
        f"{(PREFIX + str(item['loc'][0])).upper() if item['loc'] else 'Settings'}: "
        f"{item['msg'].removeprefix('Value error, ')}. Correct the variable and start again."
        for item in error.errors(include_input=False, include_url=False)
    ]


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without any PNEUMO_* variable, in upper or lower case, as they are read."""
    return {
        name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)
    }


@cache
def current_settings() -> Settings:
    """Return this process's settings, read at the first call."""
    return read_settings()


def use_state_dir(state_dir: Path) -> None:
    """Let this process and its children use `state_dir` (`pneumo --state DIR`)."""
    os.environ[f"{PREFIX}STATE_DIR"] = str(state_dir)
    current_settings.cache_clear()
