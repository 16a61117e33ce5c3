"""Share link -> what to fetch. Pure: nothing here touches the network or the disk.

Forms of a Dropbox share link as Dropbox's help pages ("force a download", "view shared links") and working
download programs know them: ``/s/`` and ``/scl/fi/`` are files, ``/sh/`` and ``/scl/fo/`` folders, ``/l/`` and
``db.tt`` redirect to one of those. ``rlkey`` grants access, ``dl=1`` asks for the content instead of a page.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from colab_magics import masking
from colab_magics.core.common.addresses import DROPBOX
from colab_magics.errors import LinkError, TokenError
from colab_magics.masking import can_mask

__all__ = ["Kind", "Link", "fetch_address", "parse", "plain_name", "rewrite"]

Kind = Literal["file", "folder", "redirector", "url", "account"]

_WWW = {"dropbox.com", "www.dropbox.com", "m.dropbox.com"}
_SHORT = {"db.tt", "www.db.tt"}

_COPY = "open it on dropbox.com, choose Share > Copy link, and use that link"
_REFUSED: dict[tuple[str, ...], str] = {
    ("/t/", "/transfer/"): "a Dropbox Transfer, which only a browser can download; put the files in a folder",
    ("/request/",): "a file request, which only takes uploads; for the folder behind it",
    ("/home", "/work", "/personal", "/preview"): "a page of your own account, which only you can open",
    ("/doc/", "/paper/"): "a Paper document, which has no file to download; export it to a file, then",
    ("/sc/",): "an album or showcase, which has no folder to download; for the folder",
    ("/cd/", "/zip_download_get/"): "a temporary download address, which stops working within hours",
    ("/u/",): "a link into the Public folder, which Dropbox switched off in 2017",
}
# Pages that people paste in a file's place: what their addresses begin with, what each is, and what to do instead.
_PAGES: dict[str, str] = {
    r"(drive|docs)\.google\.com/": "a page of Google Drive; on Colab %mount_drive shows yours, gdown fetches others'",
    r"(www\.)?github\.com/[^/]+/[^/]+/blob/": "a page of GitHub; write raw in the place of blob",
    r"(www\.)?github\.com/[^/]+/[^/]+/?$": "a repository; %git_clone brings it",
    r"(www\.)?huggingface\.co/.+/blob/": "a page of Hugging Face; write resolve in the place of blob",
    r"(www\.)?huggingface\.co/((datasets|spaces)/)?[^/]+/[^/]+(/tree/.*)?/?$": (
        "a repository of Hugging Face; huggingface_hub's snapshot_download fetches it"
    ),
    r"(www\.)?kaggle\.com/(datasets|competitions|c|models|code)/": "a page of Kaggle; kagglehub fetches what it shows",
    r"(1drv\.ms|onedrive\.live\.com|[\w-]+\.sharepoint\.com)/": (
        "a page of OneDrive; choose Download there, and use the address of the download"
    ),
    r"(s3|gs)://": "for whoever has credentials; make a presigned https:// address of it, and use that",
}


@dataclass(frozen=True)
class Link:
    """A share link, understood.

    Attributes
    ----------
    url : str
        The address to fetch, with ``dl=1`` and the access key. A secret: never shown, see `shown`.
    kind : {'file', 'folder', 'redirector', 'url', 'account'}
        What the link's form promises. ``'folder'`` may still turn out to be one file of a shared folder;
        ``'url'`` is any address that is not Dropbox's, ``'account'`` a ``dropbox:/PATH`` of one's own Dropbox.
    name : str or None
        The file's name where the link tells it.
    secrets : tuple of str
        The parts that grant access.
    note : str or None
        What a person should know about how the link was read.
    """

    url: str
    kind: Kind
    name: str | None = None
    secrets: tuple[str, ...] = ()
    note: str | None = None

    @property
    def identity(self) -> str:
        """A digest that names this link in a manifest without giving it away (32 hexadecimal digits)."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:32]

    @property
    def is_dropbox(self) -> bool:
        """Whether the link is served by Dropbox (or by what stands in for it)."""
        return self.kind != "url"

    @property
    def shown(self) -> str:
        """The link as messages show it: recognisable, with everything that grants access masked."""
        if self.kind == "account":
            return self.url
        parts = urlsplit(self.url)
        path = parts.path
        for secret in self.secrets:
            path = path.replace(secret, masking.MASK)
        query = ""
        if self.kind == "url":
            query = masking.MASK if parts.query else ""
        elif any(secret in parts.query for secret in self.secrets):
            query = f"rlkey={masking.MASK}"
        return urlunsplit((parts.scheme, parts.netloc, path, query, ""))

    def __repr__(self) -> str:
        return f"Link({self.shown!r}, {self.kind!r})"


