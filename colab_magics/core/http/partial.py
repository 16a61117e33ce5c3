"""A content that arrives in one try or in several: what is there already, and whether more of it fits on.

Where the server says which content it is, a part of it is of use to the next run too; a note beside it says what
it belongs to. Range, ETag and ``If-Range`` follow RFC 9110 (sections 13 and 14).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from colab_magics.core.common import cancellation
from colab_magics.core.http.responses import Answer, Headers, RetryError

__all__ = ["FETCHED", "PART", "Part", "clear_but_part"]

#: What the file of a part is called, in the folder of a run.
PART = "download"
#: The folder, there too, of files that came one by one.
FETCHED = "fetched"

_PARTIAL = 206
_WORTH = 1 << 20  # bytes below which a part is not kept for the next run
_PIECE = 1 << 20


class Part:
    """The beginning of a content, on disk.

    Parameters
    ----------
    path : Path
        The file that it is written to. What an earlier run has left of the same content is taken up.
    identity : str
        Whose content it is.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self._note = path, path.with_suffix(".json")
        self._of = hashlib.sha256(identity.encode()).hexdigest()
        self.transferred = 0
        self._start_over(None)
        try:
            self._take_up(json.loads(self._note.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            self._start_over(None)

    def _start_over(self, answer: Answer | None) -> None:
        self._answer, self.total = answer, answer.size if answer else None
        self.size, self.crc, self.sha256 = 0, 0, hashlib.sha256()

    def _take_up(self, note: dict[str, Any]) -> None:
        if note["of"] != self._of:
            return
        self._start_over(Answer(None, False, note["total"], note["etag"], note["mtime"]))
        size = self.path.stat().st_size
        if size == self.total:
            os.truncate(self.path, size - 1)  # no server sends a rest of nothing
        with self.path.open("rb") as file:
            while piece := file.read(_PIECE):
                cancellation.check()
                self._count(piece)

    def is_of(self, answer: Answer) -> bool:
        """Tell whether the rest of a content need be fetched only, since its beginning is here."""
        return bool(self.headers()) and self._is_same(answer, answer.size)

    def _is_same(self, answer: Answer, total: int | None) -> bool:
        known = self._answer
        return known is not None and (known.etag, known.mtime, self.total) == (answer.etag, answer.mtime, total)

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, when something says what the beginning belongs to."""
        if not self.size or self._answer is None or not self._answer.is_resumable:
            return {}
        condition = {"If-Range": self._answer.etag} if self._answer.etag else {}
        return {"Range": f"bytes={self.size}-"} | condition

    def open(self, status: int, headers: Headers, answer: Answer) -> BinaryIO:
        """Open the file at the place where a response goes on: the end of what is there, or the start."""
        if status == _PARTIAL:
            match = re.match(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            start, total = (int(match[1]), int(match[2])) if match else (-1, -1)
            self.total = total if self.total is None else self.total
            if start != self.size or not self._is_same(answer, total):
                self._answer = None  # the next try starts over
                raise RetryError("the content changed between two tries")
            return self.path.open("ab")
        self._start_over(answer)
        self._note.unlink(missing_ok=True)  # first: it must not speak of another content
        self.path.unlink(missing_ok=True)
        if answer.is_resumable:
            note = {"of": self._of, "etag": answer.etag, "mtime": answer.mtime, "total": self.total}
            self._note.write_text(json.dumps(note), "utf-8")
        return self.path.open("wb")

    def take(self, file: BinaryIO, piece: bytes) -> None:
        """Write the next piece."""
        file.write(piece)
        self.transferred += len(piece)
        self._count(piece)

    def _count(self, piece: bytes) -> None:
        self.size += len(piece)
        self.crc = zlib.crc32(piece, self.crc)
        self.sha256.update(piece)


def clear_but_part(work: Path) -> int:
    """Clear the folder of a run that was cut short, but for what is of use to the next one; return the size of that."""
    part, fetched = work / PART, work / FETCHED
    note, kept, size = part.with_suffix(".json"), set[Path](), 0
    if note.is_file() and part.is_file() and part.stat().st_size >= _WORTH:
        kept, size = {part, note}, part.stat().st_size
    if fetched.is_dir() and (came := sum(path.stat().st_size for path in fetched.iterdir())):
        kept, size = {*kept, fetched}, size + came
    if not kept:
        shutil.rmtree(work, ignore_errors=True)
        return 0
    for path in work.iterdir():
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return size
