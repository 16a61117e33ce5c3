"""The content of members: inflated, checked, and written into a folder."""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import sys
import zlib
from collections.abc import Iterable
from typing import Any

from colab_magics.core.common.attributes import set_mtime
from colab_magics.core.common.cancellation import check
from colab_magics.core.common.disk import Budget
from colab_magics.errors import ArchiveError

_fast: Any
try:
    from isal import isal_zlib

    _fast = isal_zlib
except ImportError:  # three times slower, and always there
    _fast = zlib

__all__ = ["METHODS", "Unpacker", "Whole"]

#: The methods of a zip that can be unpacked here: none, deflate, bzip2, LZMA and, where Python has it, zstd.
METHODS = frozenset({0, 8, 12, 14} | ({93} if sys.version_info >= (3, 14) else set()))

_INPUT, _OUTPUT = 1 << 14, 1 << 16  # bytes of packed content taken at a time, and unpacked ones made of them at most
_PLAIN = 1 << 18  # bytes of a content that is not packed, taken at a time
_WHOLE = 1 << 20  # bytes of a content that is unpacked at once
_LZMA_MEMORY = 1 << 29  # bytes that a dictionary may take
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_CLASHES = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_BROKEN: tuple[type[Exception], ...] = (zlib.error, _fast.error, lzma.LZMAError, EOFError, ValueError)

#: A member that is all there: name, whether it is written, method, time stamp in nanoseconds, where its packed
#: content begins and stops, CRC-32 and size.
Whole = tuple[str, bool, int, int, int, int, int, int]


