"""dcmtk's senders before our listener: every encoding they can propose, TLS, and rude ends."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess

import pytest
from pydicom import dcmread
from pydicom.uid import (
    HEVCM10P51,
    HEVCMP51,
    JPEG2000,
    MPEG2MPHL,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41BD,
    MPEG4HP42STEREO,
    MPEG4HP422D,
    MPEG4HP423D,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.builders.certificates import make_parties
from tests.builders.dicom import chest_like_pixels, make_instance, write_instance
from tests.builders.site import data_set_of, write_with_other_meta
from tests.builders.slow_sender import half_sent_requests
from tests.builders.waiting import scaled, wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="Debian's dcmtk is not installed"
)

SOP = "1.2.3.30"

PROPOSED = {
    "-xe": ExplicitVRLittleEndian,
    "-xb": ExplicitVRBigEndian,
    "-xi": ImplicitVRLittleEndian,
    "-xd": DeflatedExplicitVRLittleEndian,
    "-xs": JPEGLosslessSV1,
    "-xy": JPEGBaseline8Bit,
    "-xx": JPEGExtended12Bit,
    "-xv": JPEG2000Lossless,
    "-xw": JPEG2000,
    "-xt": JPEGLSLossless,
    "-xu": JPEGLSNearLossless,
    "-xr": RLELossless,
}
"""storescu's options and what each proposes; made by our builders."""

VIDEO = {
    "-xm": MPEG2MPML,
    "-xh": MPEG2MPHL,
    "-xn": MPEG4HP41,
    "-xl": MPEG4HP41BD,
    "-x2": MPEG4HP422D,
    "-x3": MPEG4HP423D,
    "-xo": MPEG4HP42STEREO,
    "-x4": HEVCMP51,
    "-x5": HEVCM10P51,
}
"""The rest of them; no receiver looks into the fragments, so they may hold anything."""