def parse(link: str, *, dropbox_url: str = DROPBOX) -> Link:
    """Understand a share link.

    Parameters
    ----------
    link : str
        A Dropbox share link in any of its forms, any other ``http(s)`` address, or ``dropbox:/PATH``.
    dropbox_url : str, optional
        What Dropbox links are fetched from; a link on that host is read as a Dropbox link too.

    Returns
    -------
    Link

    Raises
    ------
    LinkError
        When this is no address, or a Dropbox page that has nothing to download; says which link to make.
    TokenError
        When a user name or password stands in the address.

    Examples
    --------
    >>> from colab_magics import core
    >>> link = core.parse("https://www.dropbox.com/scl/fo/abc123/AHash?rlkey=0123456789abcdef&st=x&dl=0")
    >>> link.kind
    'folder'
    """
    # Copied out of a page's source a link holds &amp;; other entities are left alone: &copy= may be a parameter.
    text = link.strip().strip("<>\"'").replace("&amp;", "&")
    text = re.sub(r"\\([?&=])", r"\1", text)  # copied out of a shell's command
    if text.startswith("dropbox:"):
        return _account(text)
    _refuse_page(text)
    if re.match(r"^([\w-]+\.)*(dropbox(usercontent)?\.com|db\.tt)/", text, re.IGNORECASE):
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port
        text.encode()  # half a character has no place in an address
    except ValueError:
        parts, host, port = SplitResult("", "", "", "", ""), "", None
    if parts.scheme not in {"http", "https"} or not host:
        raise LinkError(
            f"{_brief(text)!r} is not a link; give the https:// address that Dropbox's Share > Copy link "
            "makes, or secret:NAME"
        )
    if parts.username is not None or parts.password is not None:
        raise TokenError(
            f"the address on {host} holds a user name or password, which a notebook or a history has now: revoke it, "
            "and give the link without it"
        )
    base = urlsplit(dropbox_url)
    if host in _SHORT:
        if not parts.path.strip("/"):
            raise LinkError(f"{host} alone is no link; {_COPY}")
        return Link(urlunsplit(("https", host, parts.path, "", "")), "redirector", secrets=_long(parts.path))
    if (host, port) == (base.hostname, base.port) and parts.path.startswith(base.path.rstrip("/") + "/"):
        return _dropbox(parts._replace(path=parts.path[len(base.path.rstrip("/")) :]), host)
    if host in _WWW | {"paper.dropbox.com"} or re.fullmatch(r"([\w-]+\.)*(dl\.dropbox|dropboxusercontent)\.com", host):
        return _dropbox(parts, host)
    return Link(urlunsplit(parts._replace(fragment="")), "url", name=_last(parts.path))


def rewrite(link: str) -> str:
    """Return the address that downloads what `link` shares.

    Rewriting twice changes nothing, the access key survives, and ``dl=1`` is there once.

    Parameters
    ----------
    link : str
        As for `parse`.

    Returns
    -------
    str
        The address to fetch; it grants access, so it must not be shown.

    Examples
    --------
    >>> from colab_magics import core
    >>> core.rewrite("https://www.dropbox.com/scl/fi/abc123/points.csv?rlkey=0123456789abcdef&st=x&dl=0")
    'https://www.dropbox.com/scl/fi/abc123/points.csv?rlkey=0123456789abcdef&dl=1'
    """
    return parse(link).url


