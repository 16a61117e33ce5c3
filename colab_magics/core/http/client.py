"""Bytes over HTTP: redirects, retries, resuming.

A retry starts from the share link, because the address behind it is temporary; that address grants access, so
it is neither kept nor shown. Range and ETag follow RFC 9110 (sections 13 and 14).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from colab_magics import masking
from colab_magics.core.archives.stream.parts import UnstreamableError
from colab_magics.core.archives.stream.streaming import Stream
from colab_magics.core.common import cancellation
from colab_magics.core.common.addresses import DROPBOX
from colab_magics.core.common.disk import size_text
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.http import links
from colab_magics.core.http.body import Body
from colab_magics.core.http.links import Link
from colab_magics.core.http.partial import Part
from colab_magics.core.http.responses import (
    LONGEST_WAIT,
    Answer,
    RetryError,
    answer_of,
    next_hop,
    page_refusal,
    status_refusal,
)
from colab_magics.core.http.session import Session
from colab_magics.core.secrets.secrets import Secret
from colab_magics.errors import LinkError, TransferError

__all__ = ["Client", "Received"]

_TRIES = 5
_BACKOFF = 0.2  # seconds; doubled with each try
_HOPS = 15
_WHOLE_PAGE = 1 << 21  # bytes of a page in which something is searched
_REDIRECTS = {301, 302, 303, 307, 308}
_UNCHANGED, _BEYOND = 304, 416
# Without dl=1 and for a browser's name Dropbox shows a page; this name gets the content, whatever its version.
_HEADERS = {"User-Agent": "colab-magics", "Accept": "*/*", "Accept-Encoding": "identity"}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Received:
    """A whole content on disk.

    Attributes
    ----------
    answer : Answer
        What the server said of it.
    size, crc, sha256 : int, int, str
        Its length in bytes and its digests; of what was unpacked on its way there are none.
    transferred : int
        Bytes that came over the network, those of broken tries among them.
    """

    answer: Answer
    size: int
    crc: int
    sha256: str
    transferred: int


class Client:
    """Fetches what links share; one cookie jar for all of a sync.

    Parameters
    ----------
    dropbox_url : str
        What Dropbox links are fetched from.
    password : Secret, optional
        For a link that asks for one.
    progress : Progress, optional
        Hears of bytes and of retries.
    """

    def __init__(
        self, dropbox_url: str = DROPBOX, *, password: Secret | None = None, progress: Progress = SILENT
    ) -> None:
        self._dropbox_url = dropbox_url
        self._password = password
        self._progress = progress
        self._session = Session(_HEADERS)

    def resolve(self, link: Link) -> Link:
        """Follow a redirector to the share link it stands for; return any other link as it is.

        Raises
        ------
        LinkError
            When it leads to nothing that can be downloaded.
        """
        for _ in range(_HOPS):
            for secret in link.secrets:
                masking.register(secret)
            if link.kind != "redirector":
                return link
            link = self._retrying(link, self._resolve_once)
        raise LinkError(f"{link.shown} redirects in circles; use the full share link instead")

    def ask(self, link: Link) -> Answer:
        """Return what the server says of `link`, without the content."""
        return self._retrying(link, self._ask)

    def download(
        self, link: Link, into: Path, *, etag: str | None = None, stream: Stream | None = None
    ) -> Received | None:
        """Write what `link` shares to a file, or unpack it while it arrives.

        Parameters
        ----------
        link : Link
            What to fetch.
        into : Path
            The file to write.
        etag : str, optional
            The validator of the content that is there already.
        stream : Stream, optional
            Takes a zip in place of the file, when it is one that could not be resumed if the connection broke.

        Returns
        -------
        Received or None
            None when the content still is what `etag` names.

        Raises
        ------
        LinkError
            When the link is gone, restricted, needs a password or is no download.
        TransferError
            When the bytes did not come.
        OSError
            When they could not be written.
        """
        part = Part(into, link.identity)
        if stream is not None:
            try:
                return self._retrying(link, lambda link: self._download(link, part, etag, stream))
            except UnstreamableError:
                pass  # then with all of it at hand
        return self._retrying(link, lambda link: self._download(link, part, etag))

    def _resolve_once(self, link: Link) -> Link:
        address = links.fetch_address(link, self._dropbox_url)
        with self._session.get(address) as response:
            _raise(status_refusal(link, response.status, response.headers))
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target:
                raise LinkError(f"{link.shown} leads nowhere; use the full share link instead")
            return links.parse(next_hop(link, address, target), dropbox_url=self._dropbox_url)

    def _ask(self, link: Link) -> Answer:
        with self._open(link, {}) as (_, answer, _):
            return answer

    def _download(self, link: Link, part: Part, etag: str | None, stream: Stream | None = None) -> Received | None:
        headers = {"If-None-Match": etag} if etag else part.headers()
        with self._open(link, headers) as (response, answer, body):
            if response.status == _UNCHANGED:
                return None
            if stream is not None and body.head.startswith(b"PK\x03\x04") and not _resumable(answer):
                return self._unpack(link, answer, body, stream)
            with part.continued(response.status, response.headers, answer) as file:
                self._progress.begin(answer.name or link.name or "download", part.total)
                if part.size and not part.transferred:
                    self._progress.say(f"{link.shown}: going on after the {size_text(part.size)} of an earlier run")
                try:
                    self._progress.advance(part.size)
                    for piece in body:
                        part.take(file, piece)
                        self._progress.advance(len(piece))
                finally:
                    self._progress.end()
            if part.total is not None and part.size != part.total:
                raise RetryError(f"the connection ended after {part.size} of {part.total} bytes")
            return Received(answer, part.size, part.crc, part.sha256.hexdigest(), part.transferred)

    def _unpack(self, link: Link, answer: Answer, body: Body, stream: Stream) -> Received:
        self._progress.begin(answer.name or link.name or "download", answer.size)
        try:
            size = stream.take(body)
        finally:
            self._progress.end()
        if answer.size is not None and size != answer.size:
            raise RetryError(f"the connection ended after {size} of {answer.size} bytes")
        return Received(answer, size, 0, "", size)

    @contextmanager
    def _open(self, link: Link, headers: dict[str, str]) -> Iterator[tuple[HTTPResponse, Answer, Body]]:
        """Follow the link to its content; yield the response, what it says, and the content."""
        with self._follow(link, headers) as response:
            body = Body(response)
            if page_refusal(link, response.headers, body.head):
                _raise(page_refusal(link, response.headers, body.page()))
            yield response, answer_of(link, response.url, response.headers, body.head), body

    def _follow(self, link: Link, headers: dict[str, str]) -> HTTPResponse:
        address = links.fetch_address(link, self._dropbox_url)
        authed = False
        for _ in range(_HOPS):
            response = self._session.get(address, headers)
            target = response.headers.get("Location", "")
            if link.is_dropbox and urlsplit(address).path.endswith("/sm/password"):
                with response:
                    if authed:
                        raise LinkError(f"{link.shown} asks for its password again; check it in a browser")
                    self._authenticate(link, response)
                address, authed = links.fetch_address(link, self._dropbox_url), True
            elif response.status in _REDIRECTS and target:
                response.close()
                address = next_hop(link, address, target)
                for word in urlsplit(address).path.split("/") if link.is_dropbox else ():
                    if len(word) >= 24:  # the temporary address grants access as the link does
                        masking.register(word, temporary=True)
            elif response.status == _BEYOND and "Range" in headers:
                response.close()
                headers = {}
            else:
                refusal = status_refusal(link, response.status, response.headers)
                if refusal:
                    response.close()
                    raise refusal
                return response
        raise LinkError(f"{link.shown} redirects in circles; make a new link and use that")

    def _authenticate(self, link: Link, response: HTTPResponse) -> None:
        """Answer Dropbox's password page in the way the page itself does: ``POST /sm/auth`` in the same cookie jar."""
        if self._password is None:
            raise LinkError(f"{link.shown} needs a password; store it as a secret and add --password secret:NAME")
        if not self._is_dropboxs(response.url):
            raise LinkError(
                f"{link.shown} asks for its password on another site; it was not sent, open it in a browser"
            )
        found = parse_qs(urlsplit(response.url).query).get("content_id") or re.findall(
            r"content_id[=\"':\s]+([\w.+=/%-]+)", Body(response).page(_WHOLE_PAGE).decode("utf-8", "replace")
        )
        parts = urlsplit(link.url)
        form = {
            "is_xhr": "true",
            "t": next((cookie.value or "" for cookie in self._session.cookies if cookie.name == "t"), ""),
            "content_id": unquote(found[0]) if found else "",
            "password": self._password.reveal(),
            "url": f"{parts.path}?{parts.query}",
        }
        place = urljoin(response.url, "/sm/auth")
        with self._session.post(place, form) as answer:
            try:
                authed = json.loads(Body(answer).page()).get("status") == "authed"
            except (ValueError, AttributeError):
                authed = False
        if not authed:
            raise LinkError(
                f"{link.shown} does not accept the password from {self._password.source}; check it in a browser"
            )

    def _is_dropboxs(self, address: str) -> bool:
        """Tell whether a password may be sent to where `address` is: Dropbox, or what stands in for it."""
        there, base = urlsplit(address), urlsplit(self._dropbox_url)
        own = (there.scheme, there.netloc) == (base.scheme, base.netloc)
        return own or (there.scheme == "https" and there.hostname in {"dropbox.com", "www.dropbox.com"})

    def _retrying(self, link: Link, attempt: Callable[[Link], _T]) -> _T:
        for number in range(1, _TRIES + 1):
            try:
                return attempt(link)
            except RetryError as error:
                pause = min(_BACKOFF * 2**number, 10.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries
                pause = error.wait if error.wait is not None else pause
                if number == _TRIES or pause > LONGEST_WAIT:
                    again = (
                        "check the network and run it again" if pause <= LONGEST_WAIT else f"try again in {pause:.0f} s"
                    )
                    raise error.final or TransferError(f"{link.shown} could not be fetched: {error}; {again}") from None
                self._progress.say(f"{error}; trying again ({number} of {_TRIES - 1})")
            cancellation.sleep(pause)
        raise AssertionError  # the last round returns or raises


def _resumable(answer: Answer) -> bool:
    return answer.etag is not None or (answer.size is not None and answer.mtime is not None)


def _raise(error: Exception | None) -> None:
    if error:
        raise error
