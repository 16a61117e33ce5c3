"""What a server's answer means. Pure: a status, headers and the first bytes go in, a decision comes out.

The failures are those that Dropbox's help pages ("why was my link banned?", "download entire folders") and
download programs report: often an HTML page stands in the place of the content, with status 200.
"""

from __future__ import annotations

import html
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.http.links import Link, plain_name
from colab_magics.errors import ColabMagicsError, LinkError, TransferError

__all__ = ["Answer", "Headers", "RetryError", "answer_of", "next_hop", "page_refusal", "status_refusal"]

#: Seconds that a server may ask us to wait; one that asks for more gets an error instead.
LONGEST_WAIT = 60.0

_GONE, _RESTRICTED, _PROXYS, _TRAFFIC = {404, 410}, {400, 401, 403, 460}, 407, {429, 509}
_SPLIT = "after colab-magics login dropbox it comes file by file; or share its subfolders by links of their own"
# How Dropbox's own sentences begin. A page can name any file of a folder, so that a word in it means nothing.
_PAGES: tuple[tuple[str, str], ...] = (
    (r"the zip file is too (large|big)\b", f"is larger than Dropbox puts into one zip (20 GB, 4 GB a file); {_SPLIT}"),
    (
        r"(there are|(this|the) (folder|zip)( file)? (has|contains)) too many (files|items)\b",
        f"has more files than Dropbox puts into one zip (10,000); {_SPLIT}",
    ),
    (
        r"(error \(\d+\)\W*)?this (account|link)\S* (links )?(are|is|has been) (generating|temporarily|banned)\b",
        "is switched off for today: the traffic of its account is used up",
    ),
    (
        r"(please )?enter the password (for|to)\b|password required$",
        "needs a password; store it as a secret and add --password secret:NAME",
    ),
)
_LOGIN_PAGE = r"<title>\s*(dropbox - )?(log|sign) ?in( (to|-) dropbox)?\s*</title>|name=.login_email"
_LOGIN = "asks to log in: it is not shared with everybody who has the link; change that, or make a new link"


