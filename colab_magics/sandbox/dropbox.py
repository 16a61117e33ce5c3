"""What stands in for Dropbox: its website, which answers for the API's hosts too, and its download host.

What they imitate: a share link with ``dl=1`` redirects to a temporary address on another host; a folder comes
as a chunked zip of unknown length; without ``dl=1``, and wherever something is wrong, there is an HTML page.
"""

from __future__ import annotations

import email.utils
import json
import mimetypes
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from colab_magics.sandbox import faults
from colab_magics.sandbox.account import Account, RefusedError
from colab_magics.sandbox.api import Api
from colab_magics.sandbox.faults import PRESETS, Fault, Preset
from colab_magics.sandbox.server import Exchange
from colab_magics.sandbox.shares import DROPBOX, Match, Share, Shares
from colab_magics.sandbox.zipformat import folder_zip

__all__ = ["Dropbox", "disposition"]

_BLOCK = 256 << 10
_MOST, _LARGEST, _ENTRIES = 20 << 30, 4 << 30, 10_000  # bytes and entries of what is zipped


def disposition(name: str, kind: str = "attachment") -> str:
    """Return the ``Content-Disposition`` for a download called `name` (RFC 6266), as Dropbox writes it."""
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@dataclass(frozen=True)
class _Grant:
    """What a temporary address leads to."""

    share: Share
    path: Path
    inline: bool


class Dropbox:
    """Answers for ``www.dropbox.com`` and the API (`website`) and ``dl.dropboxusercontent.com`` (`content`).

    Parameters
    ----------
    files : Path
        The folder of what is in it.
    work : Path
        A folder for uploads.

    Attributes
    ----------
    shares : Shares
        The links it knows.
    api : Api
        Its API.
    content_address : str
        What temporary addresses start with.
    """

    def __init__(self, files: Path, work: Path) -> None:
        for folder in (files, work):
            folder.mkdir()
        self.shares = Shares()
        self.api = Api(Account(files), self.shares, work, _send_described)
        self.content_address = ""
        self._lock = threading.Lock()
        # Session cookie -> content ids whose password that visitor has given.
        self._sessions: dict[str, set[str]] = {}
        self._grants: dict[str, _Grant] = {}

    def expire(self) -> None:
        """Let every temporary address that was given out come to its end."""
        self._grants.clear()

    def website(self, exchange: Exchange) -> None:
        """Answer one request to the website."""
        path = exchange.url_path
        if self.api.answers(exchange):
            return
        if path == "/sm/auth" and exchange.command == "POST":
            self._authenticate(exchange)
        elif path == "/sm/password":
            cookie = {"Set-Cookie": f"t={secrets.token_urlsafe(18)}; Path=/"}
            exchange.reply(200, faults.password_page(exchange.path), headers=cookie)
        elif location := self.shares.redirector(path):
            exchange.redirect(location)
        elif match := self.shares.find(path, exchange.query):
            self._share(exchange, match)
        else:
            exchange.reply(*PRESETS["gone"])

    def _share(self, exchange: Exchange, match: Match) -> None:
        share, target = match.share, match.target
        wanted = exchange.query.get("dl") == ["1"] or match.form == "sh/dl"
        inline = share.kind == "file" and exchange.query.get("raw") == ["1"] and not wanted
        if match.form == "sh" and match.allowed:
            # The older form leads to the present one.
            path = "/".join(("/scl/fo", share.id, share.hash, *(quote(name) for name in match.rest)))
            query = {"rlkey": share.key, "st": share.seen}
            query.update({name: exchange.query[name][0] for name in ("dl",) if name in exchange.query})
            exchange.redirect(f"{path}?{urlencode(query)}")
        elif (wanted or inline) and (fault := self.shares.fault(share, exchange, at_door=True)):
            fault.refuse(exchange)
        elif not match.allowed:
            exchange.reply(*PRESETS["restricted"])
        elif target is None:
            exchange.reply(*PRESETS["gone"])
        elif share.password is not None and share.content_id not in self._sessions.get(
            _cookie(exchange, "sm_auth"), ()
        ):
            link = f"{DROPBOX}{exchange.path}"
            exchange.redirect(f"/sm/password?{urlencode({'cont': link, 'content_id': share.content_id})}")
        elif wanted or inline:
            token = secrets.token_urlsafe(48)
            self._grants[token] = _Grant(share, target, inline)
            folder = f"zip_download_get/{token}?_download_id={secrets.randbelow(10**30):030}&dl=1"
            file = f"cd/0/get/{token}/file{'' if inline else '?dl=1'}"
            exchange.redirect(f"{self.content_address}/{folder if target.is_dir() else file}")
        else:
            exchange.reply(200, faults.preview_page(target.name if match.rest else share.name))

    def _known(self, exchange: Exchange) -> set[str]:
        return self._sessions.get(_cookie(exchange, "sm_auth"), set())

    def _authenticate(self, exchange: Exchange) -> None:
        form = {name: values[0] for name, values in parse_qs(exchange.body.decode("utf-8", "replace")).items()}
        token = _cookie(exchange, "t")
        if not token or form.get("t") != token:
            exchange.reply(403, '{"status": "error"}', "application/json")
            return
        parts = urlsplit(form.get("url", ""))
        match = self.shares.find(parts.path, parse_qs(parts.query))
        share = match.share if match and match.allowed else None
        if share is None or form.get("content_id") != share.content_id or form.get("password") != share.password:
            exchange.reply(200, '{"status": "invalid password"}', "application/json")
            return
        session = _cookie(exchange, "sm_auth") or secrets.token_urlsafe(18)
        with self._lock:
            self._sessions.setdefault(session, set()).add(share.content_id)
        cookie = {"Set-Cookie": f"sm_auth={session}; Path=/; HttpOnly"}
        exchange.reply(200, '{"status": "authed"}', "application/json", cookie)

    def content(self, exchange: Exchange) -> None:
        """Answer one request to the download host."""
        found = re.fullmatch(r"/zip_download_get/([^/]+)|/cd/0/get/([^/]+)/file", exchange.url_path)
        grant = self._grants.get(found[1] or found[2]) if found else None
        if grant is None or exchange.command == "POST":
            exchange.reply(404, faults.for_status(404))
            return
        fault = self.shares.fault(grant.share, exchange, at_door=False) or Fault()
        if fault.page is not None:
            fault.refuse(exchange)
        elif grant.path.is_dir() and (page := _beyond_limits(grant.path)):
            exchange.reply(*PRESETS[page])
        elif grant.path.is_dir():
            _send_folder(exchange, grant, fault)
        else:
            try:
                source = open(grant.path, "rb")  # noqa: SIM115 - the with stands below; here only opening may fail
            except OSError:
                exchange.reply(*PRESETS["gone"])
                return
            with source:
                _send_file(exchange, grant, fault, source)


