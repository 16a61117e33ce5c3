"""The bytes of a zip, as they arrive -> members, before the directory at its end has come. Pure: no file, no network.

A member whose length stands behind it (APPNOTE 6.3, section 4.3.9) ends where its *data descriptor* names just the
length that was counted so far and another record follows.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from colab_magics.core.archives.names import fields
from colab_magics.core.archives.stream.stored_blocks import hop
from colab_magics.core.archives.zips import HEADER

__all__ = ["LOOK_BACK", "Begin", "End", "Event", "Header", "Piece", "Rest", "Splitter", "Whole"]

#: Bytes of a window that may be left over at most, to be put before the next one.
LOOK_BACK = 1 << 17 | 1 << 8

_LOCAL, _CENTRAL, _SIGNATURE = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_NEXT = {_LOCAL, _CENTRAL, b"PK\x06\x06", b"PK\x05\x06", b"PK\x06\x08"}
_MARK = re.compile(rb"PK(?:\x07\x08|\x03\x04|\x01\x02)")
# A descriptor's CRC, packed and unpacked size, in both forms, with their lengths.
_FORMS = ((struct.Struct("<LLL"), 12), (struct.Struct("<LQQ"), 20))
_KEEP = 24 + 4  # bytes of the longest descriptor, and of the signature behind it
_ENCRYPTED, _DESCRIBED = 0x1, 0x8
_MAX32 = 0xFFFFFFFF


class Header(NamedTuple):
    """What stands before a member's content."""

    offset: int
    name: bytes
    flags: int
    method: int
    time: int  # date and time in DOS's packing, the date in the upper 16 bits
    extra: bytes


class Whole(NamedTuple):
    """A member, all of it in the window: its packed content is the range from `start` to `stop`."""

    at: int  # where its header begins in the window
    header: Header
    start: int
    stop: int
    crc: int
    size: int


class Begin(NamedTuple):
    """A member begins that is not whole in the window."""

    at: int
    header: Header


class Piece(NamedTuple):
    """A part of its packed content, as a range of the window."""

    start: int
    stop: int


class End(NamedTuple):
    """It ends: what its header or descriptor says of it, and how long its packed content was."""

    crc: int
    packed: int
    size: int


class Rest(NamedTuple):
    """From there on the bytes are left over, to stand at the beginning of the next range."""

    start: int


Event = Whole | Begin | Piece | End | Rest


