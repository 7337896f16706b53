"""The DICOM node: a Storage and Verification SCP that accepts what any hospital sends.

Every storage SOP class is accepted, private and unknown ones too, in every transfer syntax that is
proposed: what cannot be predicted is refused later, by a code and with a record, and not lost at an
association that nobody looks at.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from db.engine.session import Database
from worker.delivery.commitment import handlers as commitment_handlers
from worker.errors import Rejected, Resource
from worker.listener.admission import HEALTH_AE_TITLE, Admission, AssociationSlots, admit
from worker.listener.c_store import SUCCESS, handle_c_store
from worker.listener.certificate_check import certificate_problem, update_condition
from worker.listener.connections import ConnectionHandler, ListenerServer
from worker.listener.pending_connections import PendingConnections, hang_up
from worker.listener.tls_renewal import ListenerTls
from worker.logging import get_logger, log_traceback, silence_noisy_libraries
from worker.peers.associations import LARGE_PDU_BYTES
from worker.peers.tls import probe_context
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage
from worker.storage.storage_factory import intake_storage

log = get_logger(__name__)

GRACE_S = 5.0
"""How long open associations may go on after SIGTERM; container runtimes kill after 10 s."""
CHECK_INTERVAL_S = 1.0
"""Between two checks whether our certificate was renewed."""
UNLIMITED = 1_000_000
PART_FILE_MAX_AGE_S = 3600.0
"""A half-written file of this age belongs to a process that died."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A running listener in threads of this process."""

    server: Any
    """pynetdicom's server."""
    ae: AE
    """The application entity, which knows the open associations."""
    tls: ListenerTls | None
    """None if it listens without TLS."""

    def close(self, *, grace_s: float = GRACE_S) -> None:
        """Accept no more associations, let open ones end within `grace_s`, abort the others."""
        self.server.shutdown()
        for association in self.ae.active_associations:
            if not association.is_established:
                _close_connection(association)
        _wait_while(lambda: any(a.is_established for a in self.ae.active_associations), grace_s)
        _wait_while(lambda: not all(a.is_established for a in self.ae.active_associations), 1.0)
        self.ae.shutdown()


def start_listener(settings: Settings, database: Database) -> Listener:
    """Listen in threads of this process.

    Raises Resource PORT_TAKEN, PORT_REFUSED; Rejected TLS_FILE_MISSING, TLS_FILE_UNUSABLE.
    """
    _configure_pynetdicom()
    tls = None if settings.listen_tls == "off" else ListenerTls(settings)
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_associations = (
        UNLIMITED  # it counts connections that ask for nothing: AssociationSlots
    )
    ae.acse_timeout, ae.network_timeout = settings.association_timeout_s, settings.silence_timeout_s
    ae.maximum_pdu_size = LARGE_PDU_BYTES
    ae.add_supported_context(Verification)
    # The caller is the SCP here: destinations report on storage commitment (PS3.4 J.3.3).
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers = [
        *commitment_handlers(settings, database),
        (evt.EVT_C_STORE, handle_c_store, [settings, database]),
        (evt.EVT_REQUESTED, admit, [Admission.of(settings), AssociationSlots(settings), settings]),
    ]
    try:
        server = ae.make_server(
            (settings.listen_host, settings.listen_port),
            evt_handlers=handlers,
            server_class=ListenerServer,
            request_handler=ConnectionHandler,
        )
    except OSError as error:
        raise _cannot_listen(settings, error) from None
    server.settings, server.storage, server.tls = settings, intake_storage(settings, database), tls
    server.pending = PendingConnections(settings.association_timeout_s)
    ae._servers.append(server)  # noqa: SLF001  as its `start_server` does, which takes no handler
    threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
    return Listener(server=server, ae=ae, tls=tls)


def run(settings: Settings) -> None:
    """`pneumo listen`: listen until SIGTERM or SIGINT."""
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    threading.excepthook = _thread_died
    database = Database(settings.database_url)
    listener = _start_and_report(settings, database)
    log.info(
        "listener_started",
        port=settings.listen_port,
        ae_title=settings.ae_title,
        tls=settings.listen_tls,
    )
    _maintain(settings, database, stop, listener.tls)
    listener.close()
    database.dispose()
    log.info("listener_stopped")


