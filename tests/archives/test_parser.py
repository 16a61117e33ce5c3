"""A zip's members found in its bytes, before its directory has come."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zipfile
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zips import Entry, zip_of

from colab_magics.core.archives.stream import central_directory
from colab_magics.core.archives.stream.parser import LOOK_BACK, Splitter
from colab_magics.core.archives.stream.parts import Begin, End, Piece, Rest, Run, UnstreamableError, Whole

Found = list[tuple[str, int, bytes, int, int]]


def split(data: bytes, cuts: list[int]) -> tuple[Splitter, Found]:
    """Feed a zip in pieces; return each member's name, method, packed content, CRC and size."""
    splitter, found, left = Splitter(), [], b""
    name, method, content = "", 0, b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        window = memoryview(b"?" * 7 + left + data[start:stop] + b"PK\x07\x08?")
        for event in splitter.feed(window, 7, len(window) - 5):
            if isinstance(event, Run):
                for name_, method_, _, start_, stop_, crc, size in zip(*event, strict=True):
                    found.append((name_, method_, bytes(window[start_:stop_]), crc, size))
            elif isinstance(event, Whole):
                packed = bytes(window[event.start : event.stop])
                found.append((event.name, event.method, packed, event.crc, event.size))
            elif isinstance(event, Begin):
                name, method, content = event.name, event.method, b""
            elif isinstance(event, Piece):
                assert event.start < event.stop
                content += window[event.start : event.stop]
            elif isinstance(event, End):
                found.append((name, method, content, event.crc, event.size))
            else:
                assert isinstance(event, Rest)
                left = bytes(window[event.start : len(window) - 5])
                assert len(left) <= LOOK_BACK
    if left or not splitter.is_between:
        raise UnstreamableError("it is cut")
    return splitter, found


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
    """Where members and directory agree, all is as Python's reader has it; content that imitates records may differ."""
    data, entries = archive
    if not entries:
        return
    imitated = any(b"PK" in entry.data for entry in entries)
    try:
        splitter, found = split(data, cuts)
        rows = [list(splitter.facts.of(number)) for number in range(len(splitter.facts))]
        assert splitter.tail_start is not None
        listed = list(central_directory.entries(splitter.tail, splitter.tail_start))
        agreed = rows == [[e.offset, e.name, e.crc, e.packed, e.size] for e in listed]
    except UnstreamableError:
        agreed = False
    assert agreed or imitated
    if not agreed:
        return
    assert splitter.facts.names == [entry.name for entry in entries]
    mode = central_directory.foreseen(splitter.tail, splitter.tail_start, splitter.facts)
    assert mode in {None, *(entry.mode for entry in listed)}
    if not any(entry.extra or entry.zip64 for entry in entries):
        assert mode is not None
    assert [(name, unpacked(method, packed)) for name, method, packed, _, _ in found] == [
        (entry.name.decode(), entry.data) for entry in entries
    ]
    assert [(crc, size) for *_, crc, size in found] == [(zlib.crc32(entry.data), len(entry.data)) for entry in entries]
    with zipfile.ZipFile(io.BytesIO(data)) as oracle:
        assert [(entry.offset, entry.crc, entry.packed, entry.size) for entry in listed] == [
            (info.header_offset, info.CRC, info.compress_size, info.file_size) for info in oracle.infolist()
        ]


