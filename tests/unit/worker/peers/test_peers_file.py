"""The systems around us: what the file may say, and how wrong words are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import Rejected
from worker.peers.peers_file import Peers, read_peers

DIMSE = 'ae_title = "PACS"\nhost = "127.0.0.1"\nport = 4242\n'


def peers_of(tmp_path: Path, text: str) -> Peers:
    path = tmp_path / "peers.toml"
    path.write_text(text)
    return read_peers(path)


def test_without_a_file_there_are_none():
    assert read_peers(None) == ()


def test_a_peer_does_what_the_file_says_and_nothing_else(tmp_path):
    peers = peers_of(
        tmp_path,
        f'[archive]\n{DIMSE}retrieve = "c-get"\nresults = "c-store"\nstorage_commitment = true\n'
        '[web]\ndicomweb = "https://pacs.example/dicom-web"\nsearch = "qido-rs"\n'
        'token_file = "token"\n',
    )
    assert [peer.name for peer in peers] == ["archive", "web"]
    assert [peer.name for peer in peers.with_role("results")] == ["archive"]
    assert peers.single_with_role("search").name == "web"
    assert peers.named("web").token_file == tmp_path / "token"
    assert peers.with_role("count") == ()


def test_a_destination_takes_both_kinds_of_objects_or_those_that_are_named(tmp_path):
    peers = peers_of(
        tmp_path,
        f'[both]\n{DIMSE}results = "c-store"\n'
        f'[one]\n{DIMSE}results = "c-store"\nresult_objects = ["capture"]\n',
    )
    assert [peer.result_objects for peer in peers] == [("sr", "capture"), ("capture",)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[archive]\nresults = "c-store"\n', "archive: c-store needs ae_title, host and port"),
        ('[web]\nretrieve = "wado-rs"\n', "web: wado-rs needs dicomweb, the base URL"),
        (
            f"[a]\n{DIMSE}storage_commitment = true\n",
            'a: storage_commitment needs results = "c-store"',
        ),
        (f'[a]\n{DIMSE}results = "ftp"\n', "a.results: Input should be 'c-store' or 'stow-rs'"),
        (f'[a]\n{DIMSE}colour = "red"\n', "a.colour: Extra inputs are not permitted"),
        (
            f'[a]\n{DIMSE}results = "c-store"\nresult_objects = ["pdf"]\n',
            "a.result_objects.0: Input should be 'sr' or 'capture'",
        ),
        (
            f'[a]\n{DIMSE}results = "c-store"\nresult_objects = []\n',
            'a: result_objects names each of "sr" and "capture" once at most, and one of them',
        ),
        (
            f'[a]\n{DIMSE}results = "c-store"\nresult_objects = ["sr", "sr"]\n',
            'a: result_objects names each of "sr" and "capture" once',
        ),
        (
            f'[a]\n{DIMSE}result_objects = ["sr"]\n',
            'a: result_objects needs results = "c-store" or "stow-rs"',
        ),
        ('[a]\ncertificate = "c.pem"\n', "a: certificate and key go together"),
        (
            '[a]\ndicomweb = "http://pacs.example"\ntoken_file = "t"\n',
            "a bearer token must not travel without TLS",
        ),
        ('[a]\ndicomweb = "https://me:s3cret@pacs.example"\n', "a.dicomweb: String should match"),
        ('["A B"]\n', "A B.name: String should match"),
        ("port = 4\n", "port is outside of a table"),
        ("[a\n", "it is not TOML"),
    ],
)
def test_a_wrong_word_is_told_by_peer_and_word_and_never_quoted(tmp_path, text, words):
    with pytest.raises(Rejected) as refusal:
        peers_of(tmp_path, text)
    assert refusal.value.code == "PEERS_INVALID"
    assert words in refusal.value.sentence
    assert "s3cret" not in refusal.value.sentence


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(Rejected, match=r"PEERS_INVALID.*cannot be read \(No such file"):
        read_peers(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("does", "name", "code"),
    [
        ("search", None, "PEER_CANNOT"),
        ("results", None, "PEER_AMBIGUOUS"),
        ("search", "one", "PEER_CANNOT"),
        ("results", "three", "PEER_UNKNOWN"),
    ],
)
def test_who_is_meant_must_be_plain(tmp_path, does, name, code):
    peers = peers_of(
        tmp_path,
        f'[one]\n{DIMSE}results = "c-store"\n[two]\n{DIMSE}results = "c-store"\n',
    )
    with pytest.raises(Rejected) as refusal:
        peers.single_with_role(does, name)
    assert refusal.value.code == code
