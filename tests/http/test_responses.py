"""What a server's answer is taken for."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.core.http import links, responses
from colab_magics.core.http.responses import RetryError, answer_of, next_hop, page_refusal, retry_after, status_refusal
from colab_magics.errors import LinkError, TransferError
from colab_magics.sandbox import faults

KEY = "z1x2c3v4b5n6m7a8s9d0f1g2h"
FOLDER = links.parse(f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={KEY}")
KEYLESS = links.parse("https://www.dropbox.com/scl/fo/a1/AHash")
FILE = links.parse(f"https://www.dropbox.com/scl/fi/a1/data.csv?rlkey={KEY}")
URL = links.parse("https://example.org/page.html?token=abcdefgh12345")
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=\"x.zip\"; filename*=UTF-8''x.zip", "x.zip"),
        ("attachment; filename=\"____.zip\"; filename*=UTF-8''%E6%95%B0%E6%8D%AE.zip", "数据.zip"),
        ("attachment; filename*=utf-8'en'a%20b.csv; filename=\"no.csv\"", "a b.csv"),
        ("attachment; filename=plain.csv", "plain.csv"),
        ('attachment; filename="a \\"quoted\\" name.csv"', 'a "quoted" name.csv'),
        ('attachment; filename="semi;colon.csv"', "semi;colon.csv"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\Windows\\\\evil.exe"', "evil.exe"),
        ("attachment; filename*=UTF-8''..%2F..%2Fevil", "evil"),
        ("attachment; filename*=UTF-8''%2e%2e; filename=\"ok.txt\"", "ok.txt"),
        ('attachment; filename="new\nline"', "new_line"),
        ('attachment; filename="Ã¼ber.csv"', "über.csv"),
        ("attachment; filename*=no-such-charset''%41.csv; filename=y.csv", "y.csv"),
        ('attachment; filename=".."', "data.csv"),
        ("attachment", "data.csv"),
        ("", "data.csv"),
    ],
)
def test_a_files_name_comes_from_the_server(header: str, name: str) -> None:
    """RFC 6266 with what servers make of it; never with folders; else the link's own name."""
    assert answer_of(FILE, "https://host/cd/0/get/x/file", {"Content-Disposition": header}, b"").name == name


def test_a_folder_is_told_from_an_item_in_it() -> None:
    """Dropbox zips a folder; a zip that lies in the folder comes as the file it is."""
    item = links.parse(f"https://www.dropbox.com/scl/fo/a1/AHash/inner.zip?rlkey={KEY}")
    named = {"Content-Disposition": 'attachment; filename="inner.zip"'}
    assert answer_of(FOLDER, "https://h/zip_download_get/t", {}, b"PK").is_folder
    assert answer_of(FOLDER, "https://proxy/x", named, b"PK\x03\x04").is_folder
    assert not answer_of(item, "https://h/cd/0/get/t/file", named, b"PK\x03\x04").is_folder
    assert not answer_of(item, "https://proxy/x", named, b"PK\x03\x04").is_folder
    assert not answer_of(FILE, "https://h/zip_download_get/t", {}, b"PK").is_folder


def test_a_length_counts_only_where_it_is_the_contents() -> None:
    """Of a packed transfer the length says nothing about what arrives; a weak validator is none."""
    plain = answer_of(FILE, "", {"Content-Length": "12", "ETag": '"a"'}, b"")
    packed = answer_of(FILE, "", {"Content-Length": "12", "Content-Encoding": "gzip", "ETag": 'W/"a"'}, b"")
    hinted = answer_of(FILE, "", {"X-Dropbox-Content-Length": "9", "Last-Modified": formatdate(0, usegmt=True)}, b"")
    assert (plain.size, plain.etag, packed.size, packed.etag) == (12, '"a"', None, None)
    assert (hinted.size, hinted.mtime) == (9, 0.0)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, LinkError, "is gone.*make a new link"),
        (410, LinkError, "is gone.*make a new link"),
        (403, LinkError, "expired or is restricted.*make a new link"),
        (460, LinkError, "expired or is restricted"),
        (429, TransferError, "traffic.*a day.*try again later"),
        (509, TransferError, "traffic"),
        (418, TransferError, "418.*browser"),
    ],
)
def test_a_status_says_what_to_do(status: int, kind: type[Exception], words: str) -> None:
    """What cannot pass by waiting is an error at once, which names the link without its key."""
    error = status_refusal(FOLDER, status, {})
    assert isinstance(error, kind)
    with pytest.raises(kind, match=words) as caught:
        raise error
    assert "/scl/fo/a1/AHash" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_link_without_its_key_is_told_so() -> None:
    """The commonest cut of a link loses `rlkey`: the message says to copy all of it."""
    assert "rlkey=... is missing" in str(status_refusal(KEYLESS, 403, {}))


