"""Helper processes that unpack: started, given work, heard, stopped.

They are started anew with one file of ours, never forked: a notebook's kernel has threads and connections that a
fork would break.
"""

from __future__ import annotations

import marshal
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from colab_magics.core.archives.stream import unpacker
from colab_magics.core.archives.stream.unpacker import FRAME

__all__ = ["Crew", "CrewError"]

_ROOMY = 1 << 20  # bytes that a pipe should hold, so that giving work need not wait
_SET_PIPE_SIZE = 1031  # Linux's F_SETPIPE_SZ, which the fcntl module names from Python 3.10 on Linux only


class CrewError(Exception):
    """A helper is gone."""


class _Helper:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        self.process = process
        self.orders: BinaryIO = process.stdin  # type: ignore[assignment]  # unbuffered, as it was asked for
        self.answers: BinaryIO = process.stdout  # type: ignore[assignment]
        self.load = 0
        self.is_ready = False
        self.weights: list[int] = []


class Crew:
    """Some helpers that share the bytes with this process.

    Parameters
    ----------
    count : int
        How many.
    ring : int
        The shared memory, as an open descriptor.
    tree : int
        The folder that they write to, likewise.
    spare, ratio
        See `colab_magics.core.archives.stream.unpacker.Unpacker`.

    Raises
    ------
    CrewError
        When none can be started here.
    """

    def __init__(self, count: int, ring: int, tree: int, spare: int, ratio: float) -> None:
        self._helpers: list[_Helper] = []
        self._uses: dict[int, int] = {}
        command = [
            sys.executable or "",
            "-I",
            str(Path(unpacker.__file__)),
            *map(str, (ring, tree, spare, ratio, os.getpid())),
        ]
        try:
            for _ in range(count):
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                    pass_fds=(ring, tree),
                    # The stop button is for us: they end when we do, and print nothing of their own.
                    start_new_session=True,
                )
                self._helpers.append(_Helper(process))
                _widen(self._helpers[-1].orders)
        except OSError as error:
            self.stop()
            raise CrewError(str(error)) from None

    @property
    def is_ready(self) -> bool:
        """Whether all of them have started."""
        self._hear(0)
        return all(helper.is_ready for helper in self._helpers)

    def least_busy(self) -> int:
        """Return the number of the helper with the least work."""
        return min(range(len(self._helpers)), key=lambda number: self._helpers[number].load)

    def give(self, number: int, block: int, orders: list[tuple[Any, ...]], weight: int) -> None:
        """Give work.

        Parameters
        ----------
        number : int
            To which helper.
        block : int
            The part of the shared memory that it needs.
        orders : list of tuple
            See `colab_magics.core.archives.stream.unpacker.Unpacker`.
        weight : int
            How much it is.
        """
        helper = self._helpers[number]
        data = marshal.dumps((block, orders))
        helper.load += weight
        helper.weights.append(weight)
        self._uses[block] = self._uses.get(block, 0) + 1
        view = memoryview(FRAME.pack(len(data)) + data)
        try:
            while len(view):
                view = view[helper.orders.write(view) or 0 :]
        except BrokenPipeError:
            self._hear(0)
            raise CrewError("a helper process ended") from None

    def needs(self, block: int) -> bool:
        """Tell whether somebody still needs `block`."""
        self._hear(0)
        return bool(self._uses.get(block))

    def wait_for(self, block: int) -> list[str] | None:
        """Return when nobody needs `block` any longer, with what went wrong meanwhile."""
        while self._uses.get(block):
            if problem := self._hear(None):
                return problem
        return None

    def wait_for_all(self) -> list[str] | None:
        """Return when all work is done, with what went wrong."""
        return next(filter(None, map(self.wait_for, list(self._uses))), None)

    def stop(self) -> None:
        """End the helpers."""
        for helper in self._helpers:
            with suppress(OSError):
                helper.orders.close()
            if any(self._uses.values()):
                helper.process.kill()
        for helper in self._helpers:
            helper.process.wait()
            helper.answers.close()
        self._helpers.clear()

    def _hear(self, timeout: float | None) -> list[str] | None:
        """Take in what helpers have answered; return what went wrong."""
        streams = {helper.answers.fileno(): helper for helper in self._helpers}
        poll = select.poll()
        for number in streams:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(None if timeout is None else timeout * 1000):
            helper = streams[number]
            message = _read(helper.answers)
            if not message:
                helper.is_ready = True
                continue
            block, _, problem = message
            helper.load -= helper.weights.pop(0)
            self._uses[block] -= 1
            if problem:
                return list(problem)
        return None


def _read(stream: BinaryIO) -> list[Any]:
    head = _exactly(stream, FRAME.size)
    message: list[Any] = marshal.loads(_exactly(stream, FRAME.unpack(head)[0]))  # noqa: S302 - our own helper's
    return message


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(size - len(data))
        if not piece:
            raise CrewError("a helper process ended")
        data += piece
    return data


def _widen(stream: BinaryIO) -> None:
    with suppress(ImportError, OSError):
        import fcntl  # here: not every system has it

        fcntl.fcntl(stream.fileno(), _SET_PIPE_SIZE, _ROOMY)
