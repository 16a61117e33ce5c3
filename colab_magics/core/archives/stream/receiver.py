"""A zip that is unpacked while it comes: this process receives and splits, helper processes unpack and write.

Threads would wait for each other at each of the many short calls that a small file takes. Nothing of it counts before
the directory, which comes last, says the same of every member.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from colab_magics.core.archives.members import Source, Target, moment_of
from colab_magics.core.archives.stream.parser import LOOK_BACK, Begin, End, Header, Piece, Splitter, Whole
from colab_magics.core.archives.tree import Tree
from colab_magics.core.archives.unpacker import Unpacker
from colab_magics.core.archives.unpacker import Whole as Ready
from colab_magics.core.archives.zips import Found, Zip, path_of
from colab_magics.core.common.cancellation import check
from colab_magics.core.common.disk import Budget
from colab_magics.errors import ArchiveError

if TYPE_CHECKING:
    from colab_magics.core.archives.stream.helper import Helper  # and when it is needed: little content needs none

__all__ = ["receive"]

_BLOCK = 1 << 21  # bytes; a block holds as many as are received before they are split
_BLOCKS = 14  # how many there are at most, when unpacking falls behind
_STEP = 1 << 19  # bytes received at a time: how often progress is told
_GIVEN = 1 << 21  # the cost, in packed bytes, of what is given to a helper at a time
_ALONE = 3 << 23  # the cost up to which helpers cost more than they bring
_BUSY = 1 << 23  # the cost above which a helper is given no more: this process works too then
_PROCESSES = 4  # how many there are at most
_IN_MEMORY = 1 << 24  # bytes of what cannot be unpacked yet, above which they are kept on the disk
_PER_MEMBER = 1 << 14  # what a file costs beside its bytes, counted in bytes
_PATIENCE = 0.1  # seconds between two looks at whether to stop


def receive(source: Source, target: Target) -> Zip:
    """See `colab_magics.core.archives.opening.take`."""
    target.budget.reset()
    with (
        Tree(target) as tree,
        # Beside the tree, so that it goes when that goes.
        tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=os.fspath(target.tree.parent)) as spool,
        _Unpackers(tree, target.budget) as unpackers,
    ):
        rest = cast("BinaryIO", spool)
        receiver = _Receiver(source, target, rest, unpackers)
        start = receiver.run()
        unpackers.finish()
        return Zip(rest, start, receiver.found, tree, target)


class _Unpackers(AbstractContextManager["_Unpackers"]):
    """What unpacks: this process, and others once that is worth their start; a context manager that ends them.

    Attributes
    ----------
    view : memoryview
        The memory that they share: blocks of `_BLOCK` and before each of them `LOOK_BACK` bytes.
    """

    def __init__(self, tree: Tree, budget: Budget) -> None:
        self._tree, self._budget = tree, budget
        self._memory, memory = _shared_memory(_BLOCKS * (_BLOCK + LOOK_BACK))
        self.view = memoryview(memory)
        self._users = [0] * _BLOCKS
        self._own = tree.new_unpacker(self.view)
        self._helpers: list[Helper] = []
        # Helpers that may still be started.
        self._more = min(os.cpu_count() or 1, _PROCESSES) - 1 if self._memory is not None else 0
        self._done = 0

    def __exit__(self, *_: object) -> None:
        for each in self._helpers:
            each.close()
        self._own.close()
        if self._memory is not None:
            os.close(self._memory)

    def block(self) -> int:
        """Return the number of a block that nobody needs."""
        self._hear(0)
        while 0 not in self._users:
            self._hear(_PATIENCE)
        return self._users.index(0)

    def choose(self, *, large: bool = False) -> Helper | None:
        """Return who is to unpack a large member or some small ones: a helper, or (None) this process."""
        while self._more and (large or self._done > _ALONE):
            self._more -= 1
            from colab_magics.core.archives.stream.helper import Helper

            with suppress(OSError):  # no more processes, or no memory for them
                self._helpers.append(Helper(cast("int", self._memory), self._tree.number, self._budget))
        helper = min(self._helpers, key=lambda each: each.load, default=None)
        return helper if helper is not None and helper.load < _BUSY else None

    def give(self, whom: Helper | None, block: int, cost: int, what: Callable[..., None], *args: Any) -> None:
        """Have `what` called with an unpacker and `args`; it needs the block for that."""
        self._hear(0)
        self._done += cost
        if whom is None:
            what(self._own, *args)
            return
        self._users[block] += 1
        whom.give(block, cost, what, args)

    def finish(self) -> None:
        """Return when all work is done."""
        while any(self._users):
            self._hear(_PATIENCE)

    def _hear(self, patience: float) -> None:
        """Take in what helpers say within so many seconds; what went wrong in one is raised here."""
        check()
        if not self._helpers:
            return
        from colab_magics.core.archives.stream.helper import ready

        for each in ready(self._helpers, patience):
            block, failure = each.hear()
            self._users[block] -= 1
            if failure is not None:
                raise failure


def _shared_memory(size: int) -> tuple[int | None, mmap.mmap]:
    """Return memory, and the descriptor by which other processes share it; None where the system gives none."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("colab_magics")
        try:
            os.ftruncate(number, size)  # a limit on the size of files holds for this one too
            return number, mmap.mmap(number, size)
        except OSError:
            os.close(number)
    return None, mmap.mmap(-1, size)