@settings(deadline=None)
@given(archives(), st.data())
def test_a_directory_that_says_anything_else_is_not_the_foreseen_one(
    archive: tuple[bytes, list[Entry]], chance: st.DataObject
) -> None:
    """With one bit of it changed it is another one, or not whole, or has another mode or version for all."""
    data, entries = archive
    try:
        splitter, _ = split(data, [])
        foreseen = central_directory.foreseen(splitter.tail, splitter.tail_start or 0, splitter.facts)
    except UnstreamableError:
        return
    if foreseen is None:
        return
    bit = chance.draw(st.integers(0, len(splitter.tail) * 8 - 1))
    splitter.tail[bit // 8] ^= 1 << bit % 8
    with suppress(UnstreamableError):
        mode = central_directory.foreseen(splitter.tail, splitter.tail_start or 0, splitter.facts)
        told = list(central_directory.entries(splitter.tail, splitter.tail_start or 0))
        assert mode is None or [each[:5] for each in told] == list(map(splitter.facts.of, range(len(entries))))


def test_every_single_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip of each form, cut in two at every byte."""
    for descriptor in ("signed", "bare", None):
        chance = random.Random(str(descriptor))
        entries = [
            Entry(b"/"),
            *(Entry(b"d/%d" % n, chance.randbytes(n * 9), method=n % 2 * 8, descriptor=descriptor) for n in range(5)),
        ]
        data = zip_of(*entries)
        for cut in range(len(data)):
            _, found = split(data, [cut])
            assert [unpacked(method, packed) for _, method, packed, _, _ in found] == [entry.data for entry in entries]


def test_a_zip_in_a_zip_is_one_member() -> None:
    """The records of an inner zip are content, though they look just like the outer one's."""
    inner = zip_of(Entry(b"a", b"a" * 50), Entry(b"b", b"b", method=0, descriptor="bare"))
    for method in (0, 8):
        for descriptor in ("signed", "bare", None):
            data = zip_of(Entry(b"inner.zip", inner, method=method, descriptor=descriptor), Entry(b"x", b"x"))
            _, found = split(data, [60, 90])
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
    splitter, found = split(zip_of(*entries), cuts)
    assert [(name, unpacked(method, packed)) for name, method, packed, _, _ in found] == [
        (entry.name.decode(), entry.data) for entry in entries
    ]
    assert list(splitter.facts.crcs) == [zlib.crc32(entry.data) for entry in entries]


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
        _, found = split(data, cuts)
        assert [(name, unpacked(method, packed)) for name, method, packed, _, _ in found] == [("x", fake), ("y", b"y")]


@pytest.mark.parametrize(
    "data",
    [
        zip_of(Entry(b"a", b"a"), prefix=b"#!/bin/sh\n"),
        zip_of(Entry(b"a", b"a", flags=0x801)),
        zip_of(Entry(b"a", b"a", method=12)),
        zip_of(Entry(b"\xff", b"a")),
        zip_of(Entry(b"a", b"a", extra=b"\x75\x70\x05\x00\x01\0\0\0\0")),
        zip_of(Entry(b"a", b"a", method=0, descriptor=None, size=7)),
        zip_of(Entry(b"a", b"a", descriptor=None, compressed=1)) + b"?",
        zip_of(Entry(b"a", random.Random(0).randbytes(9000), compressed=1), Entry(b"b", b"b")),
    ],
    ids=range(8),
)
def test_what_is_not_plain_is_left_to_the_directory(data: bytes) -> None:
    """It is said so, not guessed."""
    with pytest.raises(UnstreamableError):
        split(data, [])


@settings(deadline=None)
@given(archives(), st.integers(0, 10**6), st.integers(1, 255))
def test_no_damage_is_a_stack_trace(archive: tuple[bytes, list[Entry]], place: int, change: int) -> None:
    """A flipped byte anywhere: the members are found, or it is said that they cannot be."""
    data = bytearray(archive[0])
    data[place % len(data)] ^= change
    splitter = Splitter()
    try:
        for _ in splitter.feed(memoryview(data), 0, len(data)):
            pass
        if splitter.tail_start is not None:
            list(central_directory.entries(splitter.tail, splitter.tail_start))
    except UnstreamableError:
        pass


@given(st.binary(max_size=300))
def test_no_bytes_are_a_stack_trace(data: bytes) -> None:
    """Neither as a directory."""
    for text in (data, data + b"PK\x05\x06" + data, b"PK\x01\x02" + data + zip_of()):
        try:
            list(central_directory.entries(text, 0))
        except UnstreamableError:
            continue
