"""Bytes over HTTP: redirects, retries, resuming.

A retry starts from the share link, because the address behind it is temporary; that address grants access, so
it is neither kept nor shown. Range and ETag follow RFC 9110 (sections 13 and 14).
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from colab_magics import masking
from colab_magics.core.common import cancellation
from colab_magics.core.common.addresses import DROPBOX
from colab_magics.core.common.disk import size_text
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.http import links
from colab_magics.core.http.body import Response
from colab_magics.core.http.links import Link
from colab_magics.core.http.partial import Part
from colab_magics.core.http.responses import (
    LONGEST_WAIT,
    Answer,
    RetryError,
    next_hop,
    page_refusal,
    status_refusal,
)
from colab_magics.core.secrets.secrets import Secret
from colab_magics.errors import LinkError, TransferError

if TYPE_CHECKING:
    from colab_magics.core.http.session import Session

__all__ = ["Client", "Received", "retrying"]

_TRIES = 5
_BACKOFF = 0.2  # seconds; doubled with each try
_HOPS = 15
_WHOLE_PAGE = 1 << 21  # bytes of a page in which something is searched
_REDIRECTS = {301, 302, 303, 307, 308}
_BEYOND = 416
_LARGE = 16 << 20  # bytes from which on a file may come over several connections
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
    size, crc : int
        Its length in bytes and its CRC-32; of what was unpacked on its way there is none.
    transferred : int
        Bytes that came over the network, those of broken tries among them.
    """

    answer: Answer
    size: int
    crc: int
    transferred: int


