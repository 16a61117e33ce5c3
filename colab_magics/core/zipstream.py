"""The bytes of a zip, as they arrive -> members, before the directory at its end has come. Pure: no file, no network.

A member whose length stands behind it (APPNOTE 6.3, section 4.3.9) ends where its *data descriptor* names just the
length that was counted so far and another record follows. That can be a coincidence within the content; the
directory at the end of the zip has the last word (`colab_magics.core.directory`).
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterator
from itertools import accumulate
from operator import add, sub

from colab_magics.core.zipparts import Begin, End, Event, Facts, Piece, Rest, Run, UnstreamableError, Whole

__all__ = ["LOOK_BACK", "Splitter"]

#: Bytes of a window that may be left over at most, to be put before the next one.
LOOK_BACK = 1 << 17 | 1 << 8

_HEADER = struct.Struct("<4s5H3L2H")
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_TAIL = {_CENTRAL, b"PK\x06\x06", b"PK\x05\x06", b"PK\x06\x08"}
_NEXT = {_LOCAL, *_TAIL}
_MARK = re.compile(rb"PK(?:\x07\x08|\x03\x04|\x01\x02)")
_NARROW, _WIDE = struct.Struct("<LLL"), struct.Struct("<LQQ")  # a descriptor's CRC, packed and unpacked size
_LONGEST_DESCRIPTOR = 24
_KEEP = _LONGEST_DESCRIPTOR + 4
_ENCRYPTED, _DESCRIBED, _UTF8 = 0x1, 0x8, 0x800
# The form that nearly all of Dropbox's members have, of which there may be 100,000: read many at a time.
_USUAL, _USUAL_DESCRIPTOR = _DESCRIBED | _UTF8, 16
# A descriptor, and behind its signature the header of the next member, if there is one.
_USUAL_END = re.compile(rb"PK\x07\x08(.{12})PK(?:\x03\x04(.{26})|\x01\x02)", re.DOTALL)
_ATTEMPTS = 8  # in one range: where such ends are imitated, looking for many at a time is in vain
_UNICODE_PATH = 0x7075
_MAX32 = 0xFFFFFFFF


class Splitter:
    """Splits a zip into members.

    Attributes
    ----------
    facts : Facts
        What was found of the members that have ended.
    tail : bytearray
        What follows the last member: the directory.
    tail_start : int or None
        The offset of `tail`; None while there are members.
    """

    def __init__(self) -> None:
        self.facts = Facts()
        self.tail = bytearray()
        self.tail_start: int | None = None
        self._offset = 0  # of the next byte that is taken
        self._in_member = False
        self._known: tuple[int, int, int] | None = None  # CRC, packed and unpacked size, where the header has them
        self._stored = False  # whether the open member is as it is, not deflated
        self._counted = 0  # bytes of the member's content so far
        self._header = (0, b"", 0, 0)  # its offset, its name, the method and flags, the time

    @property
    def is_between(self) -> bool:
        """Whether no member is open: at the end of the zip one that is was cut."""
        return not self._in_member

    def feed(self, window: memoryview, start: int, stop: int) -> Iterator[Event]:
        """Take the next bytes.

        Parameters
        ----------
        window : memoryview
            Where they stand.
        start, stop : int
            Their range. What an earlier call left over stands at its beginning.

        Yields
        ------
        Run, Whole, Begin, Piece, End, and at the last one Rest
            Of `Rest` there are at most `LOOK_BACK` bytes.

        Raises
        ------
        UnstreamableError
            When this is not understood without the directory.
        """
        at, attempts = start, _ATTEMPTS
        while self.tail_start is None:
            if not self._in_member:
                attempts -= 1
                if attempts >= 0 and (run := self._run(window, at, stop)):
                    yield run
                    at = run.stops[-1] + _USUAL_DESCRIPTOR
                head = self._begin(window, at, stop)
                if head is None:
                    if self.tail_start is None:
                        yield Rest(at)
                        return
                    continue
                length, begin = head
                at += length
                self._offset += length
                found = self._found(window, at, stop)
                if found is not None and found[1] >= 0:
                    stop_of, descriptor, crc, size = found
                    yield Whole(*begin, at, stop_of, crc, size)
                    self._count(stop_of - at)
                    self._end(crc, size, descriptor)
                    at = stop_of + descriptor
                    continue
                self._in_member = True
                yield begin
            found = self._found(window, at, stop)
            until = max(stop - _KEEP, at) if found is None else found[0]
            if until > at:
                yield Piece(at, until)
                self._count(until - at)
            at = until
            if found is None or found[1] < 0:
                yield Rest(at)
                return
            _, descriptor, crc, size = found
            at += descriptor
            yield self._end(crc, size, descriptor)
        self.tail += window[at:stop]
        yield Rest(stop)

    def _run(self, window: memoryview, at: int, stop: int) -> Run | None:
        """Read as many members as follow each other in the usual form; None: not even one does.

        This is what the methods below do together, a column at a time.
        """
        found = _USUAL_END.findall(window, at, stop)
        while found:
            usual = _usual(window, at, found, self._offset)
            if usual is not None:
                run, facts = usual
                self.facts.extend(facts)
                self._offset += run.stops[-1] + _USUAL_DESCRIPTOR - at
                return run
            del found[len(found) // 2 :]  # one of them is not, so none behind it need be
        return None

    def _found(self, window: memoryview, at: int, stop: int) -> tuple[int, int, int, int] | None:
        """Find where the open member's content ends.

        Returns
        -------
        (int, int, int, int) or None
            Up to where the bytes are its content, the length of the descriptor that follows, the CRC and the
            unpacked size. The second is -1 where its end is still to come. None: no sign of an end.
        """
        if self._known is None:
            return self._descriptor(window, at, stop)
        crc, packed, size = self._known
        left = packed - self._counted
        return (at + left, 0, crc, size) if left <= stop - at else (stop, -1, 0, 0)

    def _count(self, length: int) -> None:
        self._counted += length
        self._offset += length

    def _end(self, crc: int, size: int, descriptor: int) -> End:
        self.facts.append(*self._header, crc, self._counted, size)
        self._in_member = False
        self._offset += descriptor
        return End(crc, size)

    def _begin(self, window: memoryview, at: int, stop: int) -> tuple[int, Begin] | None:
        """Read a member's header and return its length; None says that there is none (yet)."""
        if stop - at < 4:
            return None
        signature = bytes(window[at : at + 4])
        if signature in _TAIL:
            self.tail_start = self._offset
            return None
        if signature != _LOCAL:
            raise UnstreamableError("something else stands between its members")
        if stop - at < _HEADER.size:
            return None
        _, _, flags, method, clock, date, crc, packed, size, name_length, extra_length = _HEADER.unpack_from(window, at)
        length = _HEADER.size + name_length + extra_length
        if stop - at < length:
            return None
        raw = bytes(window[at + _HEADER.size : at + _HEADER.size + name_length])
        extra = bytes(window[at + _HEADER.size + name_length : at + length])
        if flags & _ENCRYPTED or method not in {0, 8} or b"\0" in raw:
            raise UnstreamableError("it has members of a kind that is rare")
        try:
            name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError:
            raise UnstreamableError("a name is not UTF-8") from None
        if flags & _DESCRIBED:
            self._known = None
            _check_extra(extra)
        else:
            self._known = (crc, *_sizes(packed, size, extra))
            if method == 0 and self._known[1] != self._known[2]:
                raise UnstreamableError("a size is wrong")
        self._counted, self._stored = 0, method == 0
        time = date << 16 | clock
        self._header = (self._offset, raw, method << 16 | flags, time)
        self.facts.is_plain = self.facts.is_plain and not extra
        return length, Begin(name, method, time, extra)

    def _descriptor(self, window: memoryview, at: int, stop: int) -> tuple[int, int, int, int] | None:
        """As `_found`, for a member whose length stands behind it."""
        for match in _MARK.finditer(window, at, stop):
            mark = match.start()
            if window[mark + 2] == 7:
                counted = self._counted + mark - at
                if mark + _KEEP > stop:
                    # The last member of all is followed by 22 bytes at least, so these will come.
                    return mark, -1, 0, 0
                for form, length in ((_NARROW, 16), (_WIDE, 24)):
                    crc, packed, size = form.unpack_from(window, mark + 4)
                    if (
                        packed == counted
                        and (size == packed or not self._stored)
                        and bytes(window[mark + length : mark + length + 4]) in _NEXT
                    ):
                        return mark, length, crc, size
            else:
                for form, length in ((_NARROW, 12), (_WIDE, 20)):
                    begins = mark - length
                    if begins < at:
                        continue
                    crc, packed, size = form.unpack_from(window, begins)
                    if packed == self._counted + begins - at and (size == packed or not self._stored):
                        return begins, length, crc, size
        return None