def test_what_may_pass_is_tried_again() -> None:
    """A server's own errors are retried; used-up traffic only when the server says to wait, and not for long."""
    assert isinstance(status_refusal(FOLDER, 503, {}), RetryError)
    soon = status_refusal(FOLDER, 429, {"Retry-After": "3"})
    assert isinstance(soon, RetryError)
    assert (soon.wait, type(soon.final)) == (3.0, TransferError)
    late = status_refusal(FOLDER, 429, {"Retry-After": "3600"})
    assert isinstance(late, TransferError)
    assert "in 60 min" in str(late)
    assert all(status_refusal(FOLDER, status, {}) is None for status in (200, 206, 304))


def test_retry_after_is_seconds_or_a_date() -> None:
    """Both forms of RFC 9110; nonsense is none; a moment that is over is no wait."""
    assert retry_after({"Retry-After": "7"}) == 7.0
    assert retry_after({"Retry-After": formatdate(time.time() - 60, usegmt=True)}) == 0.0
    assert 50 < (retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) or 0) < 70
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("too-large", "20 GB.*subfolders"),
        ("too-many-files", "10,000.*subfolders"),
        ("traffic", "traffic of its account is used up"),
        ("login", "asks to log in.*make a new link"),
    ],
)
def test_dropboxs_pages_are_understood(page: faults.Preset, words: str) -> None:
    """A page in place of the content says what is wrong and what to do."""
    with pytest.raises(LinkError, match=words):
        raise page_refusal(FOLDER, HTML, faults.PRESETS[page][1].encode()) or AssertionError


def test_an_offer_to_log_in_is_not_a_demand() -> None:
    """Every page of Dropbox's has a `Log in` button; that alone makes none a login page."""
    page = b"<html><title>Dropbox - data</title><a>Log in</a><a>Sign up</a></html>"
    assert "open it in a browser" in str(page_refusal(FOLDER, HTML, page))


@pytest.mark.parametrize(
    "name",
    [
        "traffic.csv",
        "banned words.txt",
        "too large.zip",
        "too many files.txt",
        "sign in sheet.csv",
        "zip file is too large.txt",
        "enter the password.txt",
        "log in to dropbox.txt",
    ],
)
def test_a_page_that_names_a_file_is_not_about_that(name: str) -> None:
    """What a preview or a listing shows of a folder says nothing of the link."""
    listing = f"<html><title>Dropbox - {name}</title><ul><li><a>{name}</a></li><li>a.txt</li></ul><p>{name}</p></html>"
    for page in (listing, faults.preview_page(name)):
        assert "open it in a browser" in str(page_refusal(FOLDER, HTML, page.encode()))


def test_a_page_is_told_from_content() -> None:
    """By type and by first bytes; what is an attachment, a zip, or was asked for as a page is content."""
    page = b"<!DOCTYPE html><html>"
    attached = HTML | {"Content-Disposition": "attachment; filename=a.html"}
    assert page_refusal(FOLDER, {"Content-Type": "application/zip"}, page)
    assert page_refusal(FILE, HTML, page)
    assert page_refusal(FILE, attached, page) is None
    assert page_refusal(URL, HTML, page) is None
    assert page_refusal(FOLDER, HTML, b"PK\x03\x04") is None
    assert page_refusal(FILE, {"Content-Type": "application/binary"}, page) is None


@pytest.mark.parametrize(
    ("link", "target", "kind"),
    [
        (FOLDER, "https://uc1.dl.dropboxusercontent.com/zip_download_get/x", None),
        (FOLDER, "/scl/fo/b/h", None),
        (FOLDER, "http://127.0.0.1:9/x", None),
        (FOLDER, "http://example.org/x", TransferError),
        (FOLDER, "ftp://example.org/x", TransferError),
        (FOLDER, "file:///etc/passwd", TransferError),
        (FOLDER, "/login?cont=x", LinkError),
        (links.parse("http://example.org/a.zip"), "http://example.org/b.zip", None),
        (URL, "http://example.org/b.zip", TransferError),
    ],
)
def test_a_redirect_leads_to_https_or_to_this_machine(
    link: links.Link, target: str, kind: type[Exception] | None
) -> None:
    """Everything else is not followed; an address that was plain from the start may stay plain."""
    if kind is None:
        assert next_hop(link, "https://www.dropbox.com/x", target).startswith("http")
        return
    with pytest.raises(kind):
        next_hop(link, "https://www.dropbox.com/x", target)


@given(st.text(max_size=60))
def test_no_header_is_a_stack_trace(text: str) -> None:
    """Any header text gives an answer, and a name that is one part of a path."""
    answer = responses.answer_of(URL, "", {"Content-Disposition": f"attachment; filename={text}", "ETag": text}, b"")
    assert answer.name
    assert "/" not in answer.name
    assert answer.name not in {".", ".."}
