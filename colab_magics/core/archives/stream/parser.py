"""The bytes of a zip, as they arrive -> members, before the directory at its end has come. Pure: no file, no network.

A member whose length stands behind it (APPNOTE 6.3, section 4.3.9) ends where its *data descriptor* names just the
length that was counted so far and another record follows. That can be a coincidence within the content; the
directory at the end of the zip has the last word (`colab_magics.core.archives.stream.central_directory`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from colab_magics.core.archives.stream.parts import Begin, End, Event, Facts, Piece, Rest, Run, UnstreamableError, Whole
from colab_magics.core.archives.stream.runs import (
    CENTRAL,
    DESCRIBED,
    DESCRIPTOR,
    HEADER,
    LOCAL,
    SIGNATURE,
    UTF8,
    read_run,
)
from colab_magics.core.archives.stream.stored_blocks import hop

__all__ = ["LOOK_BACK", "Splitter"]

#: Bytes of a window that may be left over at most, to be put before the next one.
LOOK_BACK = 1 << 17 | 1 << 8

_TAIL = {CENTRAL, b"PK\x06\x06", b"PK\x05\x06", b"PK\x06\x08"}
_NEXT = {LOCAL, *_TAIL}
_MARK = re.compile(rb"PK(?:\x07\x08|\x03\x04|\x01\x02)")
# A descriptor's CRC, packed and unpacked size, in both forms, with their lengths.
_NARROW, _WIDE = struct.Struct("<LLL"), struct.Struct("<LQQ")
_FORMS = ((_NARROW, 12), (_WIDE, 20))
_LONGEST_DESCRIPTOR = 24
_KEEP = _LONGEST_DESCRIPTOR + 4
_ENCRYPTED = 0x1
_ATTEMPTS = 8  # in one range: where such ends are imitated, looking for many at a time is in vain
_LARGE = 1 << 18  # bytes of a content behind which another as large is expected
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
        self._hopped: int | None = None  # how far its content is known, in bytes from its beginning; None: not at all
        self._is_end = False  # whether it ends there
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
            if self._in_member:
                found = self._found(window, at, stop)
            else:
                # Behind a large member there is probably another, which is looked at alone.
                if attempts and self._counted < _LARGE:
                    attempts -= 1
                    if run := self._run(window, at, stop):
                        yield run
                        at = run.stops[-1] + DESCRIPTOR
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
        found = read_run(window, at, stop, self._offset)
        if found is None:
            return None
        run, facts = found
        self.facts.extend(facts)
        self._offset += run.stops[-1] + DESCRIPTOR - at
        return run

    def _found(self, window: memoryview, at: int, stop: int) -> tuple[int, int, int, int] | None:
        """Find where the open member's content ends.

        Returns
        -------
        (int, int, int, int) or None
            Up to where the bytes are its content, the length of the descriptor that follows, the CRC and the
            unpacked size. The second is -1 where its end is still to come. None: no sign of an end.
        """
        if self._known is None:
            return self._descriptor(window, at, stop) if self._hopped is None else self._hop(window, at, stop)
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
        if signature != LOCAL:
            raise UnstreamableError("something else stands between its members")
        if stop - at < HEADER.size:
            return None
        _, _, flags, method, clock, date, crc, packed, size, name_length, extra_length = HEADER.unpack_from(window, at)
        length = HEADER.size + name_length + extra_length
        if stop - at < length:
            return None
        raw = bytes(window[at + HEADER.size : at + HEADER.size + name_length])
        extra = bytes(window[at + HEADER.size + name_length : at + length])
        if flags & _ENCRYPTED or method not in {0, 8} or b"\0" in raw:
            raise UnstreamableError("it has members of a kind that is rare")
        try:
            name = raw.decode("utf-8" if flags & UTF8 else "cp437")
        except UnicodeDecodeError:
            raise UnstreamableError("a name is not UTF-8") from None
        if flags & DESCRIBED:
            self._known = None
            _check_extra(extra)
        else:
            self._known = (crc, *_sizes(packed, size, extra))
            if method == 0 and self._known[1] != self._known[2]:
                raise UnstreamableError("a size is wrong")
        self._counted, self._stored = 0, method == 0
        self._hopped, self._is_end = None if self._stored else 0, False
        time = date << 16 | clock
        self._header = (self._offset, raw, method << 16 | flags, time)
        self.facts.is_plain = self.facts.is_plain and not extra
        return length, Begin(name, method, time, extra)

    def _hop(self, window: memoryview, at: int, stop: int) -> tuple[int, int, int, int] | None:
        """As `_found`, for a member whose length stands behind it, while all of it is stored blocks."""
        assert self._hopped is not None  # noqa: S101 - as is the caller's reason to call
        place = at + self._hopped - self._counted
        if not self._is_end:
            place, is_end = hop(window, place, stop)
            if is_end is None:
                self._hopped = None
                return self._descriptor(window, at, stop, place)
            self._hopped, self._is_end = self._counted + place - at, is_end
        if not self._is_end:
            return None
        if place + _KEEP > stop:
            return min(place, stop), -1, 0, 0
        signature = 4 if window[place : place + 4] == SIGNATURE else 0
        for begins in (place + signature, place):
            for form, length in _FORMS:
                crc, packed, size = form.unpack_from(window, begins)
                if packed == self._hopped and bytes(window[begins + length : begins + length + 4]) in _NEXT:
                    return place, begins + length - place, crc, size
        raise UnstreamableError("a member's content has another size")

    def _descriptor(self, window: memoryview, at: int, stop: int, known: int = 0) -> tuple[int, int, int, int] | None:
        """As `_found`, for a member whose length stands behind it; it ends behind `known`."""
        for match in _MARK.finditer(window, max(at, known), stop):
            mark = match.start()
            if window[mark + 2] == 7:
                counted = self._counted + mark - at
                if mark + _KEEP > stop:
                    # The last member of all is followed by 22 bytes at least, so these will come.
                    return mark, -1, 0, 0
                for form, length in _FORMS:
                    crc, packed, size = form.unpack_from(window, mark + 4)
                    behind = mark + 4 + length
                    if (
                        packed == counted
                        and (size == packed or not self._stored)
                        and bytes(window[behind : behind + 4]) in _NEXT
                    ):
                        return mark, 4 + length, crc, size
            else:
                for form, length in _FORMS:
                    begins = mark - length
                    if begins < at:
                        continue
                    crc, packed, size = form.unpack_from(window, begins)
                    if packed == self._counted + begins - at and (size == packed or not self._stored):
                        return begins, length, crc, size
        return None


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
