"""Downloads from the stand-in for Dropbox that are told to go wrong."""

from __future__ import annotations

import http.client
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from colab_magics import sandbox
from colab_magics.sandbox import Sandbox


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A running sandbox that leaves the environment alone."""
    with sandbox.start(activate=False) as started:
        yield started


@pytest.fixture
def folder(box: Sandbox) -> Path:
    """A folder in the sandbox's Dropbox, with one file in it."""
    folder = box.folder("data")
    (folder / "a.csv").write_text("x\n1\n")
    return folder


def get(box: Sandbox, link: str, **options: object) -> requests.Response:
    """Download a share link of the sandbox."""
    address = link.replace("https://www.dropbox.com", box.dropbox_url).replace("dl=0", "dl=1")
    # A connection of its own, and no proxy of this machine's.
    with requests.Session() as session:
        session.trust_env = False
        return session.request("GET", address, timeout=20, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page", "status", "words"),
    [
        ("gone", 404, "deleted"),
        ("restricted", 403, "Restricted"),
        ("traffic", 429, "traffic"),
        ("too-large", 200, "too large"),
        ("too-many-files", 200, "too many files"),
        ("login", 200, "Sign in"),
    ],
)
def test_dropboxs_refusals_are_pages(box: Sandbox, folder: Path, page: str, status: int, words: str) -> None:
    """Each preset answers with its status and an HTML page that says what is the matter."""
    link = box.folder_link(folder)
    box.fail(link, page=page)  # type: ignore[arg-type]
    answer = get(box, link)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert words in answer.text


def test_a_link_fails_as_often_as_told(box: Sandbox, folder: Path) -> None:
    """`times` counts downloads, with ``Retry-After`` on each refusal; `heal` ends what has no end."""
    link = box.folder_link(folder, style="sh")
    box.fail(link, status=503, times=2, retry_after=7)
    statuses = [get(box, link) for _ in range(3)]
    assert [answer.status_code for answer in statuses] == [503, 503, 200]
    assert [answer.headers.get("Retry-After") for answer in statuses] == ["7", "7", None]
    box.fail(link, status=500)
    assert get(box, link).status_code == 500
    box.heal(link)
    assert get(box, link).status_code == 200


@pytest.mark.parametrize("cut", [0, 1, 100_000])
def test_a_cut_connection_ends_after_so_many_bytes(box: Sandbox, cut: int) -> None:
    """The client gets exactly that much of the body and no end of it; the next download is whole."""
    folder = box.folder("big")
    (folder / "noise").write_bytes(bytes(range(256)) * 2000)
    link = box.folder_link(folder, method="stored")
    box.fail(link, cut_after=cut, times=1)
    temporary = urlsplit(get(box, link, allow_redirects=False).headers["Location"])
    connection = http.client.HTTPConnection(temporary.netloc, timeout=20)
    connection.request("GET", f"{temporary.path}?{temporary.query}")
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    connection.close()
    assert len(caught.value.partial) == cut
    with zipfile.ZipFile(io.BytesIO(get(box, link).content)) as archive:
        assert archive.read("noise") == bytes(range(256)) * 2000


def test_a_cut_file_can_be_fetched_from_where_it_ended(box: Sandbox) -> None:
    """A file that was cut once is completed by a range of the next download."""
    link = box.file_link("f.bin", b"0123456789")
    box.fail(link, cut_after=4, times=1)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        get(box, link)
    assert get(box, link, headers={"Range": "bytes=4-"}).content == b"456789"


def test_a_body_of_ones_own_takes_the_contents_place(box: Sandbox, folder: Path) -> None:
    """`body`, `content_type` and `headers` replace what the download would be."""
    link = box.folder_link(folder)
    box.fail(link, body=b"PK broken", times=1, headers={"X-Test": "1"})
    answer = get(box, link)
    assert (answer.content, answer.headers["Content-Type"]) == (b"PK broken", "application/zip")
    assert answer.headers["X-Test"] == "1"
    box.fail(link, body="<html>", content_type="text/html", times=1)
    assert get(box, link).headers["Content-Type"] == "text/html"


def test_a_download_can_be_held_at_a_byte(box: Sandbox) -> None:
    """An event holds the body back at an offset: what comes before has arrived, the rest follows the event."""
    folder = box.folder("big")
    (folder / "noise").write_bytes(bytes(200_000))
    link = box.folder_link(folder, method="stored")
    go = threading.Event()
    box.fail(link, delay=go, delay_at=1000)
    answer = get(box, link, stream=True)
    assert len(answer.raw.read(1000, decode_content=False)) == 1000
    assert box.requests[-1].bytes_sent == 1000
    go.set()
    assert b"PK\x05\x06" in answer.raw.read()
    answer.close()


def test_stopping_ends_a_download_that_is_held(folder: Path, box: Sandbox) -> None:
    """A held download does not keep the sandbox from stopping."""
    link = box.folder_link(folder)
    box.fail(link, delay=threading.Event(), delay_at=10)
    answer = get(box, link, stream=True)
    box.stop()
    answer.close()
