"""Members of a zip in the form that nearly all of Dropbox's have, read many at a time: there may be 100,000 (pure)."""

from __future__ import annotations

import re
import struct
import sys
from array import array
from itertools import accumulate
from operator import add, sub

from colab_magics.core.archives.stream.parts import Facts, Run
from colab_magics.core.archives.stream.stored_blocks import hop

__all__ = ["DESCRIBED", "DESCRIPTOR", "HEADER", "UTF8", "read_run"]

#: A member's header as it stands before its content, and the signatures of this, the directory and a descriptor.
HEADER = struct.Struct("<4s5H3L2H")
LOCAL, CENTRAL, SIGNATURE = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
#: Flags: sizes follow the content; the name is UTF-8.
DESCRIBED, UTF8 = 0x8, 0x800
#: The length of a usual descriptor in bytes.
DESCRIPTOR = 16

_USUAL = DESCRIBED | UTF8
# A descriptor, and behind its signature the header of the next member, if there is one.
_END = re.compile(rb"PK\x07\x08(.{12})PK(?:\x03\x04(.{26})|\x01\x02)", re.DOTALL)
_METHOD_AT, _LENGTHS_AT = 8, 26  # in a header: the method; how long the name and the extra field are
_LENGTHS = struct.Struct("<HH")
_HOPPED = 1 << 12  # bytes in stored blocks from which on hopping is faster than searching

_Ends = list[tuple[bytes, bytes]]


def read_run(window: memoryview, at: int, stop: int, offset: int) -> tuple[Run, Facts] | None:
    """Read as many members as follow each other in the usual form.

    Parameters
    ----------
    window : memoryview
        The bytes.
    at, stop : int
        Where the first of them begins, and how far there are bytes.
    offset : int
        Where in the zip that is, in bytes from its beginning.

    Returns
    -------
    tuple of Run and Facts, or None
        None: there is not even one.
    """
    found = _hopped_ends(window, at, stop) or _END.findall(window, at, stop)
    while found:
        usual = _usual(window, at, found, offset)
        if usual is not None:
            return usual
        del found[len(found) // 2 :]  # one of them is not, so none behind it need be
    return None


def _hopped_ends(window: memoryview, at: int, stop: int) -> _Ends:
    """Return what `_END` finds, where hopping through stored blocks finds it faster, as the first member shows."""
    found: _Ends = []
    while at + HEADER.size <= stop:
        begin = at + HEADER.size + sum(_LENGTHS.unpack_from(window, at + _LENGTHS_AT))
        place, is_end = hop(window, begin, stop) if window[at + _METHOD_AT] == 8 else (begin, None)
        if not found and place < begin + _HOPPED:
            break
        end = (_END.search if is_end is None else _END.match)(window, place, stop) if is_end is not False else None
        if end is None:
            break
        found.append((end[1], end[2] or b""))
        if end[2] is None:
            break
        at = end.start() + DESCRIPTOR
    return found


def _usual(window: memoryview, at: int, found: _Ends, offset: int) -> tuple[Run, Facts] | None:
    """Read members of which the ends are known; None: not all have the usual form."""
    ends, heads = zip(*found, strict=True)
    numbers = _column("I", b"".join(ends))
    crcs, packed, sizes = (numbers[number::3] for number in range(3))
    fields = _column("H", b"".join([window[at + 4 : at + HEADER.size], *heads[:-1]]))
    flags, methods, clocks, dates, lengths, extras = (fields[number::13] for number in (1, 2, 3, 4, 11, 12))
    if (
        len(fields) != 13 * len(found)
        or window[at : at + 4] != LOCAL
        or flags != array("H", [_USUAL]) * len(found)
        or any(extras)
        or not {0, 8}.issuperset(methods)
        or (packed != sizes and 0 in methods and not all(map(_is_sound, methods, packed, sizes)))
    ):
        return None
    # Each ends as long behind its header as the lengths say. Where one does not, the last does not stand where it was
    # found; should they deviate twice and agree again, the checksums do not.
    totals = accumulate(map(add, lengths, packed))
    begin, step = at + HEADER.size, HEADER.size + DESCRIPTOR
    stops = list(map(add, totals, range(begin, begin + step * len(found), step)))
    after = b"PK\x03\x04" + heads[-1] if heads[-1] else b"PK\x01\x02"
    if window[stops[-1] : stops[-1] + DESCRIPTOR + len(after)] != b"PK\x07\x08" + ends[-1] + after:
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
    shift = offset - at - HEADER.size
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