class Splitter:
    """Splits a zip into members.

    Attributes
    ----------
    rest_start : int or None
        The offset from which on there are no more members that can be split off: there the directory begins, or a
        member of which only the directory can tell how long it is. None while there are more.
    """

    def __init__(self) -> None:
        self.rest_start: int | None = None
        self._offset = 0  # of the next byte that is taken
        self._open: Header | None = None
        self._known: tuple[int, int, int] | None = None  # CRC, packed and unpacked size, where the header has them
        self._counted = 0  # bytes of the member's content so far
        self._hopped: int | None = None  # how far its content is known, in bytes from its beginning; None: not at all
        self._is_end = False  # whether it ends there

    @property
    def is_between(self) -> bool:
        """Whether no member is open: at the end of the zip one that is was cut."""
        return self._open is None

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
        Whole, Begin, Piece, End, and at the last one Rest
            Of `Rest` there are at most `LOOK_BACK` bytes while there are members.
        """
        at = start
        while self.rest_start is None:
            if self._open is None:
                begun = self._begin(window, at, stop)
                if begun is None:
                    break
                header, length = begun
                first = at + length
                found = self._found(window, first, stop)
                if found is not None and found[1] >= 0:
                    until, descriptor, crc, size = found
                    if not self._is_plausible(window, until + descriptor, stop):
                        self.rest_start = header.offset
                        break
                    yield Whole(at, header, first, until, crc, size)
                    self._offset += until + descriptor - at
                    at = until + descriptor
                    continue
                if stop - at <= LOOK_BACK:
                    break  # with the next bytes it may be whole
                self._open = header
                yield Begin(at, header)
                self._offset += length
                at = first
            else:
                found = self._found(window, at, stop)
            until = max(stop - _KEEP, at) if found is None else found[0]
            if until > at:
                yield Piece(at, until)
                self._counted += until - at
                self._offset += until - at
            at = until
            if found is None or found[1] < 0:
                break
            _, descriptor, crc, size = found
            at += descriptor
            self._offset += descriptor
            self._open = None
            yield End(crc, self._counted, size)
        yield Rest(at)

    def _begin(self, window: memoryview, at: int, stop: int) -> tuple[Header, int] | None:
        """Read a member's header and return it with its length; None says that there is none (yet)."""
        if stop - at < HEADER.size:
            if stop - at >= 4 and window[at : at + 4] != _LOCAL:
                self.rest_start = self._offset
            return None
        signature, _, flags, method, clock, date, crc, packed, size, names, extras = HEADER.unpack_from(window, at)
        if signature != _LOCAL or flags & _ENCRYPTED or method not in {0, 8}:
            self.rest_start = self._offset
            return None
        length = HEADER.size + names + extras
        if stop - at < length:
            return None
        name = bytes(window[at + HEADER.size : at + HEADER.size + names])
        extra = bytes(window[at + HEADER.size + names : at + length]) if extras else b""
        self._known = None
        if not flags & _DESCRIBED:
            if packed == _MAX32 or size == _MAX32:
                packed, size = _wide(packed, size, extra)
            if packed >= 1 << 62 or (method == 0 and packed != size):
                self.rest_start = self._offset
                return None
            self._known = crc, packed, size
        self._counted = 0
        self._hopped, self._is_end = 0 if method else None, False
        return Header(self._offset, name, flags, method, date << 16 | clock, extra), length

    def _is_plausible(self, window: memoryview, at: int, stop: int) -> bool:
        """Tell whether another record follows: some programs write no sizes into a header that should have them."""
        return self._known is None or stop - at < 4 or bytes(window[at : at + 4]) in _NEXT

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

    def _hop(self, window: memoryview, at: int, stop: int) -> tuple[int, int, int, int] | None:
        """As `_found`, for a deflated member whose length stands behind it, while all of it is stored blocks."""
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
        signature = 4 if window[place : place + 4] == _SIGNATURE else 0
        for begins in (place + signature, place):
            for form, length in _FORMS:
                crc, packed, size = form.unpack_from(window, begins)
                if packed == self._hopped and bytes(window[begins + length : begins + length + 4]) in _NEXT:
                    return place, begins + length - place, crc, size
        self._hopped = None
        return self._descriptor(window, at, stop, place)

    def _descriptor(self, window: memoryview, at: int, stop: int, known: int = 0) -> tuple[int, int, int, int] | None:
        """As `_found`, for a member whose length stands behind it; it ends behind `known`."""
        for match in _MARK.finditer(window, max(at, known), stop):
            mark = match.start()
            if window[mark + 2] == 7:
                if mark + _KEEP > stop:
                    # The last member of all is followed by 22 bytes at least, so these will come.
                    return mark, -1, 0, 0
                for form, length in _FORMS:
                    crc, packed, size = form.unpack_from(window, mark + 4)
                    behind = mark + 4 + length
                    if packed == self._counted + mark - at and bytes(window[behind : behind + 4]) in _NEXT:
                        return mark, 4 + length, crc, size
            else:
                for form, length in _FORMS:
                    begins = mark - length
                    if begins >= at:
                        crc, packed, size = form.unpack_from(window, begins)
                        if packed == self._counted + begins - at:
                            return begins, length, crc, size
        return None


def _wide(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """Return the packed and the unpacked size from the 64-bit fields of a header (APPNOTE 6.3, section 4.5.3)."""
    for kind, data in fields(extra):
        if kind == 1 and len(data) >= 16:
            size, packed = struct.unpack_from("<QQ", data)
    return packed, size
