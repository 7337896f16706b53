"""A DICOMweb server of a test's own on loopback: a real one, that can fail as real ones do."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BOUNDARY = "the-boundary"


@dataclass
class WebArchive:
    """What it has, how it behaves, and what it was asked."""

    files: dict[str, list[bytes]] = field(default_factory=dict)
    """Study Instance UID -> DICOM files."""
    behave: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
    """Answers in place of the archive, if it returns True."""
    token: str | None = None
    modalities: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """Instances that it says a study has, where that is not the truth."""
    knows_offset: bool = True
    page: int = 1000
    times: dict[str, str] = field(default_factory=dict)
    """Study Time of a study; matched by ranges where it is said."""
    warns: bool = False
    """Says that a page is not all (PS3.18 8.3.4.4)."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            request.send_error(401)
        elif self.behave(request):
            return
        elif urlsplit(request.path).path == "/web/studies":
            self._search(request, parse_qs(urlsplit(request.path).query))
        elif (uid := request.path.rpartition("/")[2]) in self.files:
            send_multipart(request, self.files[uid])
        else:
            request.send_error(404)

    def _search(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        """Matches UID and time alone, as a server that ignores what it does not know."""
        wanted = query.get("StudyInstanceUID", [None])[0]
        begins, _, ends = query.get("StudyTime", [""])[0].partition("-")
        uids = [
            uid
            for uid in self.files
            if wanted in (None, uid)
            and (not ends or uid not in self.times or begins <= self.times[uid] <= ends)
        ]
        begin = int(query.get("offset", ["0"])[0]) if self.knows_offset else 0
        size = min(self.page, int(query.get("limit", ["1000"])[0]))
        page = [self._study(uid) for uid in uids[begin : begin + size]]
        send_json(request, page, warns=self.warns and len(page) < len(uids))

    def _study(self, uid: str) -> dict:
        count = self.counts.get(uid, len(self.files[uid]))
        return {
            "0020000D": {"vr": "UI", "Value": [uid]},
            "00080061": {"vr": "CS", "Value": self.modalities.get(uid, ["CR"])},
            "00201208": {"vr": "IS", "Value": [count]},
        }


def send_json(request: BaseHTTPRequestHandler, value: object, *, warns: bool = False) -> None:
    body = json.dumps(value).encode()
    request.send_response(200)
    if warns:
        request.send_header("Warning", '299 server "There are additional results"')
    request.send_header("Content-Type", "application/dicom+json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def multipart_body(files: list[bytes]) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


def send_multipart(
    request: BaseHTTPRequestHandler, files: list[bytes], *, only: int | None = None,
    length: bool = True,
) -> None:  # fmt: skip
    """`only`: so many bytes of it, then hang up; `length`: say how many there are."""
    body = multipart_body(files)
    request.send_response(200)
    request.send_header(
        "Content-Type", f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    )
    if length:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[:only])
    request.close_connection = True


@contextmanager
def serve_web_archive(
    archive: WebArchive, context: ssl.SSLContext | None = None
) -> Iterator[WebArchive]:
    """On loopback, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            archive.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if context else "http"
    archive.url = f"{scheme}://127.0.0.1:{server.server_port}/web"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
