"""A content that arrives in one try or in several, over one connection or several: what is there, and what is missing.

Where the server says which content it is, a part of it is of use to the next run too: a note beside it says what it
belongs to, and which stretches of it are there. Range, ETag and ``If-Range`` follow RFC 9110 (sections 13 and 14).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from colab_magics.core.common import cancellation
from colab_magics.core.http.responses import Answer, Headers
from colab_magics.errors import TransferError

__all__ = ["ALIGNED", "FETCHED", "PART", "Crc", "OtherContentError", "Part", "Stretch", "clear_but_part"]

#: What the file of a part is called, in the folder of a run.
PART = "download"
#: The folder, there too, of files that came one by one.
FETCHED = "fetched"
#: Bytes of which the start of a stretch is a multiple: the blocks that Dropbox hashes.
ALIGNED = 4 << 20

_WORTH = 1 << 20  # bytes below which a part is not kept for the next run
_PIECE = 1 << 20
_ENDLESS = 1 << 62  # of a content whose length nobody knows
_POLYNOMIAL = 0xEDB88320


class OtherContentError(TransferError):
    """What comes is not the content that was asked for."""


class Counted(Protocol):
    """What is known of a stretch's bytes. That of a whole content is joined from that of its stretches."""

    @property
    def crc(self) -> int:
        """Their CRC-32."""

    def take(self, piece: bytes) -> None:
        """Count the next piece."""

    def join(self, other: Any) -> None:
        """Count the bytes of another stretch, which follow; what counted them is of the same kind."""


class Crc:
    """A number of bytes, ``size``, and their CRC-32, ``crc``."""

    def __init__(self) -> None:
        self.size, self.crc = 0, 0

    def take(self, piece: bytes) -> None:
        """Count the next piece."""
        self.size += len(piece)
        self.crc = zlib.crc32(piece, self.crc)

    def join(self, other: Crc) -> None:
        """Count bytes that follow and were counted already.

        Examples
        --------
        >>> head, rest, whole = Crc(), Crc(), Crc()
        >>> head.take(b"hea")
        >>> rest.take(b"vy")
        >>> whole.take(b"heavy")
        >>> head.join(rest)
        >>> head.crc == whole.crc
        True
        """
        # Each byte that follows multiplies by x^8, modulo the polynomial; bits are reflected, so that 1 << 31 is 1.
        power, factor, size = 1 << 31, 1 << 23, other.size
        while size:
            if size & 1:
                power = _product(power, factor)
            factor, size = _product(factor, factor), size >> 1
        self.crc = _product(power, self.crc) ^ other.crc
        self.size += other.size


def _product(one: int, other: int) -> int:
    """Multiply two polynomials over GF(2), modulo CRC-32's."""
    made = 0
    for bit in range(31, -1, -1):
        made ^= other if one >> bit & 1 else 0
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return made


class Stretch:
    """Bytes of a content that come one after the other.

    Parameters
    ----------
    start, end : int
        The first, and the one behind the last.
    counted : Counted
        What is known of those that are there.

    Attributes
    ----------
    at : int
        The first that is not there.
    asked : int
        Where the answer ends that it comes from; behind its end when the rest comes over another connection.
    is_held : bool
        Whether a connection is busy with it.
    is_begun : bool
        Whether a server has agreed to send it.
    """

    def __init__(self, start: int, end: int, counted: Counted) -> None:
        self.start, self.at, self.end, self.asked, self.counted = start, start, end, end, counted
        self.is_held = self.is_begun = False

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self.end - self.at


