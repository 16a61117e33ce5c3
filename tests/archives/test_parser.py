"""A zip's members found in its bytes, before its directory has come."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zipfile
import zlib
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zips import Entry, zip_of

from colab_magics.core.archives import directory
from colab_magics.core.archives.stream.parser import LOOK_BACK, Begin, End, Piece, Rest, Splitter, Whole
from colab_magics.errors import ArchiveError

Found = list[tuple[str, int, bytes, int, int]]


class Split(NamedTuple):
    """What a zip was split into: the members' names, methods, packed contents, CRCs and sizes; the rest."""

    found: Found
    start: int | None
    rest: bytes


def split(data: bytes, cuts: list[int]) -> Split:
    """Feed a zip in pieces."""
    splitter, found, left = Splitter(), Found(), b""
    name, method, content = "", 0, b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        window = memoryview(b"?" * 7 + left + data[start:stop] + b"PK\x07\x08?")
        for event in splitter.feed(window, 7, len(window) - 5):
            if isinstance(event, Whole):
                packed = bytes(window[event.start : event.stop])
                found.append((event.header.name.decode(), event.header.method, packed, event.crc, event.size))
            elif isinstance(event, Begin):
                name, method, content = event.header.name.decode(), event.header.method, b""
            elif isinstance(event, Piece):
                assert event.start < event.stop
                content += window[event.start : event.stop]
            elif isinstance(event, End):
                assert event.packed == len(content)
                found.append((name, method, content, event.crc, event.size))
            else:
                assert isinstance(event, Rest)
                left = bytes(window[event.start : len(window) - 5])
                assert len(left) <= LOOK_BACK or splitter.rest_start is not None
    assert splitter.is_between
    if splitter.rest_start is not None:
        assert left == data[splitter.rest_start :]
    return Split(found, splitter.rest_start, left)


def unpacked(method: int, packed: bytes) -> bytes:
    return zlib.decompress(packed, -15) if method else packed


contents = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02", b"\0\0\0\0", b"PK", b"x"]), max_size=30).map(
        b"".join
    ),
)
names = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=12)


@st.composite
def archives(draw: st.DrawFn) -> tuple[bytes, list[Entry]]:
    """Draw a zip in any mixture of forms, with content that looks like records of a zip."""
    entries = [
        Entry(
            name.encode(),
            draw(contents),
            method=draw(st.sampled_from([0, 8])),
            descriptor=draw(st.sampled_from([None, "signed", "bare"])),
            zip64=draw(st.booleans()),
            extra=draw(st.sampled_from([b"", b"UT\x05\x00\x01\x00\x00\x00\x60", b"??\x01\x00!"])),
        )
        for name in draw(st.lists(names, max_size=6, unique=True))
    ]
    return zip_of(*entries, comment=draw(st.binary(max_size=9).filter(lambda text: b"PK" not in text))), entries


@settings(max_examples=200, deadline=None)
@given(archives(), st.lists(st.integers(0, 10**6), max_size=12))
def test_every_form_is_found_however_it_is_cut(archive: tuple[bytes, list[Entry]], cuts: list[int]) -> None:
    """All is as Python's reader has it; content that imitates records may not be split off, but is told from it."""
    data, entries = archive
    imitated = any(b"PK" in entry.data for entry in entries)
    try:
        found, start, rest = split(data, cuts)
    except AssertionError:
        assert imitated
        return
    assert start is not None or imitated
    if start is None:
        return
    listed, _ = directory.read_entries(io.BytesIO(rest), start, "it")
    with zipfile.ZipFile(io.BytesIO(data)) as oracle:
        assert [(offset, crc, packed, size) for offset, _, crc, packed, size, *_ in listed] == [
            (info.header_offset, info.CRC, info.compress_size, info.file_size) for info in oracle.infolist()
        ]
    if not imitated:
        assert rest.startswith(b"PK\x01\x02" if entries else b"PK\x05\x06")
        assert [(name, unpacked(method, packed), crc, size) for name, method, packed, crc, size in found] == [
            (entry.name.decode(), entry.data, zlib.crc32(entry.data), len(entry.data)) for entry in entries
        ]


def test_every_single_cut() -> None:
    """A zip of each form, cut in two at every byte."""
    for descriptor in ("signed", "bare", None):
        chance = random.Random(str(descriptor))
        entries = [
            Entry(b"/"),
            *(Entry(b"d/%d" % n, chance.randbytes(n * 9), method=n % 2 * 8, descriptor=descriptor) for n in range(5)),
        ]
        data = zip_of(*entries)
        for cut in range(len(data)):
            found = split(data, [cut]).found
            assert [unpacked(method, packed) for _, method, packed, _, _ in found] == [entry.data for entry in entries]


