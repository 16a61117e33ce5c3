"""A zip that is unpacked while it comes: this thread receives and splits, two more unpack and write what is not small.

Inflating, checksums and system calls let other threads run meanwhile. Nothing of it counts before the directory, which
comes last, says the same of every member.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, cast

from colab_magics.core.archives.members import Source, Target, moment_of, safe_or_none
from colab_magics.core.archives.names import decoded
from colab_magics.core.archives.stream.parser import LOOK_BACK, Begin, End, Header, Piece, Splitter, Whole
from colab_magics.core.archives.tree import Tree
from colab_magics.core.archives.unpacker import Unpacker
from colab_magics.core.archives.unpacker import Whole as Ready
from colab_magics.core.archives.zips import Found, Zip
from colab_magics.core.common.cancellation import check, start_thread
from colab_magics.errors import ArchiveError

__all__ = ["receive"]

_BLOCK = 1 << 21  # bytes; a block holds as many as are received before they are split
_BLOCKS = 14  # how many there are at most, when unpacking falls behind
_STEP = 1 << 19  # bytes received at a time: how often progress is told
_LARGE = 1 << 19  # the cost, in packed bytes, of what is given to a thread at a time
_IN_MEMORY = 1 << 24  # bytes of what cannot be unpacked yet, above which they are kept on the disk
_PER_MEMBER = 1 << 14  # what a file costs beside its bytes, counted in bytes
_SMALL = 1 << 14  # bytes of a packed member, below which handing it to a thread costs more than it brings
_PATIENCE = 0.1  # seconds between two looks at whether to stop


def receive(source: Source, target: Target) -> Zip:
    """See `colab_magics.core.archives.opening.take`."""
    target.budget.reset()
    with (
        Tree(target) as tree,
        # Beside the tree, so that it goes when that goes.
        tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=os.fspath(target.tree.parent)) as spool,
        _Workers(tree.new_unpacker) as workers,
    ):
        rest = cast("BinaryIO", spool)
        receiver = _Receiver(source, target, rest, workers)
        start = receiver.run()
        workers.finish()
        return Zip(rest, start, receiver.found, tree, target)


class _Block:
    """Bytes that came, and how many still need them."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_BLOCK + LOOK_BACK))
        self.users = 0


class _Workers(AbstractContextManager["_Workers"]):
    """Threads that unpack; a context manager that ends them.

    What goes wrong in one of them is raised in the thread that gives them work, at the next opportunity.
    """

    def __init__(self, new_unpacker: Callable[[], Unpacker]) -> None:
        self._new_unpacker = new_unpacker
        self._count = 1 if (os.cpu_count() or 1) < 2 else 2
        self._queues: list[queue.SimpleQueue[Any]] = []
        self._threads: list[threading.Thread] = []
        self._given, self._done = [0] * self._count, [0] * self._count
        self._free: queue.SimpleQueue[_Block] = queue.SimpleQueue()
        self._blocks = 0
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._own: Unpacker | None = None

    def __exit__(self, *_: object) -> None:
        self._failure = self._failure or ArchiveError("it was given up")
        self._join()
        if self._own is not None:
            self._own.close()

    def block(self) -> _Block:
        """Return a block that nobody needs; it counts as needed until it is released."""
        while True:
            self._raise()
            try:
                # Not with a time-out of 0, for which Python 3.10 waits for ever.
                block = self._free.get(timeout=_PATIENCE) if self._blocks == _BLOCKS else self._free.get_nowait()
            except queue.Empty:
                if self._blocks == _BLOCKS:
                    continue
                block = _Block()
                self._blocks += 1
            block.users = 1
            return block

    def release(self, block: _Block) -> None:
        """Say that a block is needed no longer by one of those who needed it."""
        with self._lock:
            block.users -= 1
            unused = block.users == 0
        if unused:
            self._free.put(block)

    def least_busy(self) -> int:
        """Return the number of the thread with the least work."""
        return min(range(self._count), key=lambda number: self._given[number] - self._done[number])

    def give(self, number: int, block: _Block, cost: int, what: Callable[..., None], *args: Any) -> None:
        """Have a thread call `what` with its unpacker and `args`; it needs `block` for that."""
        self._raise()
        if not self._threads:
            self._queues = [queue.SimpleQueue() for _ in range(self._count)]
            self._threads = [start_thread(self._work, each, name=f"unpack-{each}") for each in range(self._count)]
        with self._lock:
            block.users += 1
        self._given[number] += cost
        self._queues[number].put((block, cost, what, args))

    def here(self, what: Callable[..., None], *args: Any) -> None:
        """Call `what` with an unpacker and `args` in this thread."""
        self._raise()
        self._own = self._own or self._new_unpacker()
        what(self._own, *args)

    def finish(self) -> None:
        """Return when all work is done."""
        self._join()
        self._raise()

    def _join(self) -> None:
        for each in self._queues:
            each.put(None)
        for thread in self._threads:
            while thread.is_alive():  # an interrupt is heard between
                thread.join(_PATIENCE)
        self._queues, self._threads = [], []

    def _raise(self) -> None:
        check()
        if self._failure is not None:
            raise self._failure

    def _work(self, number: int) -> None:
        unpacker = self._new_unpacker()
        jobs = self._queues[number]
        while (job := jobs.get()) is not None:
            block, cost, what, args = job
            if self._failure is None:
                try:
                    what(unpacker, *args)
                except BaseException as error:  # noqa: BLE001 - it is raised in the thread that gave the work
                    self._failure = self._failure or error
            del args, job  # a view would keep the block's bytes
            self._done[number] += cost
            self.release(block)
        unpacker.close()


