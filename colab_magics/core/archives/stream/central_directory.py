"""The directory at the end of a zip, read from the bytes that came last. Pure.

APPNOTE 6.3, sections 4.3.12 to 4.3.16. Only what a plain zip has is understood here; anything else is for the
standard library, which needs the whole file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain, repeat
from typing import NamedTuple

from colab_magics.core.archives.stream.parts import Facts, UnstreamableError

__all__ = ["Entry", "entries", "foreseen"]

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_FORESEEN = struct.Struct("<8s5LH12sL")  # the same, in groups
_END = struct.Struct("<4s4H2LH")
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1
_BATCH = 4096  # entries that are compared at a time


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


def foreseen(tail: bytearray, start: int, facts: Facts) -> int | None:
    """Compare a directory with the one that follows from the members when all its entries are of the same kind.

    So are those of a folder link. To write 100,000 entries and compare is several times as fast as to read them.

    Parameters
    ----------
    tail, start
        As for `entries`, which reads any directory.
    facts : Facts
        What was found of the members.

    Returns
    -------
    int or None
        The mode that every member has; None: the directory is another one.

    Raises
    ------
    UnstreamableError
        When it is not whole.
    """
    count, length = _extent(tail, start)
    kind, attributes = bytes(tail[:8]), bytes(tail[30:42])  # the version; no extra field, no comment, rights
    if count != len(facts) or not facts.is_plain or kind[:4] != b"PK\x01\x02" or any(attributes[:6]):
        return None
    at = 0
    columns = (facts.kinds, facts.times, facts.crcs, facts.packed, facts.sizes)
    for first in range(0, count, _BATCH):
        part = slice(first, first + _BATCH)
        names = facts.names[part]
        rows = (column[part] for column in columns)
        heads = map(_FORESEEN.pack, repeat(kind), *rows, map(len, names), repeat(attributes), facts.offsets[part])
        try:
            expected = b"".join(chain.from_iterable(zip(heads, names, strict=True)))
        except struct.error:  # a number of 64 bits
            return None
        if tail[at : at + len(expected)] != expected:
            return None
        at += len(expected)
    return int.from_bytes(attributes[-2:], "little") if at == length else None


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