def test_a_zip_in_a_zip_is_one_member() -> None:
    """The records of an inner zip are content, though they look just like the outer one's."""
    inner = zip_of(Entry(b"a", b"a" * 50), Entry(b"b", b"b", method=0, descriptor="bare"))
    for method in (0, 8):
        for descriptor in ("signed", "bare", None):
            data = zip_of(Entry(b"inner.zip", inner, method=method, descriptor=descriptor), Entry(b"x", b"x"))
            found = split(data, [60, 90]).found
            assert [(name, unpacked(method, packed)) for name, method, packed, _, _ in found] == [
                ("inner.zip", inner),
                ("x", b"x"),
            ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 100, 5_000, 70_000, 400_000]),  # bytes that cannot be packed, and behind them
            st.sampled_from([0, 50, 20_000]),  # bytes that can
            st.sampled_from(["signed", "bare", None]),
            st.sampled_from([0, 8, 8, 8]),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 10**7), max_size=9),
)
def test_what_cannot_be_packed_is_split_as_all_else(
    kinds: list[tuple[int, int, str | None, int, bool]], cuts: list[int]
) -> None:
    """Such members, which are hopped through, in any mixture with others and cut anywhere."""
    chance = random.Random(str(kinds))
    entries = [
        Entry(
            b"d/%d" % number,
            chance.randbytes(random_) + b"text " * (plain // 5),
            method=method,
            descriptor=descriptor,
            zip64=zip64,
        )
        for number, (random_, plain, descriptor, method, zip64) in enumerate(kinds)
    ]
    found = split(zip_of(*entries), cuts).found
    assert [(name, unpacked(method, packed)) for name, method, packed, _, _ in found] == [
        (entry.name.decode(), entry.data) for entry in entries
    ]
    assert [crc for _, _, _, crc, _ in found] == [zlib.crc32(entry.data) for entry in entries]


def test_an_end_within_what_is_hopped_through_is_content() -> None:
    """A descriptor that names the very length so far, and a header behind it, deceive nobody there."""
    before = random.Random(0).randbytes(30_000)
    packed = zlib.compressobj(0, zlib.DEFLATED, -15)
    fake = before + b"PK\x07\x08" + struct.pack("<LLL", 0, len(before) + 5, 0) + b"PK\x03\x04" + bytes(40)
    content = packed.compress(fake) + packed.flush()
    assert content.index(b"PK\x07\x08") == len(before) + 5
    data = zip_of(Entry(b"x", fake, level=0), Entry(b"y", b"y"))
    assert content in data
    for cuts in ([], [100], [30_050, 30_070], list(range(0, len(data), 99))):
        found = split(data, cuts).found
        assert [(name, unpacked(method, packed)) for name, method, packed, _, _ in found] == [("x", fake), ("y", b"y")]


@pytest.mark.parametrize(
    "odd",
    [
        Entry(b"a", b"a", flags=0x801),
        Entry(b"a", b"a", method=12),
        Entry(b"a", b"a", method=0, descriptor=None, size=7),
        Entry(b"a", b"a" * 99, descriptor=None, compressed=1),
        Entry(b"a", b"a" * 99, descriptor=None, compressed=0),
    ],
    ids=range(5),
)
def test_from_what_is_not_plain_on_all_is_left_to_the_directory(odd: Entry) -> None:
    """Members before it are split off; nothing is guessed."""
    data = zip_of(Entry(b"ok", b"1"), odd, Entry(b"b", b"b"))
    found, start, rest = split(data, [])
    assert [name for name, *_ in found] == ["ok"]
    assert start == odd.offset
    assert rest == data[odd.offset :]


@settings(deadline=None)
@given(archives(), st.integers(0, 10**6), st.integers(1, 255))
def test_no_damage_is_a_stack_trace(archive: tuple[bytes, list[Entry]], place: int, change: int) -> None:
    """A flipped byte anywhere: the members are found, or it is said that they cannot be."""
    data = bytearray(archive[0])
    data[place % len(data)] ^= change
    splitter = Splitter()
    for _ in splitter.feed(memoryview(data), 0, len(data)):
        pass
    if splitter.rest_start is not None:
        read_or_refuse(bytes(data[splitter.rest_start :]), splitter.rest_start)


@given(st.binary(max_size=300))
def test_no_bytes_are_a_stack_trace(data: bytes) -> None:
    """Neither as a directory."""
    for text in (data, data + b"PK\x05\x06" + data, b"PK\x01\x02" + data + zip_of()):
        read_or_refuse(text, 0)


def read_or_refuse(data: bytes, start: int) -> None:
    with suppress(ArchiveError):
        directory.read_entries(io.BytesIO(data), start, "it")
