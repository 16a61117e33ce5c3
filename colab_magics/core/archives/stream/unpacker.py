"""Members of a zip -> files. Runs in the process itself, or as a helper process that is started with this file alone.

A helper shares the bytes with the process that started it and hears from it, on its standard input, which ranges
are which member; it answers on its standard output when it needs a part of them no longer.
"""

from __future__ import annotations

import gc
import marshal
import mmap
import os
import struct
import sys
import zlib

TYPE_CHECKING = False  # what only types need is not imported: a helper starts twice as fast without
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_fast: Any
try:
    from isal import isal_zlib

    _fast = isal_zlib
except ImportError:  # three times slower, and always there
    _fast = zlib

__all__ = ["BOMB", "FRAME", "Unpacker"]

#: The reason why a content is refused that grows beyond all measure.
BOMB = "bomb"

#: The length in bytes of a message, before it.
FRAME = struct.Struct("<L")

_INPUT, _OUTPUT = 1 << 14, 1 << 16  # bytes of packed content taken at a time, and unpacked ones made of them at most
_SMALL = 1 << 22
_CHECK = 1 << 26  # bytes written between two looks at the room on the disk
_SUSPICIOUS = 1 << 30  # bytes above which the ratio is looked at
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class _BadMemberError(Exception):
    """A member's content is not what was said of it."""


_ERRORS: tuple[type[Exception], ...] = (_BadMemberError, zlib.error, _fast.error)