def _cookie(exchange: Exchange, name: str) -> str:
    cookies = SimpleCookie(exchange.headers.get("Cookie", ""))
    return cookies[name].value if name in cookies else ""


def _beyond_limits(folder: Path) -> Preset | None:
    """Tell why Dropbox would make no zip of a folder, if it would not."""
    sizes = [each.stat().st_size if each.is_file() else 0 for each in folder.rglob("*")]
    if len(sizes) + 1 >= _ENTRIES:
        return "too-many-files"
    return "too-large" if sum(sizes) > _MOST or max(sizes, default=0) > _LARGEST else None


def _send_folder(exchange: Exchange, grant: _Grant, fault: Fault) -> None:
    share = grant.share
    name = share.name if grant.path == share.path else grant.path.name
    headers = {"Content-Type": "application/zip", "Content-Disposition": disposition(f"{name}.zip")}
    body = folder_zip(grant.path, method=share.method, signature=share.signature, root_entry=share.root_entry)
    _stream(exchange, fault.status or 200, headers, body, None, fault)


def _send_file(exchange: Exchange, grant: _Grant, fault: Fault, source: BinaryIO) -> None:
    share, info = grant.share, os.fstat(source.fileno())
    name = share.name if grant.path == share.path else grant.path.name
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "Content-Type": kind if grant.inline else "application/binary",
        "Content-Disposition": disposition(name, "inline" if grant.inline else "attachment"),
    }
    status, size = fault.status or 200, info.st_size
    first, last = 0, size - 1
    if fault.body is None:
        etag = f'"{info.st_ino:x}{info.st_mtime_ns:x}{size:x}d"'
        headers["X-Dropbox-Content-Length"] = str(size)
        headers["Last-Modified"] = email.utils.formatdate(info.st_mtime, usegmt=True)
        if share.etag:
            headers["ETag"] = etag
        if share.ranges:
            headers["Accept-Ranges"] = "bytes"
            if asked := _asked_range(exchange, etag if share.etag else None, size):
                first, last = asked
                if last < first:
                    exchange.reply(416, headers={"Content-Range": f"bytes */{size}"})
                    return
                status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{size}"
    source.seek(first)
    count = last - first + 1 if fault.body is None else len(fault.body)
    _stream(exchange, status, headers, _blocks(source, count), count if share.length else None, fault)


def _send_described(exchange: Exchange, path: Path, entry: dict[str, Any], fault: Fault) -> None:
    """Send a file, or a folder as a zip, as the API does: with what it says of it in a header."""
    grant = _Grant(Share("file", "scl", path, path.name), path, inline=False)
    told = replace(fault, headers={**fault.headers, "Dropbox-API-Result": json.dumps(entry)})
    if path.is_dir():
        if page := _beyond_limits(path):
            raise RefusedError(page.replace("-", "_"))
        headers = {"Content-Type": "application/zip"}
        _stream(exchange, 200, headers, folder_zip(path, top=path.name), None, told)
        return
    with open(path, "rb") as source:
        _send_file(exchange, grant, told, source)


def _blocks(source: BinaryIO, count: int) -> Iterator[bytes]:
    while count:
        block = source.read(min(_BLOCK, count))
        if not block:
            raise OSError("the file became shorter while it was sent")
        count -= len(block)
        yield block


def _asked_range(exchange: Exchange, etag: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for, or None for the whole (RFC 9110, 14); last < first is past the end."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", exchange.headers.get("Range", ""))
    condition = exchange.headers.get("If-Range")
    if found is None or not (found[1] or found[2]) or (condition is not None and condition != etag):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    return int(found[1]), min(int(found[2] or size), size - 1)


def _stream(
    exchange: Exchange, status: int, headers: dict[str, str], body: Iterable[bytes], length: int | None, fault: Fault
) -> None:
    if fault.content_type:
        headers["Content-Type"] = fault.content_type
    exchange.stream(
        status,
        {**headers, **fault.headers},
        body if fault.body is None else [fault.body],
        length=length,
        cut_after=fault.cut_after,
        pause=lambda: fault.wait(exchange),
        pause_at=fault.delay_at,
    )
