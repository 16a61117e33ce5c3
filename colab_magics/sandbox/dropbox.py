"""The two servers that stand in for Dropbox: its website and its download host.

What they imitate: a share link with ``dl=1`` redirects to a temporary address on another host; a folder comes
as a chunked zip of unknown length; without ``dl=1``, and wherever something is wrong, there is an HTML page.
"""

from __future__ import annotations

import email.utils
import mimetypes
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from colab_magics.sandbox import pages
from colab_magics.sandbox.server import Exchange
from colab_magics.sandbox.shares import DROPBOX, Failure, Match, Share, Shares
from colab_magics.sandbox.zipformat import folder_zip

__all__ = ["ContentHost", "Website", "disposition"]

_BLOCK = 256 << 10


def disposition(name: str, kind: str = "attachment") -> str:
    """Return the ``Content-Disposition`` for a download called `name` (RFC 6266), as Dropbox writes it."""
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@dataclass(frozen=True)
class _Grant:
    share: Share
    path: Path
    inline: bool


class Website:
    """What answers on ``www.dropbox.com``.

    Parameters
    ----------
    shares : Shares
        The links it knows.
    content : ContentHost
        What it sends downloads to.
    """

    def __init__(self, shares: Shares, content: ContentHost) -> None:
        self._shares = shares
        self._content = content
        self._lock = threading.Lock()
        # Session cookie -> content ids whose password that visitor has given.
        self._sessions: dict[str, set[str]] = {}

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.url_path
        if path == "/sm/auth" and exchange.command == "POST":
            self._authenticate(exchange)
        elif path == "/sm/password":
            self._ask_password(exchange)
        elif location := self._shares.redirector(path):
            exchange.redirect(location)
        else:
            match = self._shares.find(path, exchange.query)
            if match is None:
                exchange.reply(*pages.PRESETS["gone"])
            else:
                self._share(exchange, match)

    def _share(self, exchange: Exchange, match: Match) -> None:
        share = match.share
        wanted = exchange.query.get("dl") == ["1"] or match.form == "sh/dl"
        inline = share.kind == "file" and exchange.query.get("raw") == ["1"]
        if match.form == "sh" and match.allowed:
            self._to_present_form(exchange, match)
            return
        if wanted or inline:
            failure = self._shares.failure(share, at_door=True, counts=exchange.command == "GET")
            if failure is not None:
                _wait(exchange, failure)
                _refuse(exchange, failure)
                return
        target = match.target
        if not match.allowed:
            exchange.reply(*pages.PRESETS["restricted"])
        elif target is None:
            exchange.reply(*pages.PRESETS["gone"])
        elif share.password is not None and not self._knows(exchange, share):
            link = f"{DROPBOX}{exchange.path}"
            exchange.redirect(f"/sm/password?{urlencode({'cont': link, 'content_id': share.content_id})}")
        elif wanted or inline:
            exchange.redirect(self._content.grant(_Grant(share, target, inline and not wanted)))
        else:
            exchange.reply(200, pages.preview(target.name if match.rest else share.name))

    def _to_present_form(self, exchange: Exchange, match: Match) -> None:
        share = match.share
        path = "/".join(("/scl/fo", share.id, share.hash, *(quote(name) for name in match.rest)))
        query = {"rlkey": share.key, "st": share.seen}
        query.update({name: exchange.query[name][0] for name in ("dl",) if name in exchange.query})
        exchange.redirect(f"{path}?{urlencode(query)}")

    def _ask_password(self, exchange: Exchange) -> None:
        token = secrets.token_urlsafe(18)
        exchange.reply(200, pages.password(exchange.path), headers={"Set-Cookie": f"t={token}; Path=/"})

    def _authenticate(self, exchange: Exchange) -> None:
        form = {name: values[0] for name, values in parse_qs(exchange.body.decode("utf-8", "replace")).items()}
        cookies = SimpleCookie(exchange.headers.get("Cookie", ""))
        token = cookies["t"].value if "t" in cookies else ""
        if not token or form.get("t") != token:
            exchange.reply(403, '{"status": "error"}', "application/json")
            return
        parts = urlsplit(form.get("url", ""))
        match = self._shares.find(parts.path, parse_qs(parts.query))
        share = match.share if match and match.allowed else None
        if share is None or form.get("content_id") != share.content_id or form.get("password") != share.password:
            exchange.reply(200, '{"status": "invalid password"}', "application/json")
            return
        session = cookies["sm_auth"].value if "sm_auth" in cookies else secrets.token_urlsafe(18)
        with self._lock:
            self._sessions.setdefault(session, set()).add(share.content_id)
        cookie = {"Set-Cookie": f"sm_auth={session}; Path=/; HttpOnly"}
        exchange.reply(200, '{"status": "authed"}', "application/json", cookie)

    def _knows(self, exchange: Exchange, share: Share) -> bool:
        cookies = SimpleCookie(exchange.headers.get("Cookie", ""))
        session = cookies["sm_auth"].value if "sm_auth" in cookies else ""
        with self._lock:
            return share.content_id in self._sessions.get(session, set())