class _Receiver:
    """One zip's arrival."""

    def __init__(self, source: Source, target: Target, rest: BinaryIO, unpackers: _Unpackers) -> None:
        self._source, self._target, self._rest, self._unpackers = source, target, rest, unpackers
        self.found: dict[int, Found] = {}
        self._splitter = Splitter()
        self._names: set[str] = set()
        self._offset = 0  # of the last member
        self._job: tuple[str, bool, int, int] | None = None  # how to unpack it, see `Ready`; None: it need not be
        self._batch: list[Ready] = []
        self._cost = 0
        self._whom: Helper | None = None  # who unpacks the member that is open

    def run(self) -> int:
        """Take all of it; return where in the zip that begins which was not unpacked."""
        view, budget, rest = self._unpackers.view, self._target.budget, self._rest
        left, more = b"", True
        while more:
            block = self._unpackers.block()
            first = block * (_BLOCK + LOOK_BACK) + LOOK_BACK
            start = first - len(left)
            view[start:first] = left
            stop, more = self._fill(view[: first + _BLOCK], first)
            budget.received += stop - first
            at = start
            if self._splitter.rest_start is None:
                at = self._split(block, start, stop)
            if self._splitter.rest_start is not None:
                if rest.tell() + stop - at > _IN_MEMORY:
                    budget.spend(stop - at)
                rest.write(view[at:stop])
                at = stop
            left = bytes(view[at:stop])
        if self._splitter.rest_start is None:
            raise ArchiveError(
                f"{self._target.shown} is not a whole zip archive (it ends too early); nothing was written: run it "
                "again to fetch it anew"
            )
        return self._splitter.rest_start

    def _fill(self, view: memoryview, at: int) -> tuple[int, bool]:
        """Receive into a block from `at` on; return where its bytes end, and whether more may come."""
        while at < len(view):
            check()
            wanted = min(_STEP, len(view) - at)
            came = self._source.readinto(view[at : at + wanted])
            self._target.progress.advance(came)
            at += came
            if came < wanted:
                return at, False
        return at, True

    def _split(self, block: int, start: int, stop: int) -> int:
        """Give out what is in the block; return where the bytes begin that are left over, or are kept as they are."""
        for event in self._splitter.feed(self._unpackers.view, start, stop):
            if isinstance(event, Whole):
                at, header, first, last, crc, size = event
                if not self._begin(header, crc, last - first, size):
                    return self._keep_from(block, header, at)
                if self._job is not None:
                    self._batch.append((*self._job, first, last, crc, size))
                    self._cost += last - first + _PER_MEMBER
                    if self._cost >= _GIVEN:
                        self._give(block)
            elif isinstance(event, Begin):
                if not self._begin(event.header, None, 0, None):
                    return self._keep_from(block, event.header, event.at)
                self._give(block)
                self._whom = self._unpackers.choose(large=True)
                if self._job is not None:
                    self._order(block, 0, Unpacker.begin, *self._job)
            elif isinstance(event, Piece):
                if self._job is not None:
                    self._order(block, event.stop - event.start, Unpacker.piece, *event)
            elif isinstance(event, End):
                self._end(block, *event)
            else:
                self._give(block)
                return event.start
        raise AssertionError  # the last event says what is left over

    def _begin(self, header: Header, crc: int | None, packed: int, size: int | None) -> bool:
        """Take note of a member, and of what is to be done with it; tell whether that can be known by now."""
        self._offset, raw, flags, method, time, extra = header
        choice = self._target.choice
        path, is_folder = path_of(raw, flags, extra, self._target)
        self._job = None
        stamp, write = 0, False
        if path is not None:
            if path in self._names:
                return False
            self._names.add(path)
            # An empty one may turn out to be a folder.
            if not is_folder and size != 0 and choice.takes(path):
                stamp = int(moment_of(time, extra)) * 1_000_000_000
                write = choice.writes(path, crc, size)
                self._job = path, write, method, stamp
        self.found[self._offset] = raw, crc or 0, packed, size or 0, path, stamp, write
        return True

    def _end(self, block: int, crc: int, packed: int, size: int) -> None:
        """Let the open member end."""
        raw, _, _, _, path, stamp, keep = self.found[self._offset]
        if self._job is not None:
            keep = keep and self._target.choice.writes(self._job[0], crc, size)
            self._order(block, 0, Unpacker.end, crc, size, keep)
        self.found[self._offset] = raw, crc, packed, size, path, stamp, keep

    def _keep_from(self, block: int, header: Header, at: int) -> int:
        """Unpack no more: another member has the same name, and the directory tells which of them counts."""
        self._give(block)
        self._splitter.rest_start = header.offset
        return at

    def _give(self, block: int) -> None:
        """Have the members unpacked that are whole."""
        if self._batch:
            self._unpackers.give(self._unpackers.choose(), block, self._cost, Unpacker.wholes, self._batch)
            self._batch, self._cost = [], 0

    def _order(self, block: int, cost: int, what: Callable[..., None], *args: object) -> None:
        """Have something done for the member that is open."""
        self._unpackers.give(self._whom, block, cost, what, *args)
