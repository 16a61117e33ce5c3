"""What the bytes of a zip are found to consist of, before its directory has come."""

from __future__ import annotations

from array import array
from typing import NamedTuple

__all__ = ["Begin", "End", "Event", "Facts", "Piece", "Rest", "Run", "UnstreamableError", "Whole"]


class UnstreamableError(Exception):
    """A zip can only be read from its directory: with all of it at hand."""


class Run(NamedTuple):
    """Members in a row, all of each in the window, in columns; see `Whole`. None has an extra field."""

    names: list[str]
    methods: list[int]
    times: list[int]
    starts: list[int]
    stops: list[int]
    crcs: list[int]
    sizes: list[int]


class Whole(NamedTuple):
    """A member, all of it in the window: its content is the range from `start` to `stop`."""

    name: str
    method: int
    time: int  # date and time in DOS's packing, the date in the upper 16 bits
    extra: bytes
    start: int
    stop: int
    crc: int
    size: int


class Begin(NamedTuple):
    """A member begins that is not whole in the window."""

    name: str
    method: int
    time: int
    extra: bytes


class Piece(NamedTuple):
    """A part of its packed content, as a range of the window."""

    start: int
    stop: int


class End(NamedTuple):
    """It ends: what its header or descriptor says of it."""

    crc: int
    size: int


class Rest(NamedTuple):
    """From there on the bytes are left over, to stand at the beginning of the next range."""

    start: int


Event = Run | Whole | Begin | Piece | End | Rest


class Facts:
    """What was found of the members, in columns.

    Attributes
    ----------
    offsets : array of int
        Of the headers, in bytes.
    names : list of bytes
        As they stand there.
    kinds : array of int
        The method, in the upper 16 bits, and the flags.
    times : array of int
        Date and time in DOS's packing.
    crcs, packed, sizes : array of int
        The CRC-32 of the contents, and their packed and unpacked sizes in bytes.
    is_plain : bool
        Whether no member has an extra field.
    """

    def __init__(self) -> None:
        self.offsets, self.packed, self.sizes = array("Q"), array("Q"), array("Q")
        self.kinds, self.times, self.crcs = array("I"), array("I"), array("I")
        self.names: list[bytes] = []
        self.is_plain = True

    def __len__(self) -> int:
        return len(self.crcs)

    def append(self, offset: int, name: bytes, kind: int, time: int, crc: int, packed: int, size: int) -> None:
        """Add one member."""
        self.names.append(name)
        columns = (self.offsets, self.kinds, self.times, self.crcs, self.packed, self.sizes)
        for column, value in zip(columns, (offset, kind, time, crc, packed, size), strict=True):
            column.append(value)

    def extend(self, other: Facts) -> None:
        """Add the members of which `other` tells."""
        self.names += other.names
        for name in ("offsets", "kinds", "times", "crcs", "packed", "sizes"):
            getattr(self, name).extend(getattr(other, name))
        self.is_plain = self.is_plain and other.is_plain

    def of(self, number: int) -> tuple[int, bytes, int, int, int]:
        """Return a member's header offset, name, content's CRC, packed and unpacked size."""
        return (
            self.offsets[number],
            self.names[number],
            self.crcs[number],
            self.packed[number],
            self.sizes[number],
        )
