"""What a link shares, while it comes: the answer is known, the content is still to be read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from colab_magics.core.common import cancellation
from colab_magics.core.http.links import Link
from colab_magics.core.http.responses import Answer, RetryError, answer_of
from colab_magics.errors import TransferError

if TYPE_CHECKING:
    import requests

__all__ = ["Response"]

_PIECE = 1 << 18
_HEAD = 512  # bytes; enough to tell a page from content
_PAGE = 1 << 16  # bytes of a page that are read to understand it
_UNCHANGED = 304
_PACKED = {"gzip", "x-gzip", "deflate"}
_ANY_WRAPPER = zlib.MAX_WBITS | 32  # of gzip or zlib, whichever comes


class Response(AbstractContextManager["Response"]):
    """One response; a context manager that ends it, and a source that an archive can be read from.

    Parameters
    ----------
    link : Link
        What it answers.
    response : requests.Response
        It; nothing of its body was read yet.

    Attributes
    ----------
    link : Link
        As above.
    url : str
        Where it came from in the end. It grants access, so it must not be shown.
    status : int
        Its status.
    headers : mapping of str to str
        Its headers.

    Raises
    ------
    RetryError
        When the connection breaks; as all that reads does.
    TransferError
        When it is packed in a way that was not asked for.
    """

    def __init__(self, link: Link, response: requests.Response) -> None:
        self.link, self.url, self.status, self.headers = link, str(response.url), response.status_code, response.headers
        self._host = urlsplit(self.url).netloc
        self._response = response
        # http.client's own response, below those of requests and urllib3, fills a buffer without a copy.
        self._source: Any = response.raw._fp  # noqa: SLF001
        self._left = b""
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in {"", "identity", *_PACKED}:
            self.close()
            raise TransferError(f"{self._host} packs what it sends with {encoding!r}; it was asked for it unpacked")
        self._inflater = zlib.decompressobj(_ANY_WRAPPER) if encoding in _PACKED else None

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the rest of the content in pieces."""
        view = memoryview(bytearray(_PIECE))
        while count := self._some(view):  # what came before the connection broke is not lost
            yield bytes(view[:count])

    @cached_property
    def head(self) -> bytes:
        """The first bytes, which are still part of what is read."""
        self._left = self.page(_HEAD)
        return self._left

    @cached_property
    def answer(self) -> Answer:
        """What the server says of the content."""
        return answer_of(self.link, self.url, self.headers, self.head)

    @property
    def is_unchanged(self) -> bool:
        """Whether the content still is what the request named by its ETag; then there is none here."""
        return self.status == _UNCHANGED

    def page(self, most: int = _PAGE) -> bytes:
        """Return the beginning, up to `most` bytes: by default as much as a page needs to be understood."""
        page = bytearray(most)
        return bytes(page[: self.readinto(memoryview(page))])

    def readinto(self, view: memoryview) -> int:
        """Fill `view` from its start; return how many bytes came, which is fewer only at the end."""
        filled = 0
        while filled < len(view) and (count := self._some(view[filled:])):
            filled += count
        return filled

    def adopt(self) -> None:
        """Let an interrupt of the run that this thread works for end it, although another thread asked."""
        cancellation.note(getattr(getattr(self._source.fp, "raw", None), "_sock", None))

    def close(self) -> None:
        """End it. The connection can be used again if all of it was read."""
        if self._source.isclosed() or self._source.length == 0:
            self._response.raw.release_conn()
        self._response.close()

    def _some(self, view: memoryview) -> int:
        if not self._left:
            return self._receive(view) if self._inflater is None else self._inflate(view)
        count = min(len(self._left), len(view))
        view[:count], self._left = self._left[:count], self._left[count:]
        return count

    def _inflate(self, view: memoryview) -> int:
        inflater, packed = self._inflater, memoryview(bytearray(_PIECE))
        while inflater is not None and not inflater.eof:
            data = inflater.unconsumed_tail or packed[: self._receive(packed)]
            try:
                piece = inflater.decompress(data, len(view))
            except zlib.error:
                raise RetryError(f"what {self._host} sent is damaged") from None
            view[: len(piece)] = piece
            if piece:
                return len(piece)
            if not data:
                raise RetryError(f"the connection to {self._host} ended early")
        return 0

    def _receive(self, view: memoryview) -> int:
        with self._told():
            return int(self._source.readinto(view))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what breaks on the connection from what breaks on the disk; an interrupt ends connections too."""
        cancellation.check()
        try:
            yield
        except TimeoutError:
            raise RetryError(f"{self._host} stopped answering") from None
        except (OSError, HTTPException):
            raise RetryError(f"the connection to {self._host} broke") from None
        finally:
            cancellation.check()
        if self._source.isclosed() and self._source.length:
            raise RetryError(f"the connection to {self._host} ended early")
