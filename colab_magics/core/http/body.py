"""A response's body, as it comes off the connection: what breaks there is told from what breaks on the disk."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.client import HTTPResponse
from urllib.parse import urlsplit

from colab_magics.core.http.responses import RetryError
from colab_magics.core.http.session import told
from colab_magics.errors import TransferError

__all__ = ["Body"]

_PIECE = 1 << 18
_HEAD = 512  # bytes; enough to tell a page from content
_PAGE = 1 << 16  # bytes of a page that are read to understand it
_PACKED = {"gzip", "x-gzip", "deflate"}
_ANY_WRAPPER = zlib.MAX_WBITS | 32  # of gzip or zlib, whichever comes


class Body:
    """The body of a response that is streamed.

    Parameters
    ----------
    response : HTTPResponse
        It; nothing of its body was read yet.

    Attributes
    ----------
    head : bytes
        The first bytes, which are still part of what is read.

    Raises
    ------
    RetryError
        When the connection breaks; as all methods do.
    TransferError
        When it is packed in a way that was not asked for.
    """

    def __init__(self, response: HTTPResponse) -> None:
        self._host = urlsplit(response.url).netloc
        self._response = response
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in {"", "identity", *_PACKED}:
            raise TransferError(f"{self._host} packs what it sends with {encoding!r}; it was asked for it unpacked")
        self._inflater = zlib.decompressobj(_ANY_WRAPPER) if encoding in _PACKED else None
        self._left = self.head = b""
        while len(self.head) < _HEAD and (piece := self._read()):
            self.head += piece
        self._left = self.head

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece

    def read(self) -> bytes:
        """Return what there is, at least a byte; nothing at the end."""
        if self._left:
            piece, self._left = self._left, b""
            return piece
        return self._read()

    def page(self, most: int = _PAGE) -> bytes:
        """Return the beginning, up to about `most` bytes: by default as much as a page needs to be understood."""
        page = b""
        while len(page) < most and (piece := self.read()):
            page += piece
        return page

    def readinto(self, view: memoryview) -> int:
        """Fill `view` from its start; return how many bytes came, which is fewer only at the end."""
        filled = min(len(self._left), len(view))
        view[:filled] = self._left[:filled]
        self._left = self._left[filled:]
        while filled < len(view):
            if self._inflater is None:
                with self._told():
                    count = self._response.readinto(view[filled:])
            else:
                piece = self._read()
                count = min(len(piece), len(view) - filled)
                view[filled : filled + count] = piece[:count]
                self._left = piece[count:]
            if not count:
                break
            filled += count
        return filled

    def _read(self) -> bytes:
        if self._inflater is None:
            with self._told():
                return self._response.read1(_PIECE)
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail
            if not packed:
                with self._told():
                    packed = self._response.read1(_PIECE)
            try:
                piece = self._inflater.decompress(packed, _PIECE)
            except zlib.error:
                raise RetryError(f"what {self._host} sent is damaged") from None
            if piece:
                return piece
            if not packed:
                raise RetryError(f"the connection to {self._host} ended early")
        return b""

    def _told(self) -> AbstractContextManager[None]:
        return told(self._host, "stopped answering", "broke")