def dcmtk(
    site, tool: str, *options: object, what: object = None, called: str = "PNEUMO"
) -> subprocess.CompletedProcess:
    """A tool's run against the listener, with a file or folder to send if it is a sender."""
    files = [] if what is None else [str(what)]
    address = ("127.0.0.1", str(site.settings.listen_port))
    return subprocess.run(
        [tool, "-aec", called, *map(str, options), *address, *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=scaled(60),
    )


# -- encodings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "syntax"), PROPOSED.items(), ids=PROPOSED)
def test_every_encoding_that_storescu_proposes_is_kept(site, tmp_path, option, syntax):
    site.listen()
    path = write_instance(
        tmp_path / "a.dcm",
        transfer_syntax=syntax,
        bits_stored=8 if syntax == JPEGBaseline8Bit else 12,
        sop_instance_uid=SOP,
    )
    assert_kept_as_it_is(site, path, option, syntax)


@pytest.mark.parametrize(("option", "syntax"), VIDEO.items(), ids=VIDEO)
def test_video_is_kept_too(site, tmp_path, option, syntax):
    site.listen()
    compressed = make_instance(
        transfer_syntax=JPEGBaseline8Bit, bits_stored=8, sop_instance_uid=SOP
    )
    path = write_with_other_meta(tmp_path / "a.dcm", compressed, syntax=syntax)
    assert_kept_as_it_is(site, path, option, syntax)


def assert_kept_as_it_is(site, path, option, syntax):
    done = dcmtk(site, "storescu", option, what=path)
    assert done.returncode == 0, done.stderr
    assert site.rows("SELECT transfer_syntax_uid FROM instance") == [(str(syntax),)]
    (kept,) = site.stored_files()
    if syntax == DeflatedExplicitVRLittleEndian:  # dcmtk deflates again, by its own level
        assert dcmread(kept) == dcmread(path)
    else:
        assert data_set_of(kept.read_bytes()) == data_set_of(path.read_bytes())


def test_what_dcmtk_encodes_itself_is_kept(site, tmp_path):
    site.listen()
    for number, (tool, *options) in enumerate(DCMTK_ENCODERS):
        plain = write_instance(tmp_path / f"{number}.dcm", sop_instance_uid=f"{SOP}.{number}")
        target = tmp_path / "in" / f"{number}.dcm"
        target.parent.mkdir(exist_ok=True)
        subprocess.run([tool, *options, plain, target], check=True, capture_output=True)
    done = dcmtk(site, "dcmsend", "--decompress-never", "+sd", what=tmp_path / "in")
    assert done.returncode == 0, done.stderr
    found = site.rows("SELECT DISTINCT transfer_syntax_uid FROM instance")
    assert {uid for (uid,) in found} == {
        str(dcmread(path).file_meta.TransferSyntaxUID) for path in (tmp_path / "in").iterdir()
    }
    assert len(found) == len(DCMTK_ENCODERS)


DCMTK_ENCODERS = [
    ("dcmconv", "+td"),
    ("dcmcrle",),
    ("dcmcjpeg", "+e1"),
    ("dcmcjpeg", "+el"),
    ("dcmcjpls", "+el"),
    ("dcmcjpls", "+en"),
]


# -- who is let in ------------------------------------------------------------------------------


def test_a_called_title_that_is_not_listed_is_rejected_by_its_reason(site):
    site.settings = site.settings.model_copy(update={"called_ae_titles": "OLD_NAME"})
    site.listen()
    for known in ("PNEUMO", "PNEUMO_STAT", "OLD_NAME"):
        assert dcmtk(site, "echoscu", called=known).returncode == 0
    refused = dcmtk(site, "echoscu", called="SOMEBODY")
    assert refused.returncode != 0
    assert "Called AE Title Not Recognized" in refused.stderr


def test_one_association_too_many_is_told_that_the_limit_is_ours(site):
    site.settings = site.settings.model_copy(update={"max_associations": 2})
    site.listen()
    with half_sent_requests(site, senders=2, instance_bytes=200_000) as requests:
        refused = dcmtk(site, "echoscu")
        assert {request.finish() for request in requests} == {0x0000}
    assert refused.returncode != 0
    assert "Local Limit Exceeded" in refused.stderr
    wait_until(lambda: dcmtk(site, "echoscu").returncode == 0)


# -- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_parties(tmp_path_factory.mktemp("pki"))


def with_tls(site, pki, mode):
    changes = {
        "listen_tls": mode,
        "tls_certificate": pki["listener"].certificate,
        "tls_key": pki["listener"].key,
        "tls_authorities": pki["authority"].certificate,
    }
    site.settings = site.settings.model_copy(update=changes)
    site.listen()
    return site


def tls_of(pki, own: str | None, authority: str = "authority") -> list:
    """dcmtk's options: whose certificate it shows, and whom it trusts."""
    shown = ["+tla"] if own is None else ["+tls", pki[own].key, pki[own].certificate]
    return [*shown, "+cf", pki[authority].certificate]


@pytest.mark.parametrize(("mode", "own"), [("server", None), ("mutual", "modality")])
def test_dcmtk_sends_over_tls(site, pki, tmp_path, mode, own):
    with_tls(site, pki, mode)
    path = write_instance(tmp_path / "a.dcm", rows=700, columns=700)
    assert dcmtk(site, "echoscu", *tls_of(pki, own)).returncode == 0
    done = dcmtk(site, "storescu", *tls_of(pki, own), what=path)
    assert done.returncode == 0, done.stderr
    (kept,) = site.stored_files()
    assert data_set_of(kept.read_bytes()) == data_set_of(path.read_bytes())


@pytest.mark.parametrize("own", [None, "stranger"])
def test_dcmtk_without_the_right_certificate_stays_out(site, pki, tmp_path, own):
    with_tls(site, pki, "mutual")
    path = write_instance(tmp_path / "a.dcm")
    assert dcmtk(site, "storescu", *tls_of(pki, own), what=path).returncode != 0
    assert dcmtk(site, "storescu", what=path).returncode != 0, "without TLS"
    assert site.stored_files() == []


def test_dcmtk_that_does_not_trust_our_authority_does_not_send(site, pki, tmp_path):
    with_tls(site, pki, "server")
    path = write_instance(tmp_path / "a.dcm")
    wrong = tls_of(pki, None, "their authority")
    assert dcmtk(site, "storescu", *wrong, what=path).returncode != 0
    assert site.stored_files() == []


# -- rude ends ----------------------------------------------------------------------------------


def test_a_storescu_killed_in_the_middle_loses_nothing_that_it_was_told(site, tmp_path):
    site.listen()
    pixels = chest_like_pixels(700, 700)
    for number in range(40):
        write_instance(tmp_path / "in" / f"{number}.dcm", pixels=pixels)
    port = str(site.settings.listen_port)
    command = ["storescu", "-v", "-aec", "PNEUMO", "+sd", "127.0.0.1", port, str(tmp_path / "in")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sender:
        heard = 0
        for line in sender.stderr:
            heard += bool(re.search(r"Received Store Response \(Success\)", line))
            if heard == 3:
                sender.send_signal(signal.SIGKILL)
                break
    wait_until(lambda: not list((site.settings.intake_dir / "incoming").iterdir()))
    kept = site.one("SELECT count(*) FROM instance")
    assert heard <= kept < 40, "it was to be killed in the middle"
    assert len(site.stored_files()) == kept
