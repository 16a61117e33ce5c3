"""The directory at the end of a zip, read from the bytes that came last. Pure.

APPNOTE 6.3, sections 4.3.12 to 4.3.16. Only what a plain zip has is understood here; anything else is for the
standard library, which needs the whole file.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, repeat
from typing import NamedTuple
from zlib import crc32

from colab_magics.core.zipparts import UnstreamableError

__all__ = ["Entry", "Rows", "entries", "rows"]

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_PLAIN = struct.Struct("<4s4xH2x4L3H6xHL")  # of the same: signature, flags, time to comment's length, mode, offset
_END = struct.Struct("<4s4H2LH")
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1
_BATCH = 4096  # entries that are held as single values at a time


class Entry(NamedTuple):
    """A member, as the directory has it."""

    offset: int
    name: bytes
    crc: int
    packed: int
    size: int
    mode: int
    time: int
    extra: bytes


class Rows(NamedTuple):
    """Some entries in columns; `names` are the CRC-32 of the names, the others as in `Entry`."""

    offsets: Sequence[int]
    names: Sequence[int]
    times: Sequence[int]
    crcs: Sequence[int]
    packed: Sequence[int]
    sizes: Sequence[int]
    modes: Sequence[int]


def rows(tail: bytes | bytearray, start: int, lengths: array[int]) -> Iterator[Rows]:
    """Yield what a directory holds many entries at a time, where none has more than a name.

    Parameters
    ----------
    tail, start
        As for `entries`, which reads any directory.
    lengths : array of int
        What the lengths of the names should be, in bytes, in the directory's order.

    Raises
    ------
    UnstreamableError
        When it is not whole, or has other entries.
    """
    count, length = _extent(tail, start)
    if count != len(lengths) or count * _CENTRAL.size + sum(lengths) != length:
        raise UnstreamableError("its directory has another length")
    places = accumulate(lengths, lambda at, name: at + _CENTRAL.size + name, initial=0)
    view = memoryview(tail)
    try:
        for first in range(0, count, _BATCH):
            named = lengths[first : first + _BATCH].tolist()
            at = [place for _, place in zip(named, places, strict=False)]
            entries = map(_PLAIN.unpack_from, repeat(view), at)
            marks, flags, times, crcs, packed, sizes, names, extras, comments, modes, offsets = zip(
                *entries, strict=True
            )
            if (
                set(marks) != {b"PK\x01\x02"}
                or any(flag & _ENCRYPTED for flag in set(flags))
                or any(extras)
                or any(comments)
                or list(names) != named
                or _MAX32 in (max(packed), max(sizes), max(offsets))
            ):
                raise UnstreamableError("its directory is not plain")
            begins = [place + _CENTRAL.size for place in at]
            hashes = [crc32(view[begin : begin + name]) for begin, name in zip(begins, named, strict=True)]
            yield Rows(offsets, hashes, times, crcs, packed, sizes, modes)
    finally:
        view.release()


def entries(tail: bytes | bytearray, start: int) -> Iterator[Entry]:
    """Yield what a directory holds, in its order.

    Parameters
    ----------
    tail : bytes
        All that follows the last member.
    start : int
        Its offset in the zip, in bytes.

    Raises
    ------
    UnstreamableError
        When it is not whole, or not plain.
    """
    count, length = _extent(tail, start)
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > length:
            raise UnstreamableError("its directory is cut")
        (mark, _, _, flags, _, clock, date, crc, packed, size, names, extras, comments, _, _, mode, offset) = (
            _CENTRAL.unpack_from(tail, at)
        )
        if mark != b"PK\x01\x02" or flags & _ENCRYPTED:
            raise UnstreamableError("its directory is not plain")
        at += _CENTRAL.size
        name = bytes(tail[at : at + names])
        extra = bytes(tail[at + names : at + names + extras]) if extras else b""
        at += names + extras + comments
        if _MAX32 in (packed, size, offset):
            packed, size, offset = _wide(packed, size, offset, extra)
        yield Entry(offset, name, crc, packed, size, mode >> 16, date << 16 | clock, extra)
    if at != length:
        raise UnstreamableError("its directory has another length")


def _extent(tail: bytes | bytearray, start: int) -> tuple[int, int]:
    """Return how many entries the directory has, and its length; it must begin where the members end."""
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise UnstreamableError("its end is missing")
    _, disk, first, here, count, length, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail) or disk or first or here != count:
        raise UnstreamableError("its end is not plain")
    if count == _MAX16 or _MAX32 in (length, offset):
        at, count, length, offset = _wide_end(tail, start, at, (count, length, offset))
    if offset != start or length != at:
        raise UnstreamableError("its directory is elsewhere")
    return count, length


def _wide_end(tail: bytes | bytearray, start: int, at: int, plain: tuple[int, int, int]) -> tuple[int, int, int, int]:
    locator = at - _LOCATOR.size
    if locator < 0 or tail[locator : locator + 4] != b"PK\x06\x07":
        return (at, *plain)
    wide = _LOCATOR.unpack_from(tail, locator)[2] - start
    if wide < 0 or wide + _WIDE_END.size != locator or tail[wide : wide + 4] != b"PK\x06\x06":
        raise UnstreamableError("its end is not plain")
    count, length, offset = _WIDE_END.unpack_from(tail, wide)[-3:]
    return wide, count, length, offset


def _wide(packed: int, size: int, offset: int, extra: bytes) -> tuple[int, int, int]:
    """Put in the 64-bit numbers (APPNOTE 6.3, section 4.5.3): those alone stand there that do not fit."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at) // 8}Q", extra, at))
            try:
                size = next(numbers) if size == _MAX32 else size
                packed = next(numbers) if packed == _MAX32 else packed
                offset = next(numbers) if offset == _MAX32 else offset
            except StopIteration:
                raise UnstreamableError("a 64-bit number is missing") from None
            return packed, size, offset
        at += length
    raise UnstreamableError("a 64-bit number is missing")
