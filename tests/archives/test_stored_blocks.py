"""The end of a content that could not be packed, found by hopping from block to block."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.core.archives.stream.stored_blocks import hop

BEHIND = b"PK\x07\x08, and so on"


def deflated(content: bytes, level: int = 6, flushes: int = 0) -> bytes:
    """Pack a content, with so many empty blocks within it."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    step = len(content) // (flushes + 1) + 1
    pieces = []
    for start in range(0, len(content), step):
        pieces += [packer.compress(content[start : start + step]), packer.flush(zlib.Z_FULL_FLUSH) if flushes else b""]
    return b"".join([*pieces, packer.flush()])


@given(st.binary(max_size=2000), st.integers(0, 9), st.integers(0, 3), st.integers(0, 40))
def test_an_end_is_found_where_the_content_ends_or_not_at_all(
    content: bytes, level: int, flushes: int, before: int
) -> None:
    """Python's own reader has the last word; of a block that has no length it is said that there is one."""
    packed = deflated(content, level, flushes)
    window = memoryview(b"?" * before + packed + BEHIND)
    place, is_end = hop(window, before, len(window))
    inflater = zlib.decompressobj(-15)
    inflater.decompress(window[before:])
    assert is_end is not False
    if is_end:
        assert bytes(window[place:]) == inflater.unused_data == BEHIND
    else:
        assert place - before < len(packed)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_what_cannot_be_packed_is_hopped_through_to_its_end(size: int, level: int) -> None:
    """However it is packed, and whatever it contains."""
    content = (random.Random(size).randbytes(size) + b"PK\x07\x08PK\x03\x04")[-size:]
    packed = deflated(content, level)
    window = memoryview(packed + BEHIND)
    assert hop(window, 0, len(window)) == ((len(packed), True) if size > 100 or level == 0 else (0, None))


def test_what_has_not_come_is_waited_for() -> None:
    """The place where a look is needed next may lie behind the last byte."""
    packed = deflated(random.Random(0).randbytes(100_000), 0)
    window, place, places = memoryview(packed), 0, list[int]()
    while (step := hop(window, place, place + 5))[1] is False:
        assert hop(window, place, place + 4) == (place, False)
        place = step[0]
        places.append(place)
    assert step == (len(packed), True)
    assert len(places) > 1


@pytest.mark.parametrize("head", [b"\0\5\0\0\0", b"\1\5\0\0\0", b"\2\5\0\xfa\xff", b"\7\0\0\0\0", b"\3\1\0\0\0"])
def test_anything_else_is_not_guessed(head: bytes) -> None:
    """A length that disagrees with its complement, and every other kind of block."""
    assert hop(memoryview(head + b"hello"), 0, 10) == (0, None)
