"""A process that unpacks members which lie in memory that it shares with the process that receives them."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

import colab_magics
from colab_magics.core.archives.unpacker import Unpacker
from colab_magics.core.common.attributes import collected, note_refused
from colab_magics.core.common.disk import Budget
from colab_magics.errors import TransferError

__all__ = ["Helper", "ready", "serve"]

_START = "import sys; sys.path += {}; from colab_magics.core.archives.stream.helper import serve; serve{}"


class Helper:
    """One of them, as the process that receives sees it.

    Parameters
    ----------
    memory, tree : int
        See `serve`.
    budget : Budget
        What may be unpacked.

    Attributes
    ----------
    given : deque of (int, int)
        What it was given and has not done: a block of the memory, and the cost.
    load : int
        The cost of all that.
    """

    def __init__(self, memory: int, tree: int, budget: Budget) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            shared = theirs.fileno(), memory, tree
            paths = [str(Path(colab_magics.__file__).parents[1]), *(os.path.abspath(each) for each in sys.path if each)]
            # It is no fork, since a notebook's kernel has threads and connections that one would break.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START.format(paths, (*shared, os.getpid()))],
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt is meant for the process that started it
            )
        try:
            self.connection.send(budget)
        except OSError:  # it could not begin, as for want of memory
            self.close()
            raise
        self.given: deque[tuple[int, int]] = deque()
        self.load = 0

    def give(self, block: int, cost: int, what: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Have `what` called with an unpacker and `args`; it needs the block for that."""
        self.given.append((block, cost))
        self.load += cost
        with _told():
            self.connection.send((what, args))

    def hear(self) -> tuple[int, Exception | None]:
        """Return which block it needs no longer (once less), and what went wrong; wait for that."""
        with _told():
            failure, refused = self.connection.recv()
        note_refused(refused)
        block, cost = self.given.popleft()
        self.load -= cost
        return block, failure

    def close(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def ready(helpers: Iterable[Helper], patience: float) -> list[Helper]:
    """Return those that have something to say, after so many seconds at most."""
    connections = wait([each.connection for each in helpers], patience)
    return [each for each in helpers if each.connection in connections]


@contextmanager
def _told() -> Iterator[None]:
    """Tell what a process that has ended looks like."""
    try:
        yield
    except (EOFError, ConnectionError):
        raise TransferError("a process that unpacks was ended from outside; run it again") from None


def serve(connection: int, memory: int, tree: int, parent: int) -> None:
    """Do what comes over a connection, until it ends.

    Parameters
    ----------
    connection, memory, tree : int
        Descriptors: of the connection, of what is shared, and of the folder to write to.
    parent : int
        Number of the process at the other end. Once it is gone nobody wants the rest, and the next run may be clearing
        it away.
    """
    with Connection(connection) as other, collected() as losses, suppress(EOFError, ConnectionError):
        unpacker = Unpacker(tree, other.recv(), memoryview(mmap.mmap(memory, 0)))
        while True:
            what, args = other.recv()
            if os.getppid() != parent:
                return
            failure = None
            try:
                what(unpacker, *args)
            except Exception as error:  # noqa: BLE001 - it is raised in the other process, which then ends this one
                failure = error
            other.send((failure, losses.kinds))
