"""Where a deflated content ends that could not be packed: it is hopped through, not searched (pure).

What does not get smaller (photographs, weights, archives) a deflater copies in blocks that name their length, each
on a byte boundary (RFC 1951, section 3.2.4). So its end is known for certain after a look at a few bytes in many
thousands.
"""

from __future__ import annotations

import struct

__all__ = ["hop"]

_HEAD = 5  # bytes: one of flags, the length and its complement
_LENGTHS = struct.Struct("<HH")


def hop(window: memoryview, at: int, stop: int) -> tuple[int, bool | None]:
    """Follow stored blocks.

    Parameters
    ----------
    window : memoryview
        The bytes.
    at, stop : int
        Where a block begins, and how far there are bytes.

    Returns
    -------
    place : int
        How far it is known; may lie behind `stop`.
    is_end : bool or None
        Whether the content ends there. None: a block of another kind follows, which has no length.
    """
    while at + _HEAD <= stop:
        head = window[at]
        if head > 1:
            # An empty block of another kind is what zlib ends with when the last stored one was full.
            return (at + 2, True) if head == 3 and window[at + 1] == 0 else (at, None)
        length, complement = _LENGTHS.unpack_from(window, at + 1)
        if length ^ complement != 0xFFFF:
            return at, None
        at += _HEAD + length
        if head:
            return at, True
    return at, False