class ContentHost:
    """What answers on ``dl.dropboxusercontent.com``.

    Parameters
    ----------
    shares : Shares
        The links it knows.
    address : callable
        Returns what temporary addresses start with, once the server's port is known.
    """

    def __init__(self, shares: Shares, address: Callable[[], str]) -> None:
        self._shares = shares
        self._address = address
        self._lock = threading.Lock()
        self._grants: dict[str, _Grant] = {}

    def grant(self, grant: _Grant) -> str:
        """Return a new temporary address."""
        token = secrets.token_urlsafe(48)
        with self._lock:
            self._grants[token] = grant
        if grant.path.is_dir():
            number = secrets.randbelow(10**30)
            return f"{self._address()}/zip_download_get/{token}?_download_id={number:030}&dl=1"
        return f"{self._address()}/cd/0/get/{token}/file{'' if grant.inline else '?dl=1'}"

    def expire(self) -> None:
        """Let every temporary address that was given out come to its end."""
        with self._lock:
            self._grants.clear()

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        found = re.fullmatch(r"/zip_download_get/([^/]+)|/cd/0/get/([^/]+)/file", exchange.url_path)
        with self._lock:
            grant = self._grants.get(found[1] or found[2]) if found else None
        if grant is None or exchange.command == "POST":
            exchange.reply(404, pages.for_status(404))
            return
        failure = self._shares.failure(grant.share, at_door=False, counts=exchange.command == "GET")
        if failure is None:
            self._send(exchange, grant, Failure())
        elif failure.page is not None:
            _wait(exchange, failure)
            _refuse(exchange, failure)
        else:
            self._send(exchange, grant, failure)

    def _send(self, exchange: Exchange, grant: _Grant, failure: Failure) -> None:
        if grant.path.is_dir():
            self._send_folder(exchange, grant, failure)
            return
        try:
            source = open(grant.path, "rb")  # noqa: SIM115 - the with stands below; here only opening may fail
        except OSError:
            exchange.reply(*pages.PRESETS["gone"])
            return
        with source:
            self._send_file(exchange, grant, failure, source)

    def _send_folder(self, exchange: Exchange, grant: _Grant, failure: Failure) -> None:
        share = grant.share
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": disposition(f"{share.name if grant.path == share.path else grant.path.name}.zip"),
        }
        body: Iterator[bytes]
        if failure.body is not None:
            body = iter([failure.body])
        else:
            body = folder_zip(grant.path, method=share.method, signature=share.signature, root_entry=share.root_entry)
        _stream(exchange, failure.status or 200, headers, body, None, failure)

    def _send_file(self, exchange: Exchange, grant: _Grant, failure: Failure, source: BinaryIO) -> None:
        share = grant.share
        info = os.fstat(source.fileno())
        name = share.name if grant.path == share.path else grant.path.name
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {
            "Content-Type": guessed if grant.inline else "application/binary",
            "Content-Disposition": disposition(name, "inline" if grant.inline else "attachment"),
        }
        if failure.body is not None:
            length = len(failure.body) if share.length else None
            _stream(exchange, failure.status or 200, headers, iter([failure.body]), length, failure)
            return
        size = info.st_size
        etag = f'"{info.st_ino:x}{info.st_mtime_ns:x}{size:x}d"'
        headers["X-Dropbox-Content-Length"] = str(size)
        if share.etag:
            headers["ETag"] = etag
        first, last, status = 0, size - 1, failure.status or 200
        if share.ranges:
            headers["Accept-Ranges"] = "bytes"
            asked = _asked_range(exchange, etag if share.etag else None, size)
            if asked is not None:
                first, last = asked
                status = 206
                if last < first:
                    exchange.reply(416, headers={"Content-Range": f"bytes */{size}"})
                    return
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        headers["Last-Modified"] = email.utils.formatdate(info.st_mtime, usegmt=True)
        count = last - first + 1
        source.seek(first)
        _stream(exchange, status, headers, _blocks(source, count), count if share.length else None, failure)


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
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
    return first, last


def _wait(exchange: Exchange, failure: Failure) -> None:
    """Hold the answer back for as long as `failure` says, but never beyond the end of the sandbox."""
    stopping = exchange.host.stopping
    if isinstance(failure.delay, threading.Event):
        while not failure.delay.wait(0.05) and not stopping.is_set():
            pass
    elif failure.delay:
        stopping.wait(failure.delay)


def _refuse(exchange: Exchange, failure: Failure) -> None:
    status, page = pages.PRESETS[failure.page] if failure.page else (failure.status or 500, "")
    status = failure.status or status
    body = failure.body if failure.body is not None else (page or pages.for_status(status))
    exchange.reply(status, body, failure.content_type or "text/html; charset=utf-8", failure.headers)


def _stream(
    exchange: Exchange,
    status: int,
    headers: dict[str, str],
    body: Iterator[bytes],
    length: int | None,
    failure: Failure,
) -> None:
    if failure.content_type:
        headers["Content-Type"] = failure.content_type
    headers.update(failure.headers)
    exchange.stream(
        status,
        headers,
        body,
        length=length,
        cut_after=failure.cut_after,
        pause=lambda: _wait(exchange, failure),
        pause_at=failure.delay_at,
    )
