"""The DICOM node: a Storage SCP that says yes only to what is on disk and in SQL.

The data set is kept byte for byte as it came, in whatever transfer syntax: what cannot be read is
refused later, by name, and not dropped at the door. STAT is what a sender marks with C-STORE
priority HIGH (PS3.7 9.3.1.1) or sends to the STAT AE title, since few senders can set a priority.
"""

from __future__ import annotations

import io
import signal
import threading
from dataclasses import dataclass
from types import FrameType

from pydicom.uid import UID_dictionary
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from sqlalchemy.exc import SQLAlchemyError

from db.enums import InstanceReceipt, Priority
from db.session import Database
from worker.errors import Rejected, Resource
from worker.imaging.reading import read_header
from worker.intake.accept import accept_instance
from worker.intake.storage import IntakeStorage
from worker.logging import close_talkative_libraries, get_logger, keep_traceback
from worker.settings import Settings

log = get_logger(__name__)

MAXIMUM_ASSOCIATIONS = 25
"""At once; more are refused with "temporary congestion", and senders come back."""

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
FAILED = 0xC211
"""C-STORE status codes, PS3.4 B.2.3 (0xCxxx: cannot understand, ours to number)."""

HIGH = 1
"""Value of (0000,0700) Priority that means HIGH, PS3.7 9.3.1.1."""

TRANSFER_SYNTAXES = sorted(
    uid
    for uid, (_, kind, _, retired, _) in UID_dictionary.items()
    if kind == "Transfer Syntax" and not retired
)
"""Every one that the standard knows: keeping bytes needs no decoder."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A running listener."""

    server: object
    """pynetdicom's server; ends with `close`."""
    ae: AE
    """The application entity, which knows the open associations."""

    def close(self) -> None:
        """Take no more associations and end those that are open."""
        self.ae.shutdown()


def start_listener(site: Settings, database: Database) -> Listener:
    """Listen in threads of this process. Raises Resource("PORT_TAKEN")."""
    close_talkative_libraries()
    # Unknown and private storage SOP classes too: the eligibility table refuses them by name.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    ae = AE(ae_title=site.ae_title)
    ae.maximum_associations = MAXIMUM_ASSOCIATIONS
    ae.maximum_pdu_size = 131072  # larger pieces than the default 16 KiB: a radiograph has 15 MB
    ae.supported_contexts = [
        *(build_context(c.abstract_syntax, TRANSFER_SYNTAXES) for c in AllStoragePresentationContexts),
        build_context(Verification),
    ]
    handlers = [(evt.EVT_C_STORE, _on_c_store, [site, database])]
    try:
        server = ae.start_server(
            (site.listen_host, site.listen_port), block=False, evt_handlers=handlers
        )
    except OSError as error:
        raise Resource(
            "PORT_TAKEN",
            f"The listener cannot listen on {site.listen_host} port {site.listen_port} "
            f"({error.strerror}). Set PNEUMO_LISTEN_PORT to a free port, or end what listens there.",
        ) from None
    return Listener(server=server, ae=ae)


def run(site: Settings) -> None:
    """Listen until SIGTERM or SIGINT."""
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    database = Database(site.database_url)
    listener = start_listener(site, database)
    log.info("listener_started", port=site.listen_port, ae_title=site.ae_title)
    stop.wait()
    listener.close()
    database.dispose()
    log.info("listener_stopped")


def echo(site: Settings, *, timeout_s: float = 5.0) -> bool:
    """C-ECHO to our own listener (PS3.4 A.4): does it answer?"""
    close_talkative_libraries()
    ae = AE(ae_title="PNEUMO_HEALTH")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout_s
    ae.add_requested_context(Verification)
    host = "127.0.0.1" if site.listen_host == "0.0.0.0" else site.listen_host  # noqa: S104
    association = ae.associate(host, site.listen_port, ae_title=site.ae_title)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status and status.Status == SUCCESS)


def _on_c_store(event: evt.Event, site: Settings, database: Database) -> int:
    """Answer one C-STORE request: disk, row, then yes. No exception leaves this function."""
    try:
        return _take_over(event, site, database)
    except Rejected as error:
        log.warning("instance_not_understood", code=error.code)
        return CANNOT_UNDERSTAND
    except Resource as error:
        log.error("instance_not_taken_over", code=error.code)
        return OUT_OF_RESOURCES
    except SQLAlchemyError as error:
        log.error("database_away", error_type=type(error).__qualname__)
        return OUT_OF_RESOURCES
    except Exception as error:  # noqa: BLE001  the sender must get an answer
        keep_traceback(error, log, code="LISTENER_BUG")
        return FAILED


def _take_over(event: evt.Event, site: Settings, database: Database) -> int:
    encoded = event.encoded_dataset()  # preamble, file meta, then the sender's own bytes
    header = read_header(io.BytesIO(encoded))
    stored = IntakeStorage(site.intake_dir).keep_bytes(encoded)
    requestor = event.assoc.requestor
    acceptance = accept_instance(
        stored,
        header,
        priority=_priority(event, site),
        site_ae_title=requestor.ae_title,
        database=database,
        site=site,
    )
    receipt = acceptance.instances[0].outcome
    log.info(
        "instance_received",
        study_key=acceptance.study_key,
        receipt=receipt.value,
        bytes=stored.size,
    )
    if receipt is InstanceReceipt.CONFLICTING:
        log.warning("instance_conflicts", study_key=acceptance.study_key)
    return SUCCESS


def _priority(event: evt.Event, site: Settings) -> Priority:
    called = event.assoc.requestor.primitive.called_ae_title
    stat = event.request.Priority == HIGH or called == site.stat_ae_title
    return Priority.STAT if stat else Priority.ROUTINE