def fetch_address(link: Link, dropbox_url: str = DROPBOX) -> str:
    """Return the address to ask for `link`: its own, or the same path on what stands in for Dropbox."""
    if not link.is_dropbox or dropbox_url.rstrip("/") == DROPBOX:
        return link.url
    base, parts = urlsplit(dropbox_url), urlsplit(link.url)
    return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + parts.path, parts.query, ""))


def _account(text: str) -> Link:
    path = "/".join(part for part in text.removeprefix("dropbox:").split("/") if part)
    if {".", ".."} & set(path.split("/")):
        raise LinkError(f"{_brief(text)!r} is no path of a Dropbox; write it from the top, as dropbox:/work/one")
    return Link(f"dropbox:/{path}", "account", plain_name(path))


def _refuse_page(text: str) -> None:
    """Refuse the address of a page elsewhere on which a person would click, and say what to do instead."""
    if "download" in text:
        return
    place = re.sub(r"^https?://|[?#].*", "", text)
    instead = next((each for pattern, each in _PAGES.items() if re.match(pattern, place, re.IGNORECASE)), None)
    if instead:
        raise LinkError(f"{_brief(text)!r} is {instead}")


def _dropbox(parts: SplitResult, host: str) -> Link:
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    path = re.sub(r"^/e(?=/scl/)", "", path)
    path = re.sub(r"^/(sh?)/dl(?=/)", r"/\1", path)
    words = [word for word in path.split("/") if word]
    # A second question mark, of a `?dl=1` that was added by hand, begins a further parameter.
    query = dict(reversed(parse_qsl(parts.query.replace("?", "&"), keep_blank_values=True)))
    key = query.get("rlkey") or None

    if host == "paper.dropbox.com":
        path, words = f"/paper{path}", []
    match words:
        case ["l", _, *_]:
            return Link(_address(path, key), "redirector", secrets=_long(path))
        case ["s", ident, *rest]:
            return Link(_address(path, key), "file", _last("/".join(rest)), _secrets(key, ident))
        case ["scl", "fi", _, *rest]:
            return Link(_address(path, key), "file", _last("/".join(rest)), _secrets(key))
        case ["sh", _, access, *_] | ["scl", "fo", _, access, *_]:
            preview = query.get("preview")
            note = f"the link points at {preview!r} inside a folder: the whole folder is taken" if preview else None
            secrets = _secrets(key, access if words[0] == "sh" else None)
            return Link(_address(path, key), "folder", None, secrets, note)
    for prefixes, what in _REFUSED.items():
        if f"{path}/".startswith(prefixes):
            raise LinkError(f"this link is {what}: {_COPY}")
    raise LinkError(f"{_brief(DROPBOX + path)!r} is not a Dropbox share link; {_COPY}")


def _address(path: str, key: str | None) -> str:
    query = (f"rlkey={quote(key, safe='')}&" if key else "") + "dl=1"
    return f"{DROPBOX}{path}?{query}"


def _secrets(*values: str | None) -> tuple[str, ...]:
    return tuple(value for value in values if value and can_mask(value))


def _long(path: str) -> tuple[str, ...]:
    return _secrets(*path.split("/"))


def plain_name(text: str) -> str | None:
    """Return a file's name that came from outside without any folders; None when nothing is left to call it."""
    name = re.sub(r"[\x00-\x1f\x7f]", "_", re.split(r"[/\\]", text)[-1]).strip()
    return None if name in {"", ".", ".."} else name


def _last(path: str) -> str | None:
    return plain_name(unquote(path.rstrip("/").rpartition("/")[2]))


def _brief(text: str) -> str:
    text = text.partition("?")[0]
    return text if len(text) <= 60 else f"{text[:57]}..."
