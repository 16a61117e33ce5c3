"""What work in another thread needs of the main one: to be told to stop, and to have done there what works only there.

Python interrupts its main thread alone, and a notebook's prompts and messages to its page work in no other.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakSet

__all__ = ["Stopped", "check", "close", "in_main_thread", "listen", "note", "sleep"]

_T = TypeVar("_T")
_Caller = Callable[[Callable[[], Any]], Any]

_event: ContextVar[threading.Event | None] = ContextVar("colab_magics_stopping", default=None)
_caller: ContextVar[_Caller | None] = ContextVar("colab_magics_main_thread", default=None)
_open: ContextVar[WeakSet[socket.socket] | None] = ContextVar("colab_magics_open", default=None)


class Stopped(BaseException):
    """The run that this work belongs to was interrupted.

    As KeyboardInterrupt, which it stands for in other threads, it is no Exception.
    """


def listen(event: threading.Event, caller: _Caller, connections: WeakSet[socket.socket] | None = None) -> None:
    """Prepare this thread for being stopped.

    Parameters
    ----------
    event : threading.Event
        What `check` looks at from now on.
    caller : callable
        What `in_main_thread` uses.
    connections : WeakSet, optional
        Where `note` puts the connections of this thread.
    """
    _event.set(event)
    _caller.set(caller)
    _open.set(connections)


def note(connection: socket.socket | None) -> None:
    """Take note of a connection that this thread may wait on for long."""
    connections = _open.get()
    if connections is not None and connection is not None:
        connections.add(connection)


def close(connections: Iterable[socket.socket]) -> None:
    """End connections, so that who waits on one wakes up, and then finds that it is to stop."""
    for connection in list(connections):
        with contextlib.suppress(OSError):
            # The plain one also where TLS runs over it: its own would take from the reader what it reads with.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def sleep(seconds: float) -> None:
    """Wait, but no longer than until this thread's work is to stop."""
    event = _event.get()
    if event is None:
        time.sleep(seconds)
    else:
        event.wait(seconds)
        check()


def check() -> None:
    """Raise Stopped when this thread's work is to stop."""
    event = _event.get()
    if event is not None and event.is_set():
        raise Stopped


def in_main_thread(call: Callable[[], _T]) -> _T:
    """Return what `call` returns, or raise what it raises, in the main thread when this is another of a run's."""
    caller = _caller.get()
    if caller is None:
        return call()
    result: _T = caller(call)
    return result