class Unpacker:
    """Writes members into a folder, one after the other; each process has one of its own.

    Parameters
    ----------
    tree : int
        The folder, as an open descriptor.
    budget : Budget
        What may be unpacked.
    source : memoryview, optional
        Where the members lie that are given as ranges.
    """

    def __init__(self, tree: int, budget: Budget, source: memoryview | None = None) -> None:
        self._tree, self._budget, self._source = tree, budget, source or memoryview(b"")
        self._made = {""}
        self._number: int | None = None  # the descriptor of the file that is open
        self._name, self._moment = "", 0
        self._inflater: Any = None
        self.size = self.crc = 0

    def wholes(self, members: Iterable[Whole]) -> None:
        """Unpack members whose packed content is all there."""
        checksum = _fast.crc32
        check()
        for name, write, method, moment, start, stop, crc, size in members:
            if size > _WHOLE or method not in {0, 8} or (method == 0 and size != stop - start):
                self.begin(name, write, method, moment)
                self.piece(start, stop)
                self.end(crc, size)
                continue
            content: Any = self._source[start:stop]
            if method:
                inflater = _fast.decompressobj(-15)
                try:
                    content = inflater.decompress(content, size + 1)
                except _fast.error as error:
                    raise _damaged(name, error) from None
                if not inflater.eof or inflater.unused_data or len(content) != size:
                    raise _damaged(name, "its content has another size")
            if checksum(content) != crc:
                raise _damaged(name, "its content has another checksum")
            self._budget.packed += stop - start
            self._budget.spend(size, written=write)
            if write:
                number = self._create(name)
                try:
                    _write(number, content)
                    set_mtime(number, moment)
                finally:
                    os.close(number)

    def begin(self, name: str, write: bool, method: int, moment: int, header: bytes = b"") -> None:
        """Begin a member; `header` is what of its content says how it is packed, where something does."""
        self._name, self._moment = name, moment
        self.size = self.crc = 0
        self._inflater = _inflater(method, header)
        self._number = self._create(name) if write else None

    def piece(self, start: int, stop: int) -> None:
        """Take a part of its packed content, as a range."""
        self.part(self._source[start:stop])

    def part(self, data: memoryview) -> None:
        """Take a part of its packed content."""
        step = _PLAIN if self._inflater is None else _INPUT
        for start in range(0, len(data), step):
            piece: Any = data[start : start + step]
            self._budget.packed += len(piece)
            if self._inflater is None:
                self.take(piece)
            else:
                self._inflate(piece)

    def _inflate(self, piece: Any) -> None:
        inflater = self._inflater
        while True:
            if inflater.eof:
                if len(piece):
                    raise _damaged(self._name, "something follows its content")
                return
            try:
                content = inflater.decompress(piece, _OUTPUT)
            except OSError as error:  # so the bz2 module speaks of damaged data
                raise _damaged(self._name, error) from None
            except _BROKEN as error:
                raise _damaged(self._name, error) from None
            if content:
                self.take(content)
            # bz2 and lzma keep what they have not yet unpacked, zlib gives it back.
            piece = getattr(inflater, "unconsumed_tail", b"")
            if not piece and len(content) < _OUTPUT:
                return

    def take(self, content: Any) -> None:
        """Take a part of its content that is unpacked."""
        check()
        self.size += len(content)
        self.crc = _fast.crc32(content, self.crc)
        self._budget.spend(len(content), written=self._number is not None)
        if self._number is not None:
            _write(self._number, content)

    def end(self, crc: int | None, size: int, keep: bool = True) -> None:
        """End the member: its content must be of that size and, where that is known, checksum; then it may go again."""
        inflater, self._inflater = self._inflater, None
        if inflater is not None and (not inflater.eof or inflater.unused_data):
            raise _damaged(self._name, "its content has another length")
        if self.size != size:
            raise _damaged(
                self._name, f"it is {abs(size - self.size)} bytes too {'short' if self.size < size else 'long'}"
            )
        if crc is not None and self.crc != crc:
            raise _damaged(self._name, "its content has another checksum")
        if self._number is not None:
            set_mtime(self._number, self._moment)
            if not keep:
                os.unlink(self._name, dir_fd=self._tree)
        self.close()

    def close(self) -> None:
        """Let go of a file that was not ended."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def _create(self, name: str) -> int:
        try:
            try:
                return os.open(name, _NEW, 0o666, dir_fd=self._tree)
            except FileNotFoundError:
                self._folders(name.rpartition("/")[0])
                return os.open(name, _NEW, 0o666, dir_fd=self._tree)
        except OSError as error:
            if error.errno in _CLASHES:
                raise ArchiveError(
                    f"the archive's member {name!r} has the name of another one on this disk, or lies below it; the "
                    "disk may not tell upper from lower case; nothing was written: rename one of them, or leave it out "
                    "with --exclude"
                ) from None
            raise

    def _folders(self, name: str) -> None:
        for at in [at for at, mark in enumerate(name) if mark == "/"] + [len(name)]:
            if name[:at] not in self._made:
                try:  # noqa: SIM105 - contextlib is slower, and there may be many
                    os.mkdir(name[:at], dir_fd=self._tree)
                except FileExistsError:
                    pass  # another process was faster; were it a file, what comes next would fail
                self._made.add(name[:at])


def _inflater(method: int, header: bytes) -> Any:
    if method == 8:
        return _fast.decompressobj(-15)
    if method == 12:
        return bz2.BZ2Decompressor()
    if method == 14:
        return _lzma(header)
    if method == 93 and sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor  # here: few need it

        return ZstdDecompressor()
    return None


def _lzma(header: bytes) -> lzma.LZMADecompressor:
    # APPNOTE 6.3, section 5.8.8: properties without a size follow; with one they are what an .lzma file begins with.
    inflater = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
    inflater.decompress(header, 0)
    return inflater


def _write(number: int, content: Any) -> None:
    written = os.write(number, content)
    if written < len(content):
        view = memoryview(content)
        while written < len(view):
            written += os.write(number, view[written:])


def _damaged(name: str, why: object) -> ArchiveError:
    return ArchiveError(
        f"the archive's member {name!r} is damaged ({why}); nothing was written: run it again to fetch it anew, or "
        "leave it out with --exclude"
    )