class Client(AbstractContextManager["Client"]):
    """Fetches what links share: a context manager that keeps cookies and connections for as long as it is open.

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
        self._closing = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @cached_property
    def _session(self) -> Session:
        from colab_magics.core.http.session import Session  # here: a sync that has nothing to do needs none

        return self._closing.enter_context(Session(_HEADERS))

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
            link = self._retrying(link, partial(self._resolve, link))
        raise LinkError(f"{link.shown} redirects in circles; use the full share link instead")

    def open(self, link: Link, *, etag: str | None = None) -> Response:
        """Ask for what `link` shares.

        Parameters
        ----------
        link : Link
            What to fetch.
        etag : str, optional
            The validator of the content that is there already.

        Returns
        -------
        Response
            A context manager. What the server says is known, the content is still to be read: once, with `read` or
            `download`, since a connection can break.

        Raises
        ------
        LinkError
            When the link is gone, restricted, needs a password or is no download.
        TransferError
            When there is no answer.
        """
        return self._retrying(link, partial(self._open, link, {"If-None-Match": etag} if etag else {}))

    def read(
        self,
        response: Response,
        take: Callable[[Response], _T],
        again: Callable[[], Response] | None = None,
    ) -> _T:
        """Return what `take` makes of the content of `response`.

        Parameters
        ----------
        response : Response
            It; nothing of it was read yet.
        take : callable
            Reads it. When the connection breaks it is called again, with a new response.
        again : callable, optional
            Returns that; by default the answer to the same share link.
        """
        opened, again = [response], again or partial(self._open, response.link, {})

        def attempt() -> _T:
            with opened.pop() if opened else again() as current:
                name = current.answer.name or response.link.name or "download"
                self._progress.begin(name, current.answer.size)
                try:
                    return take(current)
                finally:
                    self._progress.end()

        return self._retrying(response.link, attempt)

    def download(self, response: Response, into: Path, *, room: Callable[[int], object] = lambda _: None) -> Received:
        """Write the content of `response` to a file; go on with what an earlier run has left there of the same.

        Parameters
        ----------
        response : Response
            It; nothing of it was read yet.
        into : Path
            The file.
        room : callable, optional
            Raises what is to be raised when there is no room for so many bytes; asked before anything comes, if its
            length is known, and before each piece is written.

        Raises
        ------
        TransferError
            When the bytes did not come.
        OSError
            When they could not be written.
        """
        from colab_magics.core.http import several  # here: it takes `retrying` from this module

        link, part, lock = response.link, Part(into, response.link.identity), threading.Lock()
        answer, is_here = response.answer, part.is_of(response.answer)
        if is_here:
            response.close()
            part.answer = answer
            self._progress.say(f"{link.shown}: going on after the {size_text(part.size)} of an earlier run")
        else:
            part.start_over(answer)
        room((part.total or part.size) - part.size)

        def begin() -> None:
            self._progress.begin(answer.name or link.name or "download", part.total)

        def came(count: int) -> None:
            with lock:
                room(count)
                self._progress.advance(count)

        def restarts() -> None:
            self._progress.end()
            begin()

        most = several.AT_ONCE if answer.is_resumable and (answer.size or 0) >= _LARGE else 1
        first, ask = None if is_here else response, partial(self._open, link)
        content = several.Content(link.shown, part, ask, came, restarts=restarts, first=first, most=most)
        begin()
        self._progress.advance(part.size)
        try:
            several.fetch([content], self._progress, grows=True)
        finally:
            self._progress.end()
        return Received(part.answer or answer, part.size, part.counted().crc, part.transferred)

    def _resolve(self, link: Link) -> Link:
        address = links.fetch_address(link, self._dropbox_url)
        with Response(link, self._session.ask(address)) as response:
            _raise(status_refusal(link, response.status, response.headers))
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target:
                raise LinkError(f"{link.shown} leads nowhere; use the full share link instead")
            return links.parse(next_hop(link, address, target), dropbox_url=self._dropbox_url)

    def _open(self, link: Link, headers: dict[str, str]) -> Response:
        """Follow the link to its content."""
        response = self._follow(link, headers)
        try:
            if page_refusal(link, response.headers, response.head):
                _raise(page_refusal(link, response.headers, response.page()))
        except BaseException:
            response.close()
            raise
        return response

    def _follow(self, link: Link, headers: dict[str, str]) -> Response:
        address = links.fetch_address(link, self._dropbox_url)
        authed = False
        for _ in range(_HOPS):
            response = Response(link, self._session.ask(address, headers=headers))
            with ExitStack() as closing:
                closing.enter_context(response)
                target = response.headers.get("Location", "")
                if link.is_dropbox and urlsplit(address).path.endswith("/sm/password"):
                    if authed:
                        raise LinkError(f"{link.shown} asks for its password again; check it in a browser")
                    self._authenticate(link, response)
                    address, authed = links.fetch_address(link, self._dropbox_url), True
                elif response.status in _REDIRECTS and target:
                    response.page()  # so that the connection can be used again
                    address = next_hop(link, address, target)
                    for word in urlsplit(address).path.split("/") if link.is_dropbox else ():
                        if len("".join(word.split())) >= 24 and masking.can_mask(
                            word
                        ):  # the temporary address grants access as the link does
                            masking.register(word, temporary=True)
                elif response.status == _BEYOND and "Range" in headers:
                    headers = {}
                else:
                    _raise(status_refusal(link, response.status, response.headers))
                    closing.pop_all()
                    return response
        raise LinkError(f"{link.shown} redirects in circles; make a new link and use that")

    def _authenticate(self, link: Link, response: Response) -> None:
        """Answer Dropbox's password page in the way the page itself does: ``POST /sm/auth`` in the same cookie jar."""
        if self._password is None:
            raise LinkError(f"{link.shown} needs a password; store it as a secret and add --password secret:NAME")
        if not self._is_dropboxs(response.url):
            raise LinkError(
                f"{link.shown} asks for its password on another site; it was not sent, open it in a browser"
            )
        found = parse_qs(urlsplit(response.url).query).get("content_id") or re.findall(
            r"content_id[=\"':\s]+([\w.+=/%-]+)", response.page(_WHOLE_PAGE).decode("utf-8", "replace")
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
        with Response(link, self._session.ask(place, method="POST", data=form)) as answer:
            try:
                authed = json.loads(answer.page()).get("status") == "authed"
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

    def _retrying(self, link: Link, attempt: Callable[[], _T]) -> _T:
        return retrying(link.shown, attempt, self._progress)


def retrying(shown: str, attempt: Callable[[], _T], progress: Progress, *, failed: str = "could not be fetched") -> _T:
    """Return what `attempt` returns; after a `RetryError` it is called again, later each time, a few times.

    Parameters
    ----------
    shown : str
        What messages call that which is asked for.
    attempt : callable
        Asks.
    progress : Progress
        Hears why it is asked for again.
    failed : str, optional
        What a message says of it at last.

    Raises
    ------
    TransferError
        When no try is left, or the server asks to wait for longer than anybody would.
    """
    for number in range(1, _TRIES + 1):
        try:
            return attempt()
        except RetryError as error:
            cancellation.check()  # a stop breaks connections, and that is no news
            pause = _BACKOFF * 2**number * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries
            pause = error.wait if error.wait is not None else pause
            if number == _TRIES or pause > LONGEST_WAIT:
                again = "check the network and run it again" if pause <= LONGEST_WAIT else f"try again in {pause:.0f} s"
                raise error.final or TransferError(f"{shown} {failed}: {error}; {again}") from None
            progress.say(f"{error}; trying again ({number} of {_TRIES - 1})")
        cancellation.sleep(pause)
    raise AssertionError  # the last round returns or raises


def _raise(error: Exception | None) -> None:
    if error:
        raise error