class Part:
    """What is there of a content, on disk.

    Parameters
    ----------
    path : Path
        The file that it is written to. What an earlier run has left of the same content is taken up.
    identity : str
        Whose content it is.
    counter : callable, optional
        Makes what counts a stretch.
    listed : Answer, optional
        What is known of the content before any server answers; then no other is taken.
    notes : bool, optional
        Whether a note beside the file may be made, for the next run.

    Attributes
    ----------
    stretches : list of Stretch
        All of it, in its order.
    answer : Answer or None
        What was said of it; None when it is to start over.
    transferred : int
        Bytes that came, those of broken tries among them.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        counter: Callable[[], Counted] = Crc,
        listed: Answer | None = None,
        *,
        notes: bool = True,
    ) -> None:
        self.path, self._counter, self._listed, self._notes = path, counter, listed, notes
        self.answer, self.transferred, self.stretches = listed, 0, list[Stretch]()
        self._note, self._of = path.with_suffix(".json"), hashlib.sha256(identity.encode()).hexdigest()
        self._file = self._lines = -1
        size = listed.size if listed else None
        if (not notes or not self._take_up()) and listed:
            self._reset(size)

    def _reset(self, total: int | None) -> None:
        self.stretches = [Stretch(0, _ENDLESS if total is None else total, self._counter())]

    def _take_up(self) -> bool:
        """Read what an earlier run left, and believe what is proved by its CRC-32."""
        try:
            head, *lines = self._note.read_text("utf-8").split("\n")
            note = json.loads(head)
            answer = Answer(None, False, note["total"], note["etag"], note["mtime"])
            found = {start: (at, crc) for start, at, crc in (map(int, line.split()) for line in lines[:-1])}
            if note["of"] != self._of or (self._listed and answer != self._listed):
                return False
            end = _ENDLESS if answer.size is None else answer.size
            edges = {0, end, *(start for start in found if start < end and start % ALIGNED == 0)}
            self.stretches = [Stretch(*pair, self._counter()) for pair in pairwise(sorted(edges))]
            with self.path.open("rb") as file:
                for stretch in self.stretches:
                    self._read(file.fileno(), stretch, *found.get(stretch.start, (0, 0)))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self.answer = self._listed or answer
        return self.size > 0

    def _read(self, file: int, stretch: Stretch, at: int, crc: int) -> None:
        while stretch.at < min(at, stretch.end):
            cancellation.check()
            piece = os.pread(file, min(_PIECE, at - stretch.at, stretch.left), stretch.at)
            if not piece:
                break
            stretch.counted.take(piece)
            stretch.at += len(piece)
        if stretch.at != at or stretch.counted.crc != crc:
            stretch.at, stretch.counted = stretch.start, self._counter()
        stretch.is_begun = stretch.at > stretch.start

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return sum(stretch.at - stretch.start for stretch in self.stretches)

    @property
    def total(self) -> int | None:
        """Bytes of all of it, where that is known."""
        end = self.stretches[-1].end if self.stretches else _ENDLESS
        return None if end == _ENDLESS else end

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return all(stretch.at == stretch.end for stretch in self.stretches)

    def is_of(self, answer: Answer) -> bool:
        """Tell whether only the rest of a content need be fetched, since this is a part of it."""
        return self.size > 0 and self._is_same(answer, answer.size)

    def _is_same(self, answer: Answer, total: int | None) -> bool:
        known = self.answer
        if known is None or not known.is_resumable or total != self.total:
            return False
        return known is self._listed or (known.etag, known.mtime) == (answer.etag, answer.mtime)

    def headers(self, stretch: Stretch) -> dict[str, str]:
        """Return the headers that ask for what a stretch is lacking; none where all is to come anew."""
        known, is_last = self.answer, stretch.end == (self.total or _ENDLESS)
        if known is None or not known.is_resumable or (not stretch.at and is_last):
            return {}
        condition = {"If-Range": known.etag} if known.etag and known is not self._listed else {}
        return {"Range": f"bytes={stretch.at}-{'' if is_last else stretch.end - 1}"} | condition

    def fits(self, stretch: Stretch, headers: Headers, answer: Answer) -> bool:
        """Tell whether a partial answer goes on where a stretch ends."""
        match = re.match(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if match is not None and self.total is None:
            stretch.end = stretch.asked = int(match[2])
        return match is not None and int(match[1]) == stretch.at and self._is_same(answer, int(match[2]))

    def is_other(self, answer: Answer) -> bool:
        """Tell whether a whole content is not the one that was listed."""
        return self._listed is not None and answer.size not in {self._listed.size, None}

    def start_over(self, answer: Answer) -> Stretch:
        """Forget what is there; return the only stretch, of a whole content that is about to come."""
        self.close()
        self.answer = self._listed or answer
        self._reset(self.answer.size)
        self.forget()  # first: the note must not speak of another content
        return self.stretches[0]

    def ends(self, stretch: Stretch) -> None:
        """Take note of where a content ends whose length nobody had told."""
        stretch.end = stretch.at

    def split(self, stretch: Stretch, least: int) -> Stretch | None:
        """Take the second half of what a stretch is lacking away from it, if both halves have `least` bytes."""
        middle = -(-(stretch.at + stretch.left // 2) // ALIGNED) * ALIGNED
        if stretch.end == _ENDLESS or middle - stretch.at < least or stretch.end - middle < least:
            return None
        made = Stretch(middle, stretch.end, self._counter())
        stretch.end = middle
        self.stretches.insert(self.stretches.index(stretch) + 1, made)
        return made

    def join(self, stretch: Stretch) -> bool:
        """Let a stretch that is all there go on over the next one, if no server has agreed to send that yet."""
        following = next((each for each in self.stretches if each.start == stretch.end), None)
        if following is None or following.is_begun:
            return False
        stretch.end = following.end
        self.stretches.remove(following)
        return True

    def write(self, stretch: Stretch, piece: bytes) -> None:
        """Write the next piece of a stretch."""
        if self._file < 0:
            self._open()
        view = memoryview(piece)
        while view:
            view = view[os.pwrite(self._file, view, stretch.at + len(piece) - len(view)) :]
        self.transferred += len(piece)
        stretch.counted.take(piece)
        stretch.at += len(piece)
        if self._lines >= 0:
            os.write(self._lines, b"%d %d %d\n" % (stretch.start, stretch.at, stretch.counted.crc))

    def _open(self) -> None:
        anew = 0 if self.size else os.O_TRUNC
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | anew, 0o666)
        known = self.answer
        if self._notes and known and known.is_resumable and (known.size is None or known.size >= _WORTH):
            self._lines = os.open(self._note, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            if not os.fstat(self._lines).st_size:
                note = {"of": self._of, "etag": known.etag, "mtime": known.mtime, "total": known.size}
                os.write(self._lines, f"{json.dumps(note)}\n".encode())

    def counted(self) -> Counted:
        """Return what is known of all of it."""
        first, *others = self.stretches
        for other in others:
            first.counted.join(other.counted)
        self.stretches = [first]
        return first.counted

    def close(self) -> None:
        """Close its files."""
        if self.is_whole and not self.size:  # nobody wrote it
            self.path.write_bytes(b"")
        for file in {self._file, self._lines} - {-1}:
            os.close(file)
        self._file = self._lines = -1

    def forget(self) -> None:
        """Remove the note: what is there is of no more use, or has its place."""
        if self._notes:
            self._note.unlink(missing_ok=True)


def clear_but_part(work: Path) -> int:
    """Clear the folder of a run that was cut short, but for what is of use to the next one; return the size of that."""
    part, fetched = work / PART, work / FETCHED
    note, kept, size = part.with_suffix(".json"), set[Path](), 0
    if part.is_file() and (came := _there(part)) >= _WORTH:
        kept, size = {part, note}, came
    if fetched.is_dir() and (came := sum(_there(path) for path in fetched.iterdir() if path.suffix != ".json")):
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


def _there(path: Path) -> int:
    """Return the bytes of a file that the next run can use: of a part those that its note speaks of."""
    if path.name != PART and path.suffix != ".part":
        return path.stat().st_size
    try:
        lines = path.with_suffix(".json").read_text("utf-8").split("\n")[1:-1]
        found = {start: at for start, at, _ in (map(int, line.split()) for line in lines)}
        return sum(at - start for start, at in found.items())
    except (OSError, ValueError):
        return 0