def _start_and_report(settings: Settings, database: Database) -> Listener:
    """Start; if our own certificate prevents that, record it as a condition."""
    try:
        return start_listener(settings, database)
    except Rejected as refusal:
        update_condition(database, refusal)
        raise


def _maintain(
    settings: Settings, database: Database, stop: threading.Event, tls: ListenerTls | None
) -> None:
    """Until `stop`: sweep the files of killed processes, and reload our certificate."""
    sweep_at = 0.0
    has_news = True
    while True:
        if time.monotonic() >= sweep_at:
            sweep_at, has_news = time.monotonic() + PART_FILE_MAX_AGE_S, True
            _sweep(settings)
        if tls is not None and tls.reload_if_changed():
            has_news = True
        if has_news:
            trouble = tls.trouble if tls is not None else None
            has_news = not update_condition(database, trouble or certificate_problem(settings))
        if stop.wait(CHECK_INTERVAL_S):
            return


def _sweep(settings: Settings) -> None:
    swept = IntakeStorage(settings.intake_dir).sweep_part_files(older_than_s=PART_FILE_MAX_AGE_S)
    if swept:
        log.info("leftovers_swept", files=swept)


def echo(settings: Settings, *, timeout_s: float = 5.0) -> bool:
    """Return whether our own listener answers C-ECHO (PS3.4 annex A). Raises Rejected TLS_FILE_..."""
    _configure_pynetdicom()
    address = (_EVERY_ADDRESS.get(settings.listen_host, settings.listen_host), settings.listen_port)
    if not _is_port_open(address, timeout_s):
        return False
    ae = AE(ae_title=HEALTH_AE_TITLE)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout_s
    ae.add_requested_context(Verification)
    tls = None if settings.listen_tls == "off" else (probe_context(settings), address[0])
    association = ae.associate(*address, ae_title=settings.ae_title, tls_args=tls)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool("Status" in status and status.Status == SUCCESS)


def _is_port_open(address: tuple[str, int], timeout_s: float) -> bool:
    """Return whether a connection succeeds: pynetdicom does not close the socket of one that fails."""
    try:
        socket.create_connection(address, timeout=timeout_s).close()
    except OSError:
        return False
    return True


_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The address to reach ourselves when we listen on every address."""


def _configure_pynetdicom() -> None:
    """Settings of pynetdicom that hold for the whole process."""
    silence_noisy_libraries()
    # Its handlers would format every message for loggers that are closed.
    _config.LOG_HANDLER_LEVEL = "none"
    # Private and unknown SOP classes count as storage; contexts need not be listed, nor copied for
    # every association; of the transfer syntaxes proposed the sender's first is taken.
    _config.UNRESTRICTED_STORAGE_SERVICE = True


def _cannot_listen(settings: Settings, error: OSError) -> Resource:
    if error.errno == errno.EADDRINUSE:
        return Resource(
            "PORT_TAKEN",
            f"Port {settings.listen_port} on {settings.listen_host} is taken by another program. Set "
            "PNEUMO_LISTEN_PORT to a free port, or end what listens there.",
        )
    return Resource(
        "PORT_REFUSED",
        f"The system does not let us listen on port {settings.listen_port} of {settings.listen_host} "
        f"({error.strerror}). Set PNEUMO_LISTEN_PORT (from 1024 without special rights) and "
        "PNEUMO_LISTEN_HOST (an address of this machine, or 0.0.0.0 for all).",
    )


def _close_connection(association: Any) -> None:
    """End a connection that has not asked for an association: there is nothing to abort yet."""
    with suppress(AttributeError):  # it may be closed already
        hang_up(association.dul.socket.socket)


def _wait_while(holds: Callable[[], bool], at_most_s: float) -> None:
    until = time.monotonic() + at_most_s
    while holds() and time.monotonic() < until:
        time.sleep(0.02)


def _thread_died(args: threading.ExceptHookArgs) -> None:
    """In place of threading's, which prints the exception with its words."""
    if args.exc_value is not None:
        log_traceback(args.exc_value, log, code="LISTENER_THREAD_DIED")
