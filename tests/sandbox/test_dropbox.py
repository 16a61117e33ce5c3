"""The stand-in for Dropbox, asked over real HTTP."""

from __future__ import annotations

import http.client
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from colab_magics import sandbox
from colab_magics.sandbox import Sandbox
from colab_magics.sandbox.dropbox import disposition

Answer = requests.Response


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A running sandbox, and no proxy between it and the tests."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    with sandbox.start(activate=False) as started:
        yield started


@pytest.fixture
def folder(box: Sandbox) -> Path:
    """A folder in the sandbox's Dropbox."""
    folder = box.folder("data")
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.csv").write_text("y\n2\n")
    return folder


def address(box: Sandbox, link: str, dl: str | None = "1") -> str:
    """The share link on the sandbox, with ``dl`` as told (None: without)."""
    assert link.startswith("https://www.dropbox.com/")
    moved = link.replace("https://www.dropbox.com", box.dropbox_url)
    return re.sub(r"[?&]dl=0", "", moved) if dl is None else moved.replace("dl=0", f"dl={dl}")


def get(box: Sandbox, link: str, dl: str | None = "1", **options: object) -> Answer:
    # A connection of its own, and no proxy of this machine's.
    with requests.Session() as session:
        session.trust_env = False
        return session.request("GET", address(box, link, dl), timeout=20, **options)  # type: ignore[arg-type]


def members(answer: Answer) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


DATA = {"a.csv": b"x\n1\n", "sub/b.csv": b"y\n2\n"}


@pytest.mark.parametrize(
    ("style", "form"),
    [
        ("scl", r"/scl/fo/\w+/[\w-]+\?rlkey=\w+&st=\w+&dl=0"),
        ("h", r"/scl/fo/\w+/h\?rlkey=\w+&st=\w+&dl=0"),
        ("sh", r"/sh/\w+/\w+\?dl=0"),
    ],
)
def test_a_folder_link_looks_real_and_downloads(box: Sandbox, folder: Path, style: str, form: str) -> None:
    """Every style of folder link is spelled as Dropbox spells it and leads to the folder's zip."""
    link = box.folder_link(folder, style=style)  # type: ignore[arg-type]
    assert re.fullmatch(rf"https://www\.dropbox\.com{form}", link)
    assert members(get(box, link)) == DATA


@pytest.mark.parametrize(
    ("style", "form"),
    [
        ("scl", r"/scl/fi/\w+/my%20file\.txt\?rlkey=\w+&st=\w+&dl=0"),
        ("s", r"/s/\w+/my%20file\.txt\?dl=0"),
        ("fo", r"/scl/fo/\w+/[\w-]+/my%20file\.txt\?rlkey=\w+&st=\w+&dl=0"),
    ],
)
def test_a_file_link_looks_real_and_downloads(box: Sandbox, style: str, form: str) -> None:
    """Every style of file link is spelled as Dropbox spells it and leads to the file's bytes."""
    link = box.file_link("my file.txt", b"content", style=style)  # type: ignore[arg-type]
    assert re.fullmatch(rf"https://www\.dropbox\.com{form}", link)
    answer = get(box, link)
    assert answer.content == b"content"
    assert answer.headers["Content-Type"] == "application/binary"
    assert answer.headers["Content-Disposition"] == disposition("my file.txt")


def test_a_folder_comes_from_another_host_as_a_chunked_zip(box: Sandbox, folder: Path) -> None:
    """One redirect to a temporary address elsewhere; then a zip with no length, no ETag and no ranges."""
    answer = get(box, box.folder_link(folder))
    (hop,) = answer.history
    assert hop.status_code == 302
    where = urlsplit(hop.headers["Location"])
    assert where.netloc != urlsplit(box.dropbox_url).netloc
    assert re.fullmatch(r"/zip_download_get/[\w-]{40,}", where.path)
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.headers["Content-Disposition"] == "attachment; filename=\"data.zip\"; filename*=UTF-8''data.zip"
    assert not {"Content-Length", "ETag", "Accept-Ranges"} & set(answer.headers)


def test_an_old_folder_link_is_redirected_to_the_present_form_first(box: Sandbox, folder: Path) -> None:
    """``/sh/`` leads to ``/scl/fo/`` with an rlkey on the website; ``/sh/dl/`` straight to the zip."""
    link = box.folder_link(folder, style="sh")
    first, second = get(box, link).history
    assert re.match(r"/scl/fo/\w+/[\w-]+\?rlkey=\w+&st=\w+&dl=1$", first.headers["Location"])
    assert "/zip_download_get/" in second.headers["Location"]
    assert members(get(box, link.replace("/sh/", "/sh/dl/"), dl=None)) == DATA


