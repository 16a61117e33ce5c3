"""A content that arrives in one try or in several: what is there already, and whether more of it fits on.

Range, ETag and ``If-Range`` follow RFC 9110 (sections 13 and 14).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from colab_magics.core.answers import Answer, RetryError

__all__ = ["Part"]

_PARTIAL = 206


class Part:
    """The beginning of a content, on disk.

    Parameters
    ----------
    path : Path
        The file that it is written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total: int | None = None
        self.transferred = 0
        self._answer: Answer | None = None
        self._restart()

    def _restart(self) -> None:
        self.size, self.crc, self.sha256 = 0, 0, hashlib.sha256()

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, when something says what the beginning belongs to."""
        if not self.size or self._answer is None:
            return {}
        if self._answer.etag:
            return {"Range": f"bytes={self.size}-", "If-Range": self._answer.etag}
        return {"Range": f"bytes={self.size}-"} if self.total and self._answer.mtime is not None else {}

    @contextmanager
    def continued(self, status: int, headers: Mapping[str, str], answer: Answer) -> Iterator[BinaryIO]:
        """Open the file at the place where a response goes on: the end of what is there, or the start."""
        match = re.match(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if status == _PARTIAL and not (match and self._fits(int(match[1]), int(match[2]), answer)):
            self._answer = None  # the next try starts over
            raise RetryError("the content changed between two tries")
        if status == _PARTIAL and match:
            self.total = int(match[2])
        else:
            self._restart()
            self.total, self._answer = answer.size, answer
        with self.path.open("ab" if self.size else "wb") as file:
            yield file

    def _fits(self, start: int, total: int, answer: Answer) -> bool:
        known = self._answer
        if known is None or start != self.size or self.total not in {None, total}:
            return False
        return (answer.etag, answer.mtime) == (known.etag, known.mtime)

    def take(self, file: BinaryIO, piece: bytes) -> None:
        """Write the next piece."""
        file.write(piece)
        self.size += len(piece)
        self.transferred += len(piece)
        self.crc = zlib.crc32(piece, self.crc)
        self.sha256.update(piece)