class _Receiver:
    """One zip's arrival."""

    def __init__(self, source: Source, target: Target, rest: BinaryIO, workers: _Workers) -> None:
        self._source, self._target, self._rest, self._workers = source, target, rest, workers
        self.found: dict[int, Found] = {}
        self._splitter = Splitter()
        self._names: set[str] = set()
        self._offset = 0  # of the last member
        self._job: tuple[str, bool, int, int] | None = None  # how to unpack it, see `Ready`; None: it need not be
        self._batch: list[Ready] = []
        self._cost = 0
        self._worker = 0  # who unpacks the member that is open

    def run(self) -> int:
        """Take all of it; return where in the zip that begins which was not unpacked."""
        workers, budget, rest = self._workers, self._target.budget, self._rest
        left, more = memoryview(b""), True
        while more:
            block = workers.block()
            start = LOOK_BACK - len(left)
            block.view[start:LOOK_BACK] = left
            stop, more = self._fill(block.view)
            budget.received += stop - LOOK_BACK
            at = start
            if self._splitter.rest_start is None:
                at = self._split(block, start, stop)
            if self._splitter.rest_start is not None:
                if rest.tell() + stop - at > _IN_MEMORY:
                    budget.spend(stop - at)
                rest.write(block.view[at:stop])
                at = stop
            left = memoryview(bytes(block.view[at:stop]))
            workers.release(block)
        if self._splitter.rest_start is None:
            raise ArchiveError(
                f"{self._target.shown} is not a whole zip archive (it ends too early); nothing was written: run it "
                "again to fetch it anew"
            )
        return self._splitter.rest_start

    def _fill(self, view: memoryview) -> tuple[int, bool]:
        """Receive into a block; return where its bytes end, and whether more may come."""
        at = LOOK_BACK
        while at < len(view):
            check()
            wanted = min(_STEP, len(view) - at)
            came = self._source.readinto(view[at : at + wanted])
            self._target.progress.advance(came)
            at += came
            if came < wanted:
                return at, False
        return at, True

    def _split(self, block: _Block, start: int, stop: int) -> int:
        """Give out what is in the block; return where the bytes begin that are left over, or are kept as they are."""
        view = block.view
        for event in self._splitter.feed(view, start, stop):
            if isinstance(event, Whole):
                at, header, first, last, crc, size = event
                if not self._begin(header, crc, last - first, size):
                    return self._keep_from(block, header, at)
                if self._job is not None:
                    self._batch.append((*self._job, first, last, crc, size))
                    self._cost += last - first + _PER_MEMBER
                    if self._cost >= _LARGE:
                        self._give(block)
            elif isinstance(event, Begin):
                if not self._begin(event.header, None, 0, None):
                    return self._keep_from(block, event.header, event.at)
                self._give(block)
                self._worker = self._workers.least_busy()
                if self._job is not None:
                    self._order(block, 0, Unpacker.begin, *self._job)
            elif isinstance(event, Piece):
                if self._job is not None:
                    piece = view[event.start : event.stop]
                    self._order(block, len(piece), Unpacker.part, piece)
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
        name = decoded(raw, flags, extra, self._target.names)
        is_folder = name.endswith(("/", "\\"))
        path = safe_or_none(name, choice.takes, is_folder=is_folder)
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

    def _end(self, block: _Block, crc: int, packed: int, size: int) -> None:
        """Let the open member end."""
        raw, _, _, _, path, stamp, keep = self.found[self._offset]
        if self._job is not None:
            keep = keep and self._target.choice.writes(self._job[0], crc, size)
            self._order(block, 0, Unpacker.end, crc, size, keep)
        self.found[self._offset] = raw, crc, packed, size, path, stamp, keep

    def _keep_from(self, block: _Block, header: Header, at: int) -> int:
        """Unpack no more: another member has the same name, and the directory tells which of them counts."""
        self._give(block)
        self._splitter.rest_start = header.offset
        return at

    def _give(self, block: _Block) -> None:
        """Have the members unpacked that are whole."""
        batch, cost = self._batch, self._cost
        if not batch:
            return
        self._batch, self._cost = [], 0
        if cost < len(batch) * (_PER_MEMBER + _SMALL):
            self._workers.here(Unpacker.wholes, block.view, batch)
        else:
            self._workers.give(self._workers.least_busy(), block, cost, Unpacker.wholes, block.view, batch)

    def _order(self, block: _Block, cost: int, what: Callable[..., None], *args: object) -> None:
        """Have something done for the member that is open."""
        self._workers.give(self._worker, block, cost, what, *args)