class Headers(Protocol):
    """What a server says before the content; names match in any case."""

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or `default` when there is none."""
        ...


class RetryError(Exception):
    """Something that may pass: try again from the share link.

    Parameters
    ----------
    reason : str
        What happened.
    wait : float, optional
        Seconds that the server asks us to wait.
    final : ColabMagicsError, optional
        What to raise when no try is left.
    """

    def __init__(self, reason: str, wait: float | None = None, final: ColabMagicsError | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.final = final


@dataclass(frozen=True)
class Answer:
    """What the server says before the content.

    Attributes
    ----------
    name : str or None
        The name it gives to the file.
    is_folder : bool
        Whether the content is a shared folder, as a zip.
    size : int or None
        Length in bytes, where it is known.
    etag : str or None
        A strong validator of the content.
    mtime : float or None
        When the content changed last, in seconds since 1970.
    """

    name: str | None
    is_folder: bool
    size: int | None
    etag: str | None
    mtime: float | None = None

    @property
    def is_resumable(self) -> bool:
        """Whether a part of the content can be told to be one of the same content later."""
        return self.etag is not None or (self.size is not None and self.mtime is not None)


def answer_of(link: Link, address: str, headers: Headers, first: bytes) -> Answer:
    """Read an answer's headers.

    A folder link may lead to one file of the shared folder. It is the folder itself when Dropbox zips it
    (``/zip_download_get/``), or when a zip comes whose name is not the one that the link ends with.
    """
    name = _file_name(headers.get("Content-Disposition", "")) or link.name
    length = headers.get("Content-Length", "") or headers.get("X-Dropbox-Content-Length", "")
    if headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        length = ""  # it would be that of the packed form, and what arrives here is unpacked
    etag = headers.get("ETag", "")
    path = urlsplit(address).path
    own_name = unquote(urlsplit(link.url).path.rpartition("/")[2])
    is_folder = link.kind == "folder" and (
        "/zip_download_get/" in path or (first[:2] == b"PK" and own_name != name and "/cd/0/get/" not in path)
    )
    size = int(length) if length.isdigit() else None
    mtime = _date(headers.get("Last-Modified", ""))
    return Answer(name, is_folder, size, etag if etag.startswith('"') else None, mtime)


def status_refusal(link: Link, status: int, headers: Headers) -> Exception | None:
    """Return what to raise for a status, or None when it is none of failure."""
    if status < 400:
        return None
    shown = link.shown
    if status in _GONE:
        return LinkError(f"{shown} is gone ({status}): deleted, moved, or mistyped; make a new link and use that")
    if status in _RESTRICTED:
        keyless = link.is_dropbox and "/scl/" in link.url and "rlkey=" not in link.url
        why = (
            "its rlkey=... is missing; copy the whole link"
            if keyless
            else "it has expired or is restricted; make a new link"
        )
        return LinkError(f"{shown} may not be read ({status}): {why}, and use that")
    if status == _PROXYS:
        scheme = urlsplit(link.url).scheme
        return TransferError(f"this machine's proxy asks for a password ({status}); correct {scheme}_proxy")
    wait = retry_after(headers)
    if status in _TRAFFIC:
        owner = (
            "Dropbox limits what an account's links may serve in a day"
            if link.is_dropbox
            else "its server limits downloads"
        )
        when = f"in {_duration(wait)}" if wait else "later"
        error = TransferError(
            f"the traffic of {shown} is used up ({status}): {owner}; try again {when}, or share it elsewhere"
        )
        patient = wait is not None and wait <= LONGEST_WAIT
        return RetryError("the server asks to wait", wait, error) if patient else error
    if status >= 500 or status in {408, 425}:
        return RetryError(f"the server answers with an error ({status})", wait)
    return TransferError(f"{shown} cannot be fetched: the server answers {status}; check the link in a browser")


def page_refusal(link: Link, headers: Headers, first: bytes) -> ColabMagicsError | None:
    """Return what to raise when a web page came in place of the content, else None."""
    is_html = headers.get("Content-Type", "").lower().startswith("text/html")
    looks_html = re.match(rb"\s*(<!doctype html|<html)", first[:512], re.IGNORECASE) is not None
    wanted = link.kind == "url" and re.search(r"\.html?$", urlsplit(link.url).path, re.IGNORECASE)
    is_page = ((is_html and not first.startswith(b"PK")) or (link.kind == "folder" and looks_html)) and not wanted
    if "attachment" in headers.get("Content-Disposition", "").lower() and not (link.kind == "folder" and looks_html):
        is_page = False
    if not is_page:
        return None
    page = html.unescape(first.decode("utf-8", "replace"))
    texts = re.split(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", page, flags=re.DOTALL)
    for pattern, meaning in _PAGES if link.is_dropbox else ():
        if any(re.match(pattern, " ".join(text.split()), re.IGNORECASE) for text in texts):
            return LinkError(f"{link.shown} {meaning}")
    # Every page of Dropbox's offers to log in; only the login page is about that.
    if link.is_dropbox and re.search(_LOGIN_PAGE, page, re.IGNORECASE):
        return LinkError(f"{link.shown} {_LOGIN}")
    return LinkError(f"{link.shown} answers with a web page, not with a file; open it in a browser to see what it says")


def next_hop(link: Link, address: str, target: str) -> str:
    """Return where a redirect leads: to https, or to this machine.

    Raises
    ------
    LinkError
        When it leads to a login page.
    TransferError
        When it leads anywhere else.
    """
    try:
        following = urljoin(address, _as_utf8(target))
        parts = urlsplit(following)
    except ValueError:
        raise TransferError(f"{link.shown} redirects to what is no address; make a new link and use that") from None
    if link.is_dropbox and re.match(r"/login(/|$)", parts.path):
        raise LinkError(f"{link.shown} {_LOGIN}")
    plain = link.kind == "url" and link.url.startswith("http:") and parts.scheme == "http"
    if parts.scheme == "https" or plain or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return following
    raise TransferError(f"{link.shown} redirects to an address that is not https; it was not followed")


def retry_after(headers: Headers) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, section 10.2.3), as a number or a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    moment = _date(text)
    return None if moment is None else max(0.0, moment - time.time())


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError):
        return None


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _file_name(disposition: str) -> str | None:
    """Read the name from ``Content-Disposition`` (RFC 6266: ``filename*`` wins), without any folders."""
    extended = re.search(r";\s*filename\*\s*=\s*\"?([\w-]*)'[^']*'([^\s;\"]+)", disposition, re.IGNORECASE)
    if extended:
        try:
            name = plain_name(unquote(extended[2], extended[1] or "utf-8", "replace"))
        except LookupError:
            name = None
        if name:
            return name
    plain = re.search(r';\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', disposition, re.IGNORECASE)
    if not plain:
        return None
    name = re.sub(r"\\([\\\"])", r"\1", plain[1]) if plain[1] is not None else plain[2]
    # http.client reads headers as latin-1; a server that writes UTF-8 there means UTF-8.
    return plain_name(_as_utf8(name))


def _as_utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
