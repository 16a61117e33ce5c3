"""Share links: what each leads to, how it is spelled, and how it is told to fail."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from colab_magics.sandbox.faults import Fault
from colab_magics.sandbox.server import Exchange
from colab_magics.sandbox.zipformat import Method

__all__ = ["DROPBOX", "FileStyle", "FolderStyle", "Match", "Share", "Shares"]

#: What share links start with, whoever serves them.
DROPBOX = "https://www.dropbox.com"

FolderStyle = Literal["scl", "h", "sh"]
FileStyle = Literal["scl", "s", "fo"]


@dataclass
class Share:
    """What a share link leads to.

    Parameters
    ----------
    kind : {'folder', 'file'}
        What it shares.
    style : str
        How the link is spelled.
    path : Path
        What it shares, read anew for each download.
    name : str
        The name that its visitors see.
    password : str, optional
        What they have to know.
    """

    kind: Literal["folder", "file"]
    style: FolderStyle | FileStyle
    path: Path
    name: str
    password: str | None = None
    method: Method = "deflate"
    signature: bool = True
    root_entry: bool = True
    ranges: bool = True
    etag: bool = True
    length: bool = True
    fault: Fault | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8)[:15])
    hash: str = field(default_factory=lambda: "A" + secrets.token_urlsafe(17))
    key: str = field(default_factory=lambda: secrets.token_hex(13)[:25])
    seen: str = field(default_factory=lambda: secrets.token_hex(4))
    content_id: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def link(self) -> str:
        """The share link, as its owner would copy it."""
        name = quote(self.name)
        path = {
            ("folder", "scl"): f"/scl/fo/{self.id}/{self.hash}",
            ("folder", "h"): f"/scl/fo/{self.id}/h",
            ("folder", "sh"): f"/sh/{self.id}/{self.key}",
            ("file", "scl"): f"/scl/fi/{self.id}/{name}",
            ("file", "fo"): f"/scl/fo/{self.id}/{self.hash}/{name}",
            ("file", "s"): f"/s/{self.id}/{name}",
        }.get((self.kind, self.style))
        if path is None:
            raise ValueError(f"a {self.kind} link has no style {self.style!r}")
        query = f"rlkey={self.key}&st={self.seen}&" if path.startswith("/scl/") else ""
        return f"{DROPBOX}{path}?{query}dl=0"


@dataclass(frozen=True)
class Match:
    """What a request for a share link was understood as.

    Parameters
    ----------
    share : Share
        What the link leads to.
    rest : tuple of str
        The names behind a folder link: an item in the folder.
    allowed : bool
        Whether the request knew the link's key.
    form : {'scl', 's', 'sh', 'sh/dl'}
        The form of the link.
    """

    share: Share
    rest: tuple[str, ...]
    allowed: bool
    form: Literal["scl", "s", "sh", "sh/dl"]

    @property
    def target(self) -> Path | None:
        """The file or folder that is asked for; None when it is not (or no longer) there."""
        if any(name in (".", "..") or "/" in name for name in self.rest):
            return None
        path = self.share.path.joinpath(*self.rest)
        return path if path.exists() else None


class Shares:
    """All share links of one sandbox. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Share] = {}
        self._redirectors: dict[str, str] = {}

    def add(self, share: Share) -> str:
        """Remember `share` and return its link."""
        link = share.link  # first: it refuses a style that there is not
        self._by_id[share.id] = share
        return link

    def add_redirector(self, location: str) -> str:
        """Return a short link that redirects to `location`."""
        name = secrets.token_urlsafe(12)
        self._redirectors[name] = location
        return f"{DROPBOX}/l/{name}"

    def redirector(self, path: str) -> str | None:
        """Return where the short link at `path` leads."""
        return self._redirectors.get(path.removeprefix("/l/")) if path.startswith("/l/") else None

    def of(self, link: str) -> Share:
        """Return what `link`, one of this sandbox's, leads to; ValueError for any other link."""
        parts = urlsplit(link)
        match = self.find(parts.path, parse_qs(parts.query))
        if match is None:
            raise ValueError("this is not a share link of this sandbox")
        return match.share

    def find(self, path: str, query: Mapping[str, list[str]]) -> Match | None:
        """Understand a request for a share link; None when there is no such link."""
        names = [unquote(name) for name in path.split("/") if name]
        if names[:2] == ["e", "scl"]:
            del names[0]
        form: Literal["scl", "s", "sh", "sh/dl"]
        key: str | None = None
        match names:
            case ["scl", "fo", found, _, *rest]:
                form, key = "scl", query.get("rlkey", [""])[0]
            case ["scl", "fi", found, *_]:
                form, key, rest = "scl", query.get("rlkey", [""])[0], []
            case ["sh", "dl", found, key, *rest]:
                form = "sh/dl"
            case ["sh", found, key, *rest]:
                form = "sh"
            case ["s", found, *_]:
                # The oldest form has no key beside its id.
                form, rest = "s", []
            case _:
                return None
        share = self._by_id.get(found)
        if share is None or (form == "s") != (share.style == "s"):
            return None
        if share.kind == "file":
            rest = []
        return Match(share, tuple(rest), key is None or key == share.key, form)

    def fault(self, share: Share, exchange: Exchange, *, at_door: bool) -> Fault | None:
        """Return how the download that just arrived fails, if it does, and count it if it is one.

        Parameters
        ----------
        share : Share
            What is downloaded.
        exchange : Exchange
            The request; a HEAD is no download.
        at_door : bool
            Whether the website asks, or the download host.
        """
        with self._lock:
            fault = share.fault
            if fault is None or fault.at_door != at_door:
                return None
            if fault.times is not None:
                if fault.times <= 0:
                    return None
                fault.times -= exchange.command == "GET"
            return fault