def _usual(window: memoryview, at: int, found: list[tuple[bytes, bytes]], offset: int) -> tuple[Run, Facts] | None:
    """Read members of which the ends are known; None: not all have the usual form."""
    ends, heads = zip(*found, strict=True)
    numbers = _column("I", b"".join(ends))
    crcs, packed, sizes = (numbers[number::3] for number in range(3))
    fields = _column("H", b"".join([window[at + 4 : at + _HEADER.size], *heads[:-1]]))
    flags, methods, clocks, dates, lengths, extras = (fields[number::13] for number in (1, 2, 3, 4, 11, 12))
    if (
        len(fields) != 13 * len(found)
        or window[at : at + 4] != _LOCAL
        or flags != array("H", [_USUAL]) * len(found)
        or any(extras)
        or not {0, 8}.issuperset(methods)
        or (packed != sizes and 0 in methods and not all(map(_is_sound, methods, packed, sizes)))
    ):
        return None
    # Each ends as long behind its header as the lengths say. Where one does not, the last does not stand where it was
    # found; should they deviate twice and agree again, the checksums do not.
    totals = accumulate(map(add, lengths, packed))
    begin, step = at + _HEADER.size, _HEADER.size + _USUAL_DESCRIPTOR
    stops = list(map(add, totals, range(begin, begin + step * len(found), step)))
    after = b"PK\x03\x04" + heads[-1] if heads[-1] else b"PK\x01\x02"
    if window[stops[-1] : stops[-1] + _USUAL_DESCRIPTOR + len(after)] != b"PK\x07\x08" + ends[-1] + after:
        return None
    starts = list(map(sub, stops, packed))
    begins = list(map(sub, starts, lengths))
    facts = Facts()
    text = b"\0".join([window[begin:start] for begin, start in zip(begins, starts, strict=True)])
    try:
        names = text.decode().split("\0")
    except UnicodeDecodeError:
        return None
    if len(names) != len(found):
        return None
    facts.names = text.split(b"\0")
    shift = offset - at - _HEADER.size
    facts.offsets.extend([begin + shift for begin in begins])
    facts.kinds.extend([method << 16 | _USUAL for method in methods])
    facts.times.extend([date << 16 | clock for date, clock in zip(dates, clocks, strict=True)])
    facts.crcs, facts.packed, facts.sizes = crcs, array("Q", packed), array("Q", sizes)
    rest = (column.tolist() for column in (crcs, sizes))
    return Run(names, methods.tolist(), facts.times.tolist(), starts, stops, *rest), facts


def _column(code: str, data: bytes) -> array[int]:
    """Return numbers that stand in a zip, little-endian, one behind the other."""
    column = array(code, data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _is_sound(method: int, packed: int, size: int) -> bool:
    return method != 0 or packed == size


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _check_extra(extra: bytes) -> None:
    if any(kind == _UNICODE_PATH for kind, _ in _fields(extra)):
        raise UnstreamableError("a name stands in an extra field")


def _sizes(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """Return the packed and the unpacked size of a header without descriptor, from its 64-bit fields if it has them."""
    _check_extra(extra)
    if _MAX32 not in (packed, size):
        return packed, size
    for kind, data in _fields(extra):
        if kind == 1 and len(data) >= 16:
            wide_size, wide_packed = struct.unpack_from("<QQ", data)
            return wide_packed, wide_size
    raise UnstreamableError("a size is missing")
