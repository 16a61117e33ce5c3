"""A response's body, as it comes off the connection: what breaks there is told from what breaks on the disk."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
import urllib3

from colab_magics.core.answers import RetryError

__all__ = ["Body"]

_PIECE = 1 << 18
_HEAD = 512  # bytes; enough to tell a page from content


class Body:
    """The body of a response that is streamed.

    Parameters
    ----------
    response : requests.Response
        It; nothing of its body was read yet.

    Attributes
    ----------
    head : bytes
        The first bytes, which are still part of what is read.
    """

    def __init__(self, response: requests.Response) -> None:
        self._host = urlsplit(response.url).netloc
        plain = response.headers.get("Content-Encoding", "identity").lower() in {"", "identity"}
        inner = getattr(response.raw, "_fp", None)
        # Beneath urllib3, which would hold a piece back until it is full, and lose it when the connection breaks.
        self._stream = inner if plain and isinstance(inner, http.client.HTTPResponse) else None
        self._pieces = response.iter_content(_PIECE)
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

    def readinto(self, view: memoryview) -> int:
        """Fill `view` from its start; return how many bytes came, which is fewer only at the end."""
        filled = min(len(self._left), len(view))
        view[:filled] = self._left[:filled]
        self._left = self._left[filled:]
        while filled < len(view):
            if self._stream is not None:
                with self._told():
                    count = self._stream.readinto(view[filled:])
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
        with self._told():
            return self._stream.read1(_PIECE) if self._stream is not None else next(self._pieces, b"")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, requests.Timeout):
            raise RetryError(f"{self._host} stopped answering") from None
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError):
            raise RetryError(f"the connection to {self._host} broke") from None
