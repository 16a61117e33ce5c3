"""One call of Dropbox's API, version 2, and what a refusal means.

Routes, arguments and errors: dropbox/dropbox-api-spec (files.stone, sharing.stone, auth.stone). A call takes its
argument as JSON in the body, or in a header when the body is a content.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from colab_magics.core.common import cancellation
from colab_magics.core.common.addresses import DROPBOX
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.dropbox.credentials import Credentials, address
from colab_magics.core.http.body import Response
from colab_magics.core.http.client import retrying
from colab_magics.core.http.links import Link
from colab_magics.core.http.responses import LONGEST_WAIT, Headers, RetryError, retry_after
from colab_magics.errors import TokenError, TransferError

if TYPE_CHECKING:
    from colab_magics.core.http.session import Session

__all__ = ["Api", "ApiError"]

_UNAUTHORIZED, _CONFLICT, _TOO_MANY = HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS
_RESET = "too_many_write_operations"
_MEANINGS = {
    "not_found": "is not there; check its path",
    "not_folder": "is a file, not a folder; check its path",
    "not_file": "is a folder, not a file; check its path",
    "unsupported_file": "is a document that is opened online alone; export it there as a file",
    "malformed_path": "is no path of a Dropbox; it begins with a slash",
    "insufficient_space": "does not fit: the Dropbox is full; make room in it",
    "conflict": "is not what it was: something else stands there",
    "disallowed_name": "has a name that Dropbox does not take; rename it",
    "no_write_permission": "may not be written by this login",
    "restricted_content": "may not be downloaded: Dropbox restricts its content",
    "shared_link_not_found": "is gone: deleted, moved, or mistyped; make a new link and use that",
    "shared_link_access_denied": "may not be read with these credentials",
}


class ApiError(TransferError):
    """What Dropbox refuses to do.

    Parameters
    ----------
    shown : str
        What was asked for.
    error : dict
        Its tagged union.
    status : int
        The answer's status.

    Attributes
    ----------
    tags : tuple of str
        The tags of its unions, from the outside in.
    details : dict
        What the innermost one holds.
    """

    def __init__(self, shown: str, error: dict[str, Any], status: int = _CONFLICT) -> None:
        self.status = int(status)
        self.tags: tuple[str, ...] = ()
        self.details: dict[str, Any] = error
        following: Any = error
        while isinstance(following, dict) and ".tag" in following:
            self.details = following
            self.tags += (str(following[".tag"]),)
            following = following.get(self.tags[-1], following.get("reason"))
        meaning = next((_MEANINGS[tag] for tag in self.tags if tag in _MEANINGS), None)
        refusal = f"is refused by Dropbox ({self.status} {'/'.join(self.tags)})"
        super().__init__(f"{shown} {meaning or refusal}")


class Api(AbstractContextManager["Api"]):
    """Calls Dropbox's API, from any number of threads: a context manager that keeps connections while it is open.

    Parameters
    ----------
    credentials : Credentials
        Who asks.
    dropbox_url : str, optional
        Stands in for Dropbox's own hosts, all of them.
    progress : Progress, optional
        Hears of retries, and of the bytes that are sent.

    Attributes
    ----------
    progress : Progress
        As above.
    """

    def __init__(self, credentials: Credentials, dropbox_url: str = DROPBOX, progress: Progress = SILENT) -> None:
        self._credentials, self._dropbox_url, self.progress = credentials, dropbox_url, progress
        self._closing = ExitStack()
        self._lock = threading.Lock()
        self._not_before = 0.0  # Dropbox asked to wait until then; all connections do

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @cached_property
    def _session(self) -> Session:
        from colab_magics.core.http.session import Session  # here: what has nothing to ask needs none

        return self._closing.enter_context(Session({"User-Agent": "colab-magics", "Accept-Encoding": "identity"}))

    @property
    def latency(self) -> float:
        """Seconds that the quickest answer took: what one call more costs."""
        return self._session.latency

    def call(self, route: str, arg: object, shown: str = "Dropbox") -> Any:
        """Return what a call answers; `shown` is what its messages speak of.

        Raises
        ------
        ApiError
            When it is refused.
        TokenError
            When the login is.
        TransferError
            When there is no answer.
        """
        return self._answer("api", route, {"Content-Type": "application/json"}, json.dumps(arg).encode(), shown)

    def upload(self, route: str, arg: object, content: bytes, shown: str) -> Any:
        """Send a content of 150 MiB at most; return what the call answers. Raises what `call` raises."""
        headers = {"Content-Type": "application/octet-stream", "Dropbox-API-Arg": json.dumps(arg)}
        return self._answer("content", route, headers, content, shown)

    def download(self, route: str, arg: object, link: Link, headers: Mapping[str, str]) -> Response:
        """Return the response that holds a file's content, to a request with further `headers`; asked for once.

        Raises
        ------
        RetryError
            When it is to be asked for again, as by `retrying`.
        """
        return self._ask("content", route, {"Dropbox-API-Arg": json.dumps(arg), **headers}, b"", link)

    def _answer(self, host: str, route: str, headers: dict[str, str], content: bytes, shown: str) -> Any:
        def attempt() -> Any:
            with self._ask(host, route, headers, content, Link(shown, "account")) as response:
                body = b"".join(response)
            return json.loads(body)

        return retrying(shown, attempt, self.progress, failed="could not be reached")

    def _ask(self, host: str, route: str, headers: dict[str, str], content: bytes, link: Link) -> Response:
        for is_last in (False, True):
            response, authorization = self._send(host, route, headers, content, link)
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response
            with response:
                body = b"".join(response)
            error = _error(body)
            is_stale = response.status == _UNAUTHORIZED and error.get(".tag") != "missing_scope" and not is_last
            if is_stale and self._credentials.forget(authorization, self._dropbox_url):
                continue
            raise self._refusal(response.status, response.headers, error, link.shown)
        raise AssertionError  # the second round returns or raises

    def _send(self, host: str, route: str, headers: dict[str, str], content: bytes, link: Link) -> tuple[Response, str]:
        from colab_magics.core.http.session import Body

        if (ahead := self._not_before - time.monotonic()) > 0:
            cancellation.sleep(ahead)
        authorization = self._credentials.authorization(self._session, self._dropbox_url, self.progress)
        place = address(self._dropbox_url, host, f"/2/{route}")
        data = Body(content, self.progress.advance) if host == "content" and content else content
        shown = {**headers, "Authorization": authorization}
        return Response(link, self._session.ask(place, method="POST", headers=shown, data=data)), authorization

    def _refusal(self, status: int, headers: Headers, error: dict[str, Any], shown: str) -> Exception:
        if status == _UNAUTHORIZED:
            if error.get(".tag") == "missing_scope":
                scope = error.get("required_scope", "what is asked for")
                return TokenError(
                    f"the Dropbox app may not do this: tick {scope} on its Permissions page, then log in again: "
                    "colab-magics login dropbox"
                )
            return TokenError("Dropbox does not accept this login; log in again: colab-magics login dropbox")
        is_busy = _RESET in str(error)
        if status == _TOO_MANY or (status == _CONFLICT and is_busy):
            wait = retry_after(headers)
            if wait is not None and wait <= LONGEST_WAIT:
                with self._lock:
                    self._not_before = max(self._not_before, time.monotonic() + wait)
            return RetryError("Dropbox asks to wait", wait)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return RetryError(f"Dropbox answers with an error ({status})", retry_after(headers))
        return ApiError(shown, error, status)


def _error(body: bytes) -> dict[str, Any]:
    """Return the tagged union of an error's answer; a plain text's first words stand for its tag."""
    try:
        error = json.loads(body)["error"]
        return error if isinstance(error, dict) else {".tag": str(error)}
    except (ValueError, KeyError, TypeError):
        return {".tag": " ".join(body[:200].decode("utf-8", "replace").split())}
