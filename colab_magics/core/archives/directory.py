"""The directory at the end of a zip (APPNOTE 6.3, sections 4.3.12 to 4.3.16)."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from colab_magics.core.archives.names import fields
from colab_magics.errors import ArchiveError

__all__ = ["Entry", "Row", "find_end", "read_entries"]

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_COMMENT = 1 << 16
_LONGEST = 1 << 28  # bytes; some two million members


class Entry(NamedTuple):
    """A member, as the directory has it."""

    offset: int
    name: bytes
    crc: int
    packed: int
    size: int
    flags: int
    method: int
    mode: int
    time: int
    extra: bytes


#: The same as a plain tuple, which the garbage collector looks at only once: there may be very many.
Row = tuple[int, bytes, int, int, int, int, int, int, int, bytes]


class _End(NamedTuple):
    """Where the directory is."""

    at: int  # of the record, or of its 64-bit form, in the file
    entries: int
    length: int
    offset: int


def find_end(file: BinaryIO) -> _End | None:
    """Return what the last record of a zip says, or None when the file does not end as one."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    start = max(0, size - _END.size - _LOCATOR.size - _WIDE_END.size - _COMMENT)
    file.seek(start)
    tail = file.read(size - start)
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if at + _END.size > len(tail):
            continue
        _, disk, first, here, count, length, offset, comment = _END.unpack_from(tail, at)
        if at + _END.size + comment > len(tail):
            continue
        locator = at - _LOCATOR.size
        if (count == _MAX16 or _MAX32 in (length, offset)) and tail[max(locator, 0) : at][:4] == b"PK\x06\x07":
            return _wide_end(file, start + locator, _LOCATOR.unpack_from(tail, locator)[2])
        return None if disk or first or here != count else _End(start + at, count, length, offset)
    return None


def _wide_end(file: BinaryIO, locator: int, offset: int) -> _End | None:
    # It stands right before its locator, unless it is longer than today's.
    for at in (locator - _WIDE_END.size, offset):
        if 0 <= at <= locator - _WIDE_END.size:
            file.seek(at)
            record = _WIDE_END.unpack(file.read(_WIDE_END.size))
            if record[0] == b"PK\x06\x06":
                return _End(at, *record[-3:])
    return None


def read_entries(file: BinaryIO, start: int, shown: str) -> tuple[list[Row], int]:
    """Read the directory.

    Parameters
    ----------
    file : BinaryIO
        The zip, or the end of it.
    start : int
        Where in the zip the file begins, in bytes.
    shown : str
        What messages call the zip.

    Returns
    -------
    list of Row
        The members, in the directory's order.
    int
        How much further behind everything stands than the zip says: a program may stand before it.
    """
    end = find_end(file)
    if end is None:
        raise _broken(shown, "its end is missing")
    if end.length > min(end.at, _LONGEST):
        raise _broken(shown, "its directory cannot be as long as it says")
    shift = start + end.at - end.length - end.offset
    if shift < 0:
        raise _broken(shown, "its beginning is missing")
    file.seek(end.at - end.length)
    tail = file.read(end.length)
    entries: list[Row] = []
    at, size, unpack = 0, _CENTRAL.size, _CENTRAL.unpack_from
    while at + size <= end.length:
        (mark, _, _, flags, method, clock, date, crc, packed, length, names, extras, comments, _, _, mode, offset) = (
            unpack(tail, at)
        )
        if mark != b"PK\x01\x02":
            break
        at += size
        name = tail[at : at + names]
        extra = tail[at + names : at + names + extras]
        at += names + extras + comments
        if packed == _MAX32 or length == _MAX32 or offset == _MAX32:
            packed, length, offset = _wide(packed, length, offset, extra, shown)
        entries.append(
            (offset + shift, name, crc, packed, length, flags, method, mode >> 16, date << 16 | clock, extra)
        )
    if at != end.length or len(entries) & _MAX16 != end.entries & _MAX16:
        raise _broken(shown, "its directory is damaged")
    if not entries and (start or end.at):
        raise _broken(shown, "it holds nothing, though something stands before its end")
    return entries, shift


def _wide(packed: int, size: int, offset: int, extra: bytes, shown: str) -> tuple[int, int, int]:
    """Put in the 64-bit numbers (APPNOTE 6.3, section 4.5.3): those alone stand there that do not fit."""
    for kind, data in fields(extra):
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{len(data) // 8}Q", data))
            size = next(numbers, size) if size == _MAX32 else size
            packed = next(numbers, packed) if packed == _MAX32 else packed
            offset = next(numbers, offset) if offset == _MAX32 else offset
            break
    if max(packed, size, offset) >= 1 << 62:
        raise _broken(shown, "a size in it is no size")
    return packed, size, offset


def _broken(shown: str, why: str) -> ArchiveError:
    return ArchiveError(f"{shown} is not a whole zip archive ({why}); run it again to fetch it anew")