def test_a_folder_is_read_anew_for_each_download(box: Sandbox, folder: Path) -> None:
    """A change in the folder is in the next download of the same link."""
    link = box.folder_link("data")
    get(box, link)
    (folder / "a.csv").write_text("changed")
    (folder / "sub" / "b.csv").unlink()
    assert members(get(box, link)) == {"a.csv": b"changed"}


def test_a_link_may_name_an_item_of_its_folder(box: Sandbox, folder: Path) -> None:
    """A path behind a folder link leads to that subfolder or file; nothing above the folder is reachable."""
    link = box.folder_link(folder)
    assert members(get(box, link.replace("?", "/sub?"))) == {"b.csv": b"y\n2\n"}
    assert get(box, link.replace("?", "/sub/b.csv?")).content == b"y\n2\n"
    for path in ("/missing", "/%2e%2e/data", "/..%2fdata"):
        assert get(box, link.replace("?", f"{path}?")).status_code == 404


@pytest.mark.parametrize("dl", ["0", None])
def test_without_dl_1_there_is_only_a_page(box: Sandbox, folder: Path, dl: str | None) -> None:
    """The link as it was copied shows a preview page."""
    answer = get(box, box.folder_link(folder), dl)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert not answer.history


def test_a_wrong_key_and_an_unknown_link_are_pages_too(box: Sandbox, folder: Path) -> None:
    """No or a wrong rlkey answers 403, an unknown id 404, and neither page repeats the key."""
    link = box.folder_link(folder)
    key = parse_qs(urlsplit(link).query)["rlkey"][0]
    for wrong, status in (
        (link.replace(key, "wrong"), 403),
        (link.replace(f"rlkey={key}&", ""), 403),
        (link.replace("/scl/fo/", "/scl/fo/x"), 404),
        ("https://www.dropbox.com/nothing?dl=0", 404),
    ):
        answer = get(box, wrong)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert key not in answer.text


def test_names_that_are_not_ascii_are_encoded_in_both_ways(box: Sandbox) -> None:
    """The plain filename stays ASCII; the extended one holds the name in UTF-8."""
    assert disposition('größe "1".zip') == (
        "attachment; filename=\"gr__e _1_.zip\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22.zip"
    )
    answer = get(box, box.folder_link(box.folder("größe")))
    assert answer.headers["Content-Disposition"].endswith("filename*=UTF-8''gr%C3%B6%C3%9Fe.zip")


def test_a_file_can_be_resumed(box: Sandbox) -> None:
    """Range answers 206 with the part; a stale If-Range answers the whole; past the end is 416."""
    link = box.file_link("f.bin", b"0123456789")
    etag = get(box, link).headers["ETag"]
    for asked, part, where in (("3-5", b"345", "3-5"), ("7-", b"789", "7-9"), ("-2", b"89", "8-9")):
        answer = get(box, link, headers={"Range": f"bytes={asked}", "If-Range": etag})
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["Content-Range"] == f"bytes {where}/10"
    assert get(box, link, headers={"Range": "bytes=3-", "If-Range": '"old"'}).content == b"0123456789"
    assert get(box, link, headers={"Range": "bytes=10-"}).status_code == 416
    box.file_link("f.bin", b"other")
    assert get(box, link).headers["ETag"] != etag


def test_a_file_can_be_served_as_a_folder_is(box: Sandbox) -> None:
    """Switched off, there are no ranges, no ETag, and no length but Dropbox's own header."""
    link = box.file_link("f.bin", b"0123456789")
    box.file_options(link, ranges=False, etag=False, length=False)
    answer = get(box, link, headers={"Range": "bytes=3-"})
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["X-Dropbox-Content-Length"] == "10"
    assert not {"Content-Length", "ETag", "Accept-Ranges"} & set(answer.headers)


def test_head_follows_the_same_way_without_a_body(box: Sandbox, folder: Path) -> None:
    """HEAD is redirected as GET is and gets the headers alone."""
    answer = requests.head(address(box, box.folder_link(folder)), allow_redirects=True, timeout=20)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "application/zip"


def test_a_redirector_leads_to_the_link_as_it_is(box: Sandbox, folder: Path) -> None:
    """``/l/`` answers 302 to the share link, ``dl=0`` and all, on this machine unless told otherwise."""
    link = box.folder_link(folder)
    short = box.redirector(link)
    assert re.fullmatch(r"https://www\.dropbox\.com/l/[\w-]+", short)
    answer = get(box, short, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, link.removeprefix("https://www.dropbox.com"))
    far = get(box, box.redirector(link, absolute=True), allow_redirects=False)
    assert far.headers["Location"] == link


