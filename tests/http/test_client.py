"""Bytes over real HTTP: redirects, retries, resuming, passwords."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path

import pytest
from servers import Answer, serving

from colab_magics import masking, sandbox
from colab_magics.core.http import client, links
from colab_magics.core.http.client import Client, Received
from colab_magics.core.secrets.secrets import Secret
from colab_magics.errors import ColabMagicsError, LinkError, TransferError
from colab_magics.masking import registry

CONTENT = bytes(range(256)) * 4000  # 1 MB, more than what one read takes


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, and the mask knows only the secrets of this test, so that it is quick."""
    monkeypatch.setattr(client, "_BACKOFF", 0.0)
    monkeypatch.setattr(registry, "_secrets", frozenset())
    monkeypatch.setattr(registry, "_matcher", None)


def fetch(box: sandbox.Sandbox, link: str, into: Path) -> Received:
    """Download a share link of the sandbox."""
    with Client(box.dropbox_url) as client:
        return download(client, link, into)


def download(client: Client, link: str, into: Path) -> Received:
    """Write what a link shares to a file."""
    with client.open(links.parse(link)) as response:
        return client.download(response, into)


def key_of(link: str) -> str:
    return link.partition("rlkey=")[2].partition("&")[0]


def test_what_arrives_is_described(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """Length, digests, name and time stamp of the content; the file holds it."""
    link = box.file_link("data.bin", CONTENT)
    received = fetch(box, link, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert (received.size, received.crc) == (len(CONTENT), zlib.crc32(CONTENT))
    assert received.transferred == len(CONTENT)
    assert (received.answer.name, received.answer.is_folder) == ("data.bin", False)
    assert received.answer.mtime == int((box.root / "dropbox" / "data.bin").stat().st_mtime)


def test_a_cut_file_is_resumed_from_the_share_link(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """The next try asks for the rest only, at a new temporary address, under the condition that nothing changed."""
    link = box.file_link("data.bin", CONTENT)
    box.fail(link, cut_after=600_000, times=1)
    received = fetch(box, link, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert received.transferred == len(CONTENT)
    sent = [request for request in box.requests if request.service == "content"]
    assert sent[1].headers["range"] == "bytes=600000-"
    assert sent[1].headers["if-range"] == received.answer.etag
    assert sent[0].path != sent[1].path


@pytest.mark.parametrize("options", [{"etag": False}, {"etag": False, "length": False}, {"ranges": False}])
def test_a_server_that_knows_less_still_delivers(
    box: sandbox.Sandbox, tmp_path: Path, options: dict[str, bool]
) -> None:
    """Without a validator its time stamp serves; without ranges the file starts over; it is whole either way."""
    link = box.file_link("data.bin", CONTENT, **options)
    box.fail(link, cut_after=600_000, times=2)
    fetch(box, link, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_content_that_changed_meanwhile_starts_over(
    box: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two halves of two versions are never put together."""
    link = box.file_link("data.bin", CONTENT)
    box.fail(link, cut_after=600_000, times=1)
    changed = CONTENT[::-1]
    monkeypatch.setattr(
        client.cancellation, "sleep", lambda _: (box.root / "dropbox" / "data.bin").write_bytes(changed)
    )
    fetch(box, link, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == changed


def test_a_part_that_does_not_fit_is_not_appended(tmp_path: Path) -> None:
    """A 206 of another version, or from another place, is refused; the next try asks for the whole."""
    answers: list[Answer] = [
        Answer(200, b"abcdef" * 500, {"ETag": '"1"'}, cut=2997),
        Answer(206, b"XYZ", {"ETag": '"2"', "Content-Range": "bytes 2997-2999/3000"}),
        Answer(200, b"ghijkl" * 500, {"ETag": '"2"'}),
    ]
    with serving(answers) as (base, seen), Client() as client:
        download(client, f"{base}/x.bin", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"ghijkl" * 500
    assert [headers.get("Range") for _, headers in seen] == [None, "bytes=2997-", None]


@pytest.mark.parametrize("cut", [0, 1, 1000])
def test_a_chunked_body_that_ends_early_is_never_taken_for_whole(
    box: sandbox.Sandbox, tmp_path: Path, cut: int
) -> None:
    """A folder's zip has no length; its broken end is noticed, tried again, and given up with what to do."""
    folder = box.folder("data")
    (folder / "a.bin").write_bytes(os.urandom(5_000))
    link = box.folder_link(folder)
    box.fail(link, cut_after=cut)
    with pytest.raises(TransferError, match="check the network and run it again") as caught:
        fetch(box, link, tmp_path / "x")
    assert key_of(link) not in str(caught.value)
    assert len([request for request in box.requests if request.service == "content"]) == 5


def test_what_passes_is_waited_for(box: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 is tried again, 429 after the time that it names; both in the end deliver."""
    waits: list[float] = []
    monkeypatch.setattr(client.cancellation, "sleep", waits.append)
    link = box.file_link("data.bin", b"data")
    box.fail(link, status=503, times=2)
    fetch(box, link, tmp_path / "x")
    box.fail(link, status=429, times=1, retry_after=17)
    fetch(box, link, tmp_path / "x")
    assert waits == [0.0, 0.0, 17.0]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ({"status": 503}, "503.*run it again"),
        ({"status": 503, "retry_after": 300}, "try again in 300 s"),
        ({"page": "traffic"}, "traffic.*try again later"),
        ({"status": 429, "retry_after": 7200}, "try again in 2 h"),
        ({"page": "gone"}, "make a new link"),
        ({"status": 410}, "make a new link"),
        ({"page": "restricted"}, "make a new link"),
        ({"page": "too-large"}, "subfolders"),
        ({"page": "too-many-files"}, "subfolders"),
        ({"page": "login"}, "asks to log in"),
        ({"body": "<html>surprise</html>", "content_type": "text/html"}, "web page.*browser"),
    ],
)
def test_every_refusal_says_what_to_do_and_hammers_nobody(
    box: sandbox.Sandbox, tmp_path: Path, failure: dict[str, object], words: str
) -> None:
    """One error of ours, with the link but without its key; a server that says no is asked once."""
    folder = box.folder("data")
    (folder / "a.txt").write_text("a")
    link = box.folder_link(folder)
    box.fail(link, **failure)  # type: ignore[arg-type]
    with pytest.raises(ColabMagicsError, match=words) as caught:
        fetch(box, link, tmp_path / "x")
    assert key_of(link) not in str(caught.value) + repr(caught.value)
    asked = len([request for request in box.requests if request.service == "www"])
    assert asked == (5 if failure == {"status": 503} else 1)


def test_a_link_without_its_key(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A link that lost `rlkey` on the way is told so."""
    folder = box.folder("data")
    link = box.folder_link(folder).partition("?")[0]
    with pytest.raises(LinkError, match=r"rlkey=\.\.\. is missing; copy the whole link"):
        fetch(box, link, tmp_path / "x")


def test_a_password_is_sent_only_where_it_is_asked_for(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """With the right one the content comes; without, and with a wrong one, the error says so and shows none."""
    link = box.file_link("data.bin", b"data", password="open-sesame-1")
    with Client(box.dropbox_url, password=Secret("open-sesame-1", "a test")) as client:
        download(client, link, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"data"
    with pytest.raises(LinkError, match="--password secret:NAME"):
        fetch(box, link, tmp_path / "x")
    with (
        Client(box.dropbox_url, password=Secret("wrong-sesame-1", "the environment variable PW")) as client,
        pytest.raises(LinkError, match="does not accept the password from the environment variable PW") as caught,
    ):
        download(client, link, tmp_path / "x")
    assert "sesame" not in str(caught.value)
    assert not any("sesame" in json.dumps(request.headers) + request.path for request in box.requests)


def test_a_password_page_elsewhere_gets_no_password(tmp_path: Path) -> None:
    """A redirect to another site's imitation of the page is where it ends."""
    page = Answer(200, b"<html>content_id=abc", {"Content-Type": "text/html"})
    with (
        serving([page]) as (other, seen),
        serving([Answer(302, b"", {"Location": f"{other}/sm/password"})]) as (base, _),
        Client(base, password=Secret("open-sesame-2", "a test")) as client,
        pytest.raises(LinkError, match="another site; it was not sent"),
    ):
        download(client, "https://www.dropbox.com/s/abcdefgh/x", tmp_path / "x")
    assert [path for path, _ in seen] == ["/sm/password"]


def test_a_redirector_is_followed_to_its_share_link(box: sandbox.Sandbox) -> None:
    """Also when it names Dropbox itself: the link it stands for is then asked from the stand-in."""
    folder = box.folder("data")
    link = box.folder_link(folder)
    for absolute in (False, True):
        with Client(box.dropbox_url) as client:
            resolved = client.resolve(links.parse(box.redirector(link, absolute=absolute)))
        assert resolved == links.parse(link)
    assert masking.redact(key_of(link)) == masking.MASK


def test_circles_end(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A redirect that leads back to itself is an error, not a loop."""
    again = Answer(302, b"", {"Location": "/again"})
    with serving(again) as (base, seen), Client() as client, pytest.raises(LinkError, match="circles"):
        download(client, f"{base}/x.zip", tmp_path / "x")
    assert len(seen) < 20


def test_credentials_do_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc for the host is not read, and a cookie is not carried to another host."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password not-to-be-sent-1\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving([Answer(200, b"data")]) as (other, seen):
        there = Answer(
            302, b"", {"Location": f"{other.replace('127.0.0.1', 'localhost')}/y", "Set-Cookie": "s=cookie-value-1"}
        )
        with serving([there]) as (base, first), Client() as client:
            download(client, f"{base}/x.bin", tmp_path / "x")
    sent = json.dumps([list(headers.items()) for _, headers in [*first, *seen]])
    assert "uthorization" not in sent
    assert "cookie-value-1" not in sent


def test_the_same_content_is_not_fetched_again(tmp_path: Path) -> None:
    """With the validator of what is there, an unchanged file costs no bytes."""
    with (
        serving([Answer(304)]) as (base, seen),
        Client() as client,
        client.open(links.parse(f"{base}/x.bin"), etag='"1"') as response,
    ):
        assert response.is_unchanged
    assert seen[0][1]["If-None-Match"] == '"1"'


def test_a_packed_transfer_is_unpacked(tmp_path: Path) -> None:
    """A server that compresses what it was asked to send plainly is understood, its length too."""
    packed = gzip.compress(CONTENT)
    with serving([Answer(200, packed, {"Content-Encoding": "gzip"})]) as (base, _), Client() as client:
        download(client, f"{base}/x.csv", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    """A refused connection names the host, not the address that grants access."""
    with serving([]) as (base, _):
        pass
    with Client(base) as client, pytest.raises(TransferError, match=r"the connection to 127.0.0.1:.* failed") as caught:
        download(client, "https://www.dropbox.com/scl/fi/a/x?rlkey=abcdefgh12345678", tmp_path / "x")
    assert "abcdefgh12345678" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_temporary_address_is_masked(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """What a share link redirects to grants access as the link does; whoever prints it prints a mask."""
    link = box.file_link("data.bin", b"data")
    fetch(box, link, tmp_path / "x")
    address = next(request.path for request in box.requests if request.service == "content")
    token = address.split("/")[4]
    assert len(token) > 20
    assert token not in masking.redact(f"GET {address}")
