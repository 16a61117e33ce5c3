"""The bytes of a zip come in, and are given out to be unpacked: here while it is small, then to helper processes.

The bytes lie in a ring of blocks. A block is filled anew when nobody needs it any longer.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import compress, count, repeat
from pathlib import Path
from typing import Any, Protocol

from colab_magics.core.archives.members import Names, moment_of
from colab_magics.core.archives.stream.parser import LOOK_BACK, Splitter
from colab_magics.core.archives.stream.parts import Begin, End, Piece, Run, UnstreamableError, Whole
from colab_magics.core.archives.stream.ring import ring
from colab_magics.core.archives.stream.unpacker import Unpacker
from colab_magics.core.archives.stream.worker_pool import Crew, CrewError
from colab_magics.core.common.bulk import uncollected
from colab_magics.core.common.disk import Limits
from colab_magics.core.common.progress import Progress
from colab_magics.core.http.body import Response as Body

__all__ = ["Reception", "Wants"]

_BLOCK, _FEW, _BLOCKS = 2 << 20, 8, 16  # bytes, how many of them there are, and when helpers fall behind
_STEP = 1 << 19  # bytes received at a time: how often progress is told, and an interrupt heard
_ALONE = 24 << 20  # the cost up to which helpers cost more than they bring
_FIRST = 1 << 20  # bytes of a block that are taken before there are helpers
_ORDERS, _GIVEN = 512, 2 << 20  # how many orders, and of which cost, are given to a helper at a time
_HERE, _LATER = -1, -2  # in place of a helper's number: this process; whoever it is found to be best for
# Cost is counted in stored bytes; so much is a file beside its bytes, and a deflated byte.
_PER_MEMBER, _INFLATING = 12_000, 3

_Order = tuple[Any, ...]
_FOLDER = ("/", "\\")  # what a folder's name ends with


class Wants(Protocol):
    """Whether members are to be written.

    Attributes
    ----------
    settled : set of str
        Those that need not be, since they are there already.
    takes_all : bool
        Whether each is to be written.
    """

    settled: set[str]

    @property
    def takes_all(self) -> bool:
        """As above."""

    def many(self, names: Sequence[str], crcs: Sequence[int | None], sizes: Sequence[int | None]) -> list[bool]:
        """Tell it of each: its name, and its CRC-32 and size where they are known already."""


class Reception:
    """One zip's arrival.

    Parameters
    ----------
    body : Body
        Where it comes from.
    tree : Path
        The folder to write to.
    wants : Wants or None
        Whether a member is to be written; None: each is.
    progress : Progress
        Hears of the bytes.

    Attributes
    ----------
    splitter : Splitter
        What it was found to consist of.
    names : list of str or None
        The safe name of each member; None for the root.
    folders : set of int
        The numbers of those that are folders.
    moments : array of int
        The time stamp of each, in nanoseconds.
    skipped : set of str
        Members that were not written.
    problem : list of str or None
        What went wrong while unpacking: its kind, the member or the error's number, the reason.
    """

    def __init__(self, body: Body, tree: Path, wants: Wants | None, progress: Progress) -> None:
        self.splitter, self._safe = Splitter(), Names()
        self.names: list[str | None] = []
        self.folders: set[int] = set()
        self.moments = array("q")
        self._stamps: dict[int, int] = {}
        self.skipped: set[str] = set()
        self.problem: list[str] | None = None
        self._body, self._wants, self._progress = body, wants, progress
        self._limits = limits = Limits.load()
        self._closing = ExitStack()
        self._tree = os.open(tree, os.O_RDONLY)
        self._closing.callback(os.close, self._tree)
        self._ring, self._view = self._closing.enter_context(ring(_BLOCK * _BLOCKS))
        self._alone = Unpacker(self._view, self._tree, limits.spare, limits.ratio)
        self._closing.callback(self._alone.close)
        self._crew: Crew | None = None
        self._crew_works = False
        self._block, self._blocks = 0, _FEW
        # What is known of a DEST that exists takes memory too.
        self._most = _BLOCKS if wants is None or wants.takes_all else _FEW
        self._orders: list[_Order] = []
        self._cost = self._done = 0
        self._open = ""  # the member that has begun in an earlier block
        self._deflated = False
        self._worker: int | None = None  # who unpacks it
        self._held: list[tuple[int, list[_Order], int]] = []  # what of it is to be given out later, as to `_hand`

    def run(self, prove: Callable[[Reception], None]) -> int:
        """Take all of it; return how many bytes it was.

        `prove` is called when everything has come. The last of it may still be unpacked, even afterwards.
        """
        received, view = 0, self._view
        left = view[:0]
        more = True
        try:
            while more and not self.problem:
                start = self._block * _BLOCK + LOOK_BACK - len(left)
                view[start : start + len(left)] = left
                stop, more = self._fill(view, start + len(left))
                received += stop - start - len(left)
                known = len(self.names)
                rest = self._split(view, start, stop)
                left = view[rest:stop]
                self._turn(is_large=len(self.names) == known and self._open != "")
        except CrewError as error:
            raise UnstreamableError(str(error)) from None
        if not self.problem:
            if len(left):
                raise UnstreamableError("it is cut")
            prove(self)
        return received

    def forget(self) -> None:
        """Let go of what was found, of which there is much when there are many members."""
        self.splitter, self._safe = Splitter(), Names()
        self.names, self.moments = [], array("q")

    def finish(self) -> None:
        """Return when all of it is unpacked, or `problem` says why it is not."""
        try:
            if self._crew is not None and not self.problem:
                self.problem = self._crew.wait_for_all()
        except CrewError as error:
            raise UnstreamableError(str(error)) from None

    def close(self) -> None:
        """End the helpers, whatever they are at, and let go of the memory."""
        if self._crew is not None:
            self._crew.stop()
        self._closing.close()

    def _fill(self, view: memoryview, at: int) -> tuple[int, bool]:
        """Receive into the current block from `at` on; return where its bytes end, and whether more may come."""
        end = (self._block + 1) * _BLOCK
        end = end if self._crew_works else min(at + _FIRST, end)
        while at < end:
            wanted = min(_STEP, end - at)
            came = self._body.readinto(view[at : at + wanted])
            self._progress.advance(came)
            at += came
            if came < wanted:
                return at, False
        return at, True

    def _turn(self, *, is_large: bool) -> None:
        """Go on to the next block, and see whether helpers are worth their while, as they are for a large member."""
        if not self._crew_works:
            self._consider(is_large=is_large)
        if self._crew is None or not self._crew_works:
            self._block = (self._block + 1) % _FEW if self._held else 0  # what is held must not be written over
            return
        self._block = (self._block + 1) % self._blocks
        if self._block == 0 and self._blocks < self._most and self._crew.needs(0):
            self._block = self._blocks
            self._blocks += 1
        self.problem = self.problem or self._crew.wait_for(self._block)

    def _consider(self, *, is_large: bool) -> None:
        """Start helpers, or let them begin; a large member they get even while they are starting."""
        if self._crew is None and (self._done > _ALONE or is_large) and (number := _helpers()):
            with suppress(CrewError):
                self._crew = Crew(number, self._ring, self._tree, self._limits.spare, self._limits.ratio)
        self._crew_works = self._crew is not None and (is_large or self._crew.is_ready)
        if self._held and (self._crew_works or is_large):
            self._decide(self._crew.least_busy() if self._crew_works and self._crew else _HERE)

    def _decide(self, worker: int) -> None:
        """Let `worker` unpack the member that has begun."""
        held, self._held, self._worker = self._held, [], worker
        for block, orders, cost in held:
            self._hand(block, orders, cost)

    @uncollected()
    def _split(self, view: memoryview, start: int, stop: int) -> int:
        """Give out what is in the block; return where the bytes begin that are left over."""
        for event in self.splitter.feed(view, start, stop):
            if isinstance(event, Run):
                self._take(event)
            elif isinstance(event, Whole):
                name, method, when, extra, first, last, crc, size = event
                safe = self._name(name)
                moment = self._moment(when, extra)
                write = self._writes(name, safe, crc, size)
                columns = ([each] for each in (safe, write, method, moment, first, last, crc, size))
                self._add(("R", *columns), _cost(last - first, method == 8, 1))
                if len(self._orders) >= _ORDERS or self._cost >= _GIVEN:
                    self._give()
            elif isinstance(event, Begin):
                name, method, when, extra = event
                safe = self._name(name)
                self._open, self._deflated = safe or "/", method == 8
                order = ("B", safe or "", self._writes(name, safe, None, None), method, self._moment(when, extra))
                self._give()
                self._worker = self._crew.least_busy() if self._crew_works and self._crew else _LATER
                self._orders.append(order)
            elif isinstance(event, Piece):
                self._add(("P", *event), _cost(event.stop - event.start, self._deflated, 0))
            elif isinstance(event, End):
                keep = self._open == "/" or self._writes(self._open, self._open, *event)
                self._add(("E", *event, keep), 0)
                if self._worker == _LATER:
                    self._decide(_HERE)
                self._give()
                self._open, self._worker = "", None
            else:
                self._give()
                return event.start
        raise AssertionError  # the last event says what is left over

    def _take(self, run: Run) -> None:
        """Give out members that are whole."""
        names, methods, times, starts, stops, crcs, sizes = run
        safe = self._safe.many(names)
        folders = list(compress(count(), map(str.endswith, names, repeat(_FOLDER))))
        stamps = self._stamps
        for when in set(times).difference(stamps):
            stamps[when] = int(moment_of(when, b"")) * 1_000_000_000
        moments = [stamps[when] for when in times]
        writes = [True] * len(names)
        if self._wants is not None:
            writes = self._wants.many([name or "/" for name in safe], crcs, sizes)
        for number in folders:
            writes[number] = False
        if not all(writes):
            held = [name for name, write in zip(safe, writes, strict=True) if not write and name]
            self.skipped.update(set(held).difference(safe[number] for number in folders))
        self.folders.update(number + len(self.names) for number in folders)
        self.names += safe
        self.moments.extend(moments)
        self._give()
        columns: tuple[Sequence[Any], ...] = (safe, writes, methods, moments, starts, stops, crcs, sizes)
        whole = _cost(stops[-1] - starts[0], 8 in methods, len(names))
        step = max(1, len(names) * _GIVEN // whole)
        for first in range(0, len(names), step):
            part = [column[first : first + step] for column in columns]
            self._add(("R", *part), whole * len(part[0]) // len(names))
            self._give()

    def _name(self, name: str) -> str | None:
        safe = self._safe.safe(name)
        if name.endswith(_FOLDER):
            self.folders.add(len(self.names))
        self.names.append(safe)
        return safe

    def _moment(self, when: int, extra: bytes) -> int:
        moment = None if extra else self._stamps.get(when)
        if moment is None:
            moment = int(moment_of(when, extra)) * 1_000_000_000
            if not extra:
                self._stamps[when] = moment
        self.moments.append(moment)
        return moment

    def _writes(self, name: str, safe: str | None, crc: int | None, size: int | None) -> bool:
        """Tell whether a member is written: a folder's entry never is."""
        if safe is None or name.endswith(_FOLDER):
            return False
        if self._wants is None or self._wants.many([safe], [crc], [size])[0]:
            return True
        self.skipped.add(safe)
        return False

    def _add(self, order: _Order, cost: int) -> None:
        self._orders.append(order)
        self._cost += cost

    def _give(self) -> None:
        """Have the orders carried out."""
        orders, cost = self._orders, self._cost
        if not orders or self.problem:
            return
        self._orders, self._cost = [], 0
        if self._worker == _LATER:
            self._held.append((self._block, orders, cost))
        else:
            self._hand(self._block, orders, cost)

    def _hand(self, block: int, orders: list[_Order], cost: int) -> None:
        self._done += cost
        if self.problem:
            return
        if self._crew_works and self._crew is not None and self._worker != _HERE:
            worker = self._crew.least_busy() if self._worker is None else self._worker
            self._crew.give(worker, block, orders, cost)
        else:
            self.problem = self._alone.run(orders)


def _cost(size: int, deflated: bool, members: int) -> int:
    return size * (_INFLATING if deflated else 1) + members * _PER_MEMBER


def _helpers() -> int:
    """Return how many helpers are worth their while here."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return min(cores, 4) if cores > 1 and hasattr(os, "fork") else 0