class Unpacker:
    """Writes members into a folder.

    Parameters
    ----------
    source : memoryview
        The bytes that ranges refer to.
    tree : int
        The folder, as an open descriptor.
    spare : int
        Bytes that must stay free on its disk.
    ratio : float
        How many times as large as its packed form a content may be.
    """

    def __init__(self, source: memoryview, tree: int, spare: int, ratio: float) -> None:
        self._source, self._tree, self._spare, self._ratio = source, tree, spare, ratio
        self._made = {""}
        self._open: _File | None = None
        self._unchecked = 0
        self._name = ""

    def run(self, orders: Iterable[tuple[Any, ...]]) -> list[str] | None:
        """Carry out orders, see `_order`; return what went wrong: its kind, the member and the reason."""
        try:
            for order in orders:
                self._order(*order)
        except OSError as error:
            return ["disk", str(error.errno or 0), error.strerror or str(error)]
        except _ERRORS as error:
            return ["bad", self._name, str(error)]
        return None

    def _order(self, what: str, *rest: Any) -> None:
        """Do one thing.

        ``R names writes methods times starts stops crcs sizes``: whole members, in columns. ``B name write method
        time``: one begins. ``P start stop``: a part of it. ``E crc size keep``: it ends.
        """
        if what == "R":
            self._wholes(*rest)
        elif what == "B":
            name, write, method, moment = rest
            self._name = name
            self._open = _File(name, self._create(name) if write else None, method, moment)
        elif what == "P":
            self._part(*rest)
        else:
            self._ended(*rest)

    def _wholes(self, *columns: list[Any]) -> None:
        source, tree, checksum = self._source, self._tree, _fast.crc32
        for name, write, method, moment, start, stop, crc, size in zip(*columns, strict=True):
            self._name = name
            if size > _SMALL or (method == 0 and size != stop - start):
                self._order("B", name, write, method, moment)
                self._part(start, stop)
                self._ended(crc, size, True)
                continue
            content: Any = source[start:stop]
            if method:
                inflater = _fast.decompressobj(-15)
                content = inflater.decompress(content, size + 1)
                if not inflater.eof or inflater.unused_data or len(content) != size:
                    raise _BadMemberError("its content has another size")
            if checksum(content) != crc:
                raise _BadMemberError("its content has another checksum")
            if not write:
                continue
            self._unchecked += size
            if self._unchecked > _CHECK:
                self._account(0)
            try:
                number = os.open(name, _NEW, 0o666, dir_fd=tree)
            except FileNotFoundError:
                number = self._create(name)
            try:
                if size and (written := os.write(number, content)) != size:
                    _write(number, memoryview(content)[written:])
                os.utime(number, ns=(moment, moment))
            finally:
                os.close(number)

    def _part(self, start: int, stop: int) -> None:
        file = self._open
        assert file is not None  # noqa: S101 - the orders come from ourselves
        while start < stop:
            step = _SMALL
            if file.inflater is not None:
                # So much that what comes of it stays in the processor's cache.
                step = _INPUT if file.size > 2 * file.packed else _OUTPUT
            data: Any = self._source[start : min(start + step, stop)]
            start += len(data)
            file.packed += len(data)
            if file.inflater is None:
                self._took(file, data)
                continue
            while len(data):
                if file.inflater.eof:
                    raise _BadMemberError("something follows its content")
                content = file.inflater.decompress(data, _OUTPUT)
                data = file.inflater.unconsumed_tail
                if content:
                    self._took(file, content)
                elif not data:
                    break

    def _took(self, file: _File, content: Any) -> None:
        file.size += len(content)
        file.crc = _fast.crc32(content, file.crc)
        if file.size > _SUSPICIOUS and file.size > file.packed * self._ratio:
            raise _BadMemberError(BOMB)
        if file.number is not None:
            self._account(len(content))
            _write(file.number, content)

    def _ended(self, crc: int, size: int, keep: bool) -> None:
        file = self._open
        assert file is not None  # noqa: S101 - as above
        while file.inflater is not None and not file.inflater.eof:
            content = file.inflater.decompress(file.inflater.unconsumed_tail, _OUTPUT)
            if not content:
                raise _BadMemberError("its content ends too early")
            self._took(file, content)
        if file.size != size or (file.inflater is not None and file.inflater.unused_data):
            raise _BadMemberError("its content has another size")
        if file.crc != crc:
            raise _BadMemberError("its content has another checksum")
        if file.number is not None:
            os.utime(file.number, ns=(file.moment, file.moment))
            os.close(file.number)
            file.number = None
            if not keep:
                os.unlink(file.name, dir_fd=self._tree)
        self._open = None

    def close(self) -> None:
        """Let go of a file that was not ended."""
        if self._open is not None and self._open.number is not None:
            os.close(self._open.number)
            self._open = None

    def _account(self, size: int) -> None:
        self._unchecked += size
        if self._unchecked > _CHECK and hasattr(os, "fstatvfs"):
            self._unchecked = 0
            status = os.fstatvfs(self._tree)
            if status.f_bavail * status.f_frsize < self._spare + _CHECK:
                raise OSError(28, "No space left on device")

    def _create(self, name: str) -> int:
        parent = name.rpartition("/")[0]
        if parent not in self._made:
            self._folder(parent)
        return os.open(name, _NEW, 0o666, dir_fd=self._tree)

    def _folder(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent not in self._made:
            self._folder(parent)
        try:  # noqa: SIM105 - contextlib is slow to import
            os.mkdir(name, dir_fd=self._tree)
        except FileExistsError:
            pass  # the other helper was faster; were it a file, what comes next would fail
        self._made.add(name)


class _File:
    """A file that is being written."""

    __slots__ = ("crc", "inflater", "moment", "name", "number", "packed", "size")

    def __init__(self, name: str, number: int | None, method: int, moment: int) -> None:
        self.name, self.number, self.moment = name, number, moment
        self.inflater = _fast.decompressobj(-15) if method else None
        self.crc = self.size = self.packed = 0


def _write(number: int, content: Any) -> None:
    view = memoryview(content)
    while True:
        written = os.write(number, view)
        if written == len(view):
            return
        view = view[written:]


def _serve(ring: int, tree: int, spare: int, ratio: float, parent: int) -> None:
    """Carry out messages until there are no more: orders, and the blocks that are free afterwards."""
    gc.disable()  # nothing here refers to itself
    source = memoryview(mmap.mmap(ring, 0))
    unpacker = Unpacker(source, tree, spare, ratio)
    with open(0, "rb", closefd=False) as orders, open(1, "wb", buffering=0, closefd=False) as answers:
        answers.write(_framed([]))
        while head := orders.read(FRAME.size):
            if os.getppid() != parent:
                return  # nobody wants the rest, and the next run may be clearing it away
            block, work = marshal.loads(orders.read(FRAME.unpack(head)[0]))  # noqa: S302 - our own parent's
            problem = unpacker.run(work)
            answers.write(_framed([block, len(work), problem]))
            if problem:
                return


def _framed(message: Any) -> bytes:
    data = marshal.dumps(message)
    return FRAME.pack(len(data)) + data


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
