"""dcmtk's own senders before our listener."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.builders.dicom import make_study
from tests.builders.waiting import scaled

pytestmark = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="Debian's dcmtk is not installed"
)

STUDY = "1.2.3.88"


@pytest.fixture
def listening(install):
    installation = install(calling_ae_titles="MODALITY_1")
    installation.start("worker.cli", "listen", log="listener")
    installation.wait_for(
        "the listener answers",
        lambda: dcmtk(installation, "echoscu").returncode == 0,
        within_s=30,
    )
    return installation


def dcmtk(installation, tool: str, *more: object, calling: str = "MODALITY_1"):
    """A tool's run against the listener."""
    address = ("127.0.0.1", str(installation.settings.listen_port))
    titles = ("-aet", calling, "-aec", "PNEUMO")
    return subprocess.run(
        [tool, *titles, *map(str, more[:-1] if more else ()), *address, *map(str, more[-1:])],
        capture_output=True,
        text=True,
        check=False,
        timeout=scaled(60),
    )


def test_a_title_that_is_not_listed_is_rejected_by_its_reason(listening):
    refused = dcmtk(listening, "echoscu", calling="STRANGER")
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_a_folder_is_taken_over(listening, tmp_path, tool):
    make_study(tmp_path / "in", n_instances=3, study_instance_uid=STUDY)
    sent = dcmtk(listening, tool, "+sd", tmp_path / "in")
    assert sent.returncode == 0, sent.stderr
    assert listening.one("SELECT count(*) FROM instance") == 3


def test_an_aborted_association_harms_nobody(listening, tmp_path):
    aborted = dcmtk(listening, "echoscu", "--abort")
    assert aborted.returncode == 0, aborted.stderr
    make_study(tmp_path / "in", n_instances=2, study_instance_uid=STUDY)
    cut = dcmtk(listening, "storescu", "--abort", "+sd", tmp_path / "in")
    assert cut.returncode == 0, cut.stderr
    assert listening.one("SELECT count(*) FROM instance") == 2, "what was answered stays"