def test_temporary_addresses_come_to_an_end(box: Sandbox, folder: Path) -> None:
    """After `expire_downloads` an address given out before is gone, and the share link gives a new one."""
    link = box.folder_link(folder)
    temporary = get(box, link).url
    box.expire_downloads()
    assert requests.get(temporary, timeout=20).status_code == 404
    assert get(box, link).url != temporary


def test_a_password_is_asked_for_and_remembered(box: Sandbox, folder: Path) -> None:
    """The password page, its form's address and one cookie jar lead to the content; a wrong word does not."""
    link = box.folder_link(folder, password="open sesame")
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(address(box, link), timeout=20)
        where = urlsplit(page.url)
        content_id = parse_qs(where.query)["content_id"][0]
        assert where.path == "/sm/password"
        assert parse_qs(where.query)["cont"][0].startswith("https://www.dropbox.com/scl/fo/")
        found = re.search(r'content_id=([\w.+=/-]+)["\']', page.text)
        assert found
        assert found[1] == content_id
        assert "Enter the password for this link" in page.text
        form = {"is_xhr": "true", "t": session.cookies["t"], "content_id": content_id, "url": link}
        auth = f"{box.dropbox_url}/sm/auth"
        wrong = session.post(auth, data={**form, "password": "guess"}, timeout=20)
        assert wrong.json() == {"status": "invalid password"}
        assert session.get(address(box, link), timeout=20).url.startswith(f"{box.dropbox_url}/sm/password")
        form["t"] = session.cookies["t"]
        forged = session.post(auth, data={**form, "t": "x", "password": "open sesame"}, timeout=20)
        assert forged.status_code == 403
        right = session.post(auth, data={**form, "password": "open sesame"}, timeout=20)
        assert right.json() == {"status": "authed"}
        assert members(session.get(address(box, link), timeout=20)) == DATA
    assert "/sm/password" in get(box, link).url
    recorded = json.dumps([vars(request) for request in box.requests])
    assert "open sesame" not in recorded
    assert form["t"] not in recorded


def test_the_log_tells_what_was_asked_and_how_much_was_sent(box: Sandbox, folder: Path) -> None:
    """A request is in the log, complete, by the time its answer is; a link's key is not."""
    link = box.folder_link(folder)
    answer = get(box, link, headers={"Authorization": "Bearer hidden-value", "Cookie": "a=hidden-value; b=1"})
    www, content = box.requests
    assert (www.service, www.method, www.status) == ("www", "GET", 302)
    assert www.path == urlsplit(link).path
    assert www.headers["authorization"] == "Bearer"
    assert www.headers["cookie"] == "a; b"
    assert (content.service, content.status, content.bytes_sent) == ("content", 200, len(answer.content))
    recorded = repr(box.requests)
    assert "hidden-value" not in recorded
    assert parse_qs(urlsplit(link).query)["rlkey"][0] not in recorded
    box.clear_requests()
    assert box.requests == []


def test_an_http_1_0_client_gets_no_chunks(box: Sandbox, folder: Path) -> None:
    """A client that cannot read chunks gets the zip up to the connection's end."""
    temporary = urlsplit(get(box, box.folder_link(folder), allow_redirects=False).headers["Location"])
    connection = http.client.HTTPConnection(temporary.netloc, timeout=20)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.request("GET", f"{temporary.path}?{temporary.query}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.getheader("Transfer-Encoding") is None
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None


def test_only_this_sandboxs_links_can_be_made_to_fail(box: Sandbox) -> None:
    """A foreign link, a style of the other kind and a missing file are errors of the call."""
    with pytest.raises(ValueError, match="not a share link of this sandbox"):
        box.fail("https://www.dropbox.com/s/abc/x?dl=0", status=500)
    with pytest.raises(ValueError, match="no style 's'"):
        box.folder_link("x", style="s")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        box.file_link("missing.txt")
    with pytest.raises(NotADirectoryError):
        box.folder_link(box.root / "missing")
    with pytest.raises(ValueError, match="no separator"):
        box.folder("../outside")


def test_posting_to_a_page_is_harmless(box: Sandbox) -> None:
    """A form that makes no sense is refused, and the connection stays usable."""
    with requests.Session() as session:
        session.trust_env = False
        refused = session.post(f"{box.dropbox_url}/sm/auth", data=urlencode({"t": ""}), timeout=20)
        assert (refused.status_code, refused.json()) == (403, {"status": "error"})
        assert session.get(f"{box.dropbox_url}/", timeout=20).status_code == 404
