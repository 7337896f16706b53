"""An Orthanc of a test's own: a real process on loopback, ended by its process id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until

ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
needs_orthanc = pytest.mark.skipif(ORTHANC is None, reason="Debian's orthanc is not installed")

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc_with_dicomweb = pytest.mark.skipif(
    ORTHANC is None or not DICOMWEB.exists(),
    reason="Debian's orthanc and orthanc-dicomweb are not installed",
)

STABLE_AFTER_S = 1


@dataclass
class Orthanc:
    """A PACS in a folder."""

    folder: Path
    settings: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Until it answers."""
        configuration = {
            "Name": "tests",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StableAge": STABLE_AFTER_S,
            **self.settings,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(ORTHANC), str(path)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        wait_until(self._answers, within_s=30, what=self.log, every_s=0.1)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def read(self, path: str) -> bytes:
        """The bytes that the REST interface answers, e.g. a picture."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.http_port}{path}", timeout=scaled(10)
        ) as it:
            return it.read()

    def get(self, path: str) -> object:
        """What the REST interface answers, as JSON."""
        return json.loads(self.read(path))

    def find(self, query: dict[str, object]) -> object:
        """The resources that match, as /tools/find answers."""
        return self.post("/tools/find", json.dumps(query).encode())

    def post(self, path: str, body: bytes) -> object:
        """The same of a POST, e.g. a DICOM file to /instances."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=body)
        with urllib.request.urlopen(request, timeout=scaled(30)) as it:
            return json.loads(it.read())

    def put(self, path: str, value: object) -> None:
        """The same of a PUT of JSON, e.g. to /modalities/NAME."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            data=json.dumps(value).encode(),
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=scaled(10)).close()

    def delete(self, path: str) -> None:
        """The same of a DELETE, e.g. of /instances/ID."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}", method="DELETE"
        )
        urllib.request.urlopen(request, timeout=scaled(10)).close()

    def log(self) -> str:
        return (self.folder / "orthanc.log").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=scaled(30))
