"""Dropbox's API, version 2, for one account: logging in, listing, downloads, uploads, share links, and its refusals.

Routes, arguments and errors are those of dropbox/dropbox-api-spec (files.stone, sharing.stone, auth.stone); logging in
is OAuth 2.0 with PKCE (RFC 7636) and without a redirect, as https://developers.dropbox.com/oauth-guide describes it.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from colab_magics.sandbox.account import Account, ContentHash, RefusedError
from colab_magics.sandbox.faults import Fault, page
from colab_magics.sandbox.server import Exchange
from colab_magics.sandbox.shares import Share, Shares

__all__ = ["Api", "ApiFault"]

_LIFETIME = 14400  # seconds that an access token lasts
_MOST = 150 << 20  # bytes of one upload
_ALIGNED = 4 << 20  # what pieces of a concurrent session are multiples of
_UPLOADS = {"files/upload", "files/upload_session/start", "files/upload_session/append_v2"}
_DOWNLOADS = {"files/download", "files/download_zip", "sharing/get_shared_link_file"}
_CONTENT = _UPLOADS | _DOWNLOADS | {"files/upload_session/finish"}
_LINK_ROUTES = {"files/list_folder", "files/list_folder/continue", "sharing/get_shared_link_metadata"}
_LINK_ROUTES |= {"sharing/get_shared_link_file"}
Arg = dict[str, Any]
#: Sends a file: the exchange, its path, its metadata, how it fails.
Sender = Callable[[Exchange, Path, dict[str, Any], Fault], None]


@dataclass
class ApiFault:
    """How calls of some routes go wrong; see `Sandbox.fail_api`."""

    routes: str
    answer: Fault
    skip: int = 0
    after_work: bool = False


@dataclass
class _Upload:
    """An upload session."""

    path: Path
    concurrent: bool = False
    closed: bool = False
    size: int = 0
    hash: ContentHash | None = field(default_factory=ContentHash)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Api:
    """Answers for ``api.dropboxapi.com``, ``content.dropboxapi.com`` and the page on which a person allows an app.

    Parameters
    ----------
    account : Account
        Whose it is.
    shares : Shares
        The share links it knows.
    work : Path
        A folder for uploads that are not finished.
    send : callable
        Sends a file.

    Attributes
    ----------
    app_key, app_secret : str
        The app that it knows.
    faults : list of ApiFault
        What goes wrong.
    page_size : int
        The entries that a listing has at most, whatever is asked for.
    """

    def __init__(self, account: Account, shares: Shares, work: Path, send: Sender) -> None:
        self.app_key, self.app_secret = secrets.token_hex(8)[:15], secrets.token_hex(8)[:15]
        self.faults: list[ApiFault] = []
        self.page_size = 2000
        self._account, self._shares, self._work, self._send = account, shares, work, send
        self._lock, self._committing = threading.Lock(), threading.Lock()
        self._codes: dict[str, str] = {}  # code -> challenge
        self._refresh: set[str] = set()
        self._access: dict[str, tuple[float, str]] = {}  # access token -> when it expires, its refresh token
        self._cursors: dict[str, list[Arg]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._jobs: dict[str, Arg] = {}

    def grant(self) -> str:
        """Return a new refresh token, as a login ends with."""
        token = secrets.token_urlsafe(48)
        self._refresh.add(token)
        return token

    def expire(self) -> None:
        """Let every access token expire now."""
        self._access = {token: (0.0, refresh) for token, (_, refresh) in self._access.items()}

    def revoke(self) -> None:
        """Take back every refresh token, as a person does who disconnects the app."""
        self._refresh.clear()
        self._access.clear()

    def answers(self, exchange: Exchange) -> bool:
        """Answer a request if it is one for the API."""
        path = exchange.url_path
        if path == "/oauth2/authorize":
            self._authorize(exchange)
        elif path == "/oauth2/token":
            self._token(exchange)
        elif path.startswith("/2/"):
            self._call(exchange, path.removeprefix("/2/"))
        else:
            return False
        return True

    def _authorize(self, exchange: Exchange) -> None:
        """Show the page on which a person allows the app, then the one with the code."""
        asked = {name: values[0] for name, values in exchange.query.items()}
        wanted = {"client_id": self.app_key, "response_type": "code", "code_challenge_method": "S256"}
        wrong = [name for name, value in wanted.items() if asked.get(name) != value]
        if wrong or not asked.get("code_challenge") or asked.get("token_access_type") != "offline":
            exchange.reply(400, page("Dropbox - 400", f"Error (400): invalid {', '.join(wrong) or 'challenge'}."))
        elif exchange.command == "POST":
            code = secrets.token_urlsafe(32)
            self._codes[code] = asked["code_challenge"]
            box = f'<input id="auth-code-input" readonly size="60" value="{code}">'
            exchange.reply(200, page("Access code generated", "Enter this code into the app to finish:", box))
        else:
            form = (
                f'<form method="post" action="{html.escape(exchange.path)}">'
                "<button type='submit' id='allow'>Allow</button></form>"
            )
            text = "The app would like access to the files in this Dropbox."
            exchange.reply(200, page("API Request Authorization - Dropbox", text, form))

    def _token(self, exchange: Exchange) -> None:
        form = {name: values[0] for name, values in parse_qs(exchange.body.decode("utf-8", "replace")).items()}
        kind, refresh = form.get("grant_type"), form.get("refresh_token", "")
        if fault := self._fault("oauth2/token"):
            _refuse(exchange, fault.answer)
        elif form.get("client_id") != self.app_key:
            _json(exchange, 400, {"error": "invalid_client", "error_description": "Invalid client_id"})
        elif kind == "authorization_code" and self._codes.pop(form.get("code", ""), None) == _challenge(form):
            self._hand_out(exchange, self.grant(), is_new=True)
        elif kind == "refresh_token" and refresh in self._refresh:
            self._hand_out(exchange, refresh, is_new=False)
        else:
            _json(exchange, 400, {"error": "invalid_grant", "error_description": "code or refresh token is invalid"})

    def _hand_out(self, exchange: Exchange, refresh: str, *, is_new: bool) -> None:
        token = f"sl.u.{secrets.token_urlsafe(100)}"
        self._access[token] = time.monotonic() + _LIFETIME, refresh
        answer = {"access_token": token, "token_type": "bearer", "expires_in": _LIFETIME}
        _json(exchange, 200, answer | ({"refresh_token": refresh, "account_id": "dbid:sandbox"} if is_new else {}))

    def _fault(self, route: str) -> ApiFault | None:
        """Return how a call goes wrong, if it does, and count it."""
        with self._lock:
            for fault in self.faults:
                if not fnmatch.fnmatch(route, fault.routes) or fault.answer.times == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.answer.times is not None:
                    fault.answer.times -= 1
                return fault
        return None

    def _call(self, exchange: Exchange, route: str) -> None:
        fault = self._fault(route)
        if fault and route not in _DOWNLOADS:
            fault.answer.wait(exchange)
        if fault and fault.answer.status is not None and not fault.after_work:
            _refuse(exchange, fault.answer)
            return
        if refused := self._unauthorized(exchange, route):
            _json(exchange, 401, {"error_summary": f"{refused}/", "error": {".tag": refused}})
            return
        handler = getattr(self, f"_do_{route.replace('/', '_')}", None)
        is_content = route in _CONTENT
        if handler is None or exchange.headers.get("Content-Type", "") not in (
            {"application/octet-stream", ""} if is_content else {"application/json"}
        ):
            exchange.reply(400, f'Error in call to API function "{route}": no such call', "text/plain")
            return
        try:
            arg = json.loads(exchange.headers.get("Dropbox-API-Arg", "") if is_content else exchange.body)
            result = handler(exchange, arg, exchange.body)
            if route in _DOWNLOADS and not (fault and fault.after_work):
                place, entry = result
                self._send(exchange, place, entry, fault.answer if fault else Fault())
                return
        except RefusedError as refusal:
            _json(exchange, 409, {"error_summary": f"{refusal}/..", "error": refusal.error})
            return
        except KeyError as error:
            raise ValueError(f"missing field {error}") from None
        if fault and fault.after_work:
            _refuse(exchange, fault.answer)
        else:
            _json(exchange, 200, result)

    def _unauthorized(self, exchange: Exchange, route: str) -> str | None:
        scheme, _, value = exchange.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and route in _LINK_ROUTES:
            pair = base64.b64encode(f"{self.app_key}:{self.app_secret}".encode()).decode()
            return None if value == pair else "invalid_access_token"
        expires, refresh = self._access.get(value, (0.0, ""))
        if scheme != "Bearer" or refresh not in self._refresh:
            return "invalid_access_token"
        return None if time.monotonic() < expires else "expired_access_token"

    def _do_auth_token_revoke(self, exchange: Exchange, _arg: Arg, _body: bytes) -> None:
        token = exchange.headers["Authorization"].partition(" ")[2]
        self._refresh.discard(self._access[token][1])

    def _do_files_get_metadata(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        return self._account.metadata(self._account.find(arg["path"], "path"))

    def _do_files_list_folder(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        top = self._target(arg["shared_link"], "", "password") if arg.get("shared_link") else None
        if top and arg.get("recursive"):
            raise ValueError("recursive is not supported for shared link")
        if top is None and arg["path"] == "/":
            raise ValueError('path: specify the root folder as an empty string rather than as "/"')
        place = self._below(top, arg["path"]) if top else self._account.find(arg["path"], "path")
        if not place.is_dir():
            raise RefusedError("path", "not_folder")
        found = self._account.below(place, recursive=arg.get("recursive", False))
        entries = [self._account.metadata(each, top) for each in found]
        if not arg.get("include_non_downloadable_files", True):
            entries = [entry for entry in entries if entry.get("is_downloadable", True)]
        return self._listing(entries, min(arg.get("limit") or self.page_size, self.page_size))

    def _listing(self, entries: list[Arg], limit: int) -> Arg:
        cursor = f"{secrets.token_urlsafe(24)}:{limit}"
        self._cursors[cursor] = entries[limit:]
        return {"entries": entries[:limit], "cursor": cursor, "has_more": len(entries) > limit}

    def _do_files_list_folder_continue(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        if arg["cursor"] not in self._cursors:
            raise RefusedError("reset")
        return self._listing(self._cursors[arg["cursor"]], int(arg["cursor"].partition(":")[2]))

    def _do_files_download(self, _exchange: Exchange, arg: Arg, _body: bytes) -> tuple[Path, Arg]:
        return self._file(self._account.find(arg["path"], "path"), None)

    def _do_files_download_zip(self, _exchange: Exchange, arg: Arg, _body: bytes) -> tuple[Path, Arg]:
        place = self._account.find(arg["path"], "path")
        if not place.is_dir():
            raise RefusedError("path", "not_folder")
        return place, {"metadata": self._account.metadata(place)}

    def _file(self, place: Path, top: Path | None) -> tuple[Path, Arg]:
        if place.is_dir():
            raise RefusedError("path", "not_file") if top is None else RefusedError("shared_link_is_directory")
        entry = self._account.metadata(place, top)
        if not entry["is_downloadable"]:
            raise RefusedError("unsupported_file")
        return place, entry

    def _do_files_delete_v2(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        return {"metadata": self._account.delete(arg["path"], arg.get("parent_rev"))}

    def _do_files_upload(self, _exchange: Exchange, arg: Arg, body: bytes) -> Arg:
        upload = self._start(concurrent=False)
        self._take(upload, arg, body)
        try:
            return self._account.commit(arg, upload.path, self._hash(upload))
        except RefusedError as refusal:
            refusal.error = {".tag": "path", "reason": refusal.error["path"], "upload_session_id": ""}
            raise

    def _do_files_upload_session_start(self, _exchange: Exchange, arg: Arg, body: bytes) -> Arg:
        kind = arg.get("session_type") or "sequential"
        concurrent = (kind if isinstance(kind, str) else kind[".tag"]) == "concurrent"
        if concurrent and (body or arg.get("close")):
            raise RefusedError(f"concurrent_session_{'data' if body else 'close'}_not_allowed")
        upload, session = self._start(concurrent=concurrent), f"pid_upload_session:{secrets.token_urlsafe(24)}"
        self._take(upload, arg, body)
        self._uploads[session] = upload
        return {"session_id": session}

    def _start(self, *, concurrent: bool) -> _Upload:
        path = self._work / secrets.token_hex(12)
        path.touch()
        return _Upload(path, concurrent)

    def _do_files_upload_session_append_v2(self, _exchange: Exchange, arg: Arg, body: bytes) -> None:
        upload = self._uploads.get(arg["cursor"]["session_id"])
        if upload is None:
            raise RefusedError("not_found")
        with upload.lock:
            if upload.closed:
                raise RefusedError("closed")
            self._take(upload, arg, body, arg["cursor"]["offset"])

    def _take(self, upload: _Upload, arg: Arg, body: bytes, offset: int = 0) -> None:
        if len(body) > _MOST:
            raise RefusedError("payload_too_large")
        if arg.get("content_hash") not in {None, ContentHash().update(body).hexdigest()}:
            raise RefusedError("content_hash_mismatch")
        close = bool(arg.get("close"))
        if upload.concurrent and (offset % _ALIGNED or (len(body) % _ALIGNED and not close)):
            raise RefusedError(f"concurrent_session_invalid_{'offset' if offset % _ALIGNED else 'data_size'}")
        if not upload.concurrent and offset != upload.size:
            raise RefusedError("incorrect_offset", correct_offset=upload.size)
        with upload.path.open("r+b") as file:
            file.seek(offset)
            file.write(body)
        upload.hash = upload.hash.update(body) if upload.hash and offset == upload.size else None
        upload.size, upload.closed = max(upload.size, offset + len(body)), upload.closed or close

    def _hash(self, upload: _Upload) -> str:
        return upload.hash.hexdigest() if upload.hash else self._account.content_hash(upload.path)

    def _do_files_upload_session_finish(self, _exchange: Exchange, arg: Arg, body: bytes) -> Arg:
        return self._finish(arg, body, closed=False)

    def _finish(self, arg: Arg, body: bytes, *, closed: bool) -> Arg:
        session, offset = arg["cursor"]["session_id"], arg["cursor"]["offset"]
        upload = self._uploads.get(session)
        if upload is None:
            raise RefusedError("lookup_failed", "not_found")
        with upload.lock:
            if closed and not upload.closed:
                raise RefusedError("lookup_failed", "not_closed")
            if offset != upload.size:
                raise RefusedError("lookup_failed", "incorrect_offset", correct_offset=upload.size)
            if body:
                self._take(upload, arg, body, offset)
            entry = self._account.commit(arg["commit"], upload.path, self._hash(upload))
            self._uploads.pop(session, None)
            return entry

    def _do_files_upload_session_finish_batch_v2(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        if len(arg["entries"]) > 1000:
            raise ValueError("entries: list must have at most 1000 items")
        is_alone = self._committing.acquire(blocking=False)
        try:
            finish = self._finished if is_alone else self._refused
            return {"entries": [finish(entry) for entry in arg["entries"]]}
        finally:
            if is_alone:
                self._committing.release()

    @staticmethod
    def _refused(_entry: Arg) -> Arg:
        """Refuse one entry of a batch, as of the second of two at a time."""
        return {".tag": "failure", "failure": RefusedError("path", "too_many_write_operations").error}

    def _finished(self, entry: Arg) -> Arg:
        """Commit one entry of a batch."""
        try:
            return {**self._finish(entry, b"", closed=True), ".tag": "success"}
        except RefusedError as refusal:
            return {".tag": "failure", "failure": refusal.error}

    def _do_files_upload_session_finish_batch(self, exchange: Exchange, arg: Arg, body: bytes) -> Arg:
        job = secrets.token_hex(8)
        self._jobs[job] = self._do_files_upload_session_finish_batch_v2(exchange, arg, body)
        return {".tag": "async_job_id", "async_job_id": job}

    def _do_files_upload_session_finish_batch_check(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        if arg["async_job_id"] not in self._jobs:
            raise RefusedError("invalid_async_job_id")
        return {".tag": "complete", **self._jobs[arg["async_job_id"]]}

    def _share(self, url: str, password: str | None) -> Share:
        parts = urlsplit(url)
        match = self._shares.find(parts.path, parse_qs(parts.query))
        if match is None or not match.share.path.exists() or match.rest:
            raise RefusedError("shared_link_not_found")
        if not match.allowed or (match.share.password is not None and match.share.password != password):
            raise RefusedError("shared_link_access_denied")
        return match.share

    def _target(self, asked: Arg, path: str, password: str) -> Path:
        return self._below(self._share(asked["url"], asked.get(password)).path, path)

    def _below(self, top: Path, path: str) -> Path:
        place = top / path.strip("/")
        if {".", ".."} & set(path.split("/")) or not place.exists():
            raise RefusedError("path", "not_found")
        return place

    def _do_sharing_get_shared_link_metadata(self, _exchange: Exchange, arg: Arg, _body: bytes) -> Arg:
        share = self._share(arg["url"], arg.get("link_password"))
        entry = self._account.metadata(self._below(share.path, arg.get("path") or ""), share.path, hashed=False)
        return {**entry, "url": arg["url"], "name": share.name if not arg.get("path") else entry["name"]}

    def _do_sharing_get_shared_link_file(self, _exchange: Exchange, arg: Arg, _body: bytes) -> tuple[Path, Arg]:
        top = self._share(arg["url"], arg.get("link_password")).path
        return self._file(self._below(top, arg.get("path") or ""), top)


def _challenge(form: dict[str, str]) -> str:
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _json(exchange: Exchange, status: int, answer: object, headers: dict[str, str] | None = None) -> None:
    exchange.reply(status, json.dumps(answer), "application/json", headers)


def _refuse(exchange: Exchange, fault: Fault) -> None:
    if fault.status == 0:  # the answer is lost
        exchange.close_connection = True
        return
    exchange.reply(fault.status or 500, fault.body or b"", "application/json", fault.headers)
