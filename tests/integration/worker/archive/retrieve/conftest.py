"""A study of three images: as files, as data sets, and in a DICOMweb archive on loopback."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pynetdicom import _config

from tests.builders.dicom import make_study
from tests.builders.retrieval import UID
from tests.builders.web_archive import WebArchive, serve_web_archive


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return [path.read_bytes() for path in make_study(folder, 3, study_instance_uid=UID)]


@pytest.fixture(scope="module")
def datasets(files):
    return [dcmread(BytesIO(file)) for file in files]


@pytest.fixture
def archive(files):
    with serve_web_archive(WebArchive({UID: files})) as served:
        yield served


@pytest.fixture
def restricted(monkeypatch):
    """An archive that knows its SOP classes, though a listener ran in this process before."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
