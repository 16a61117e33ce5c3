"""How the threads of a run are told to stop, and have done in the main thread what works only there.

Python interrupts its main thread alone, and a notebook's prompts and messages to its page work in no other. So each
other thread asks here, in every loop and before every wait; in the main thread a `KeyboardInterrupt` comes by itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar
from weakref import WeakSet

__all__ = [
    "Cancellation",
    "Stopped",
    "check",
    "committing",
    "for_each",
    "in_main_thread",
    "note",
    "sleep",
]

_T = TypeVar("_T")

_current: ContextVar[Cancellation | None] = ContextVar("colab_magics_cancellation", default=None)


class Stopped(BaseException):
    """The run that this work belongs to was interrupted.

    As KeyboardInterrupt, which it stands for in other threads, it is no Exception.

    Attributes
    ----------
    kept : str
        What need not be done again.
    """

    kept = ""


class Cancellation:
    """What the threads of one run share.

    Parameters
    ----------
    in_main_thread : callable
        Calls what it is given in the main thread, and returns what that returns.
    """

    def __init__(self, in_main_thread: Callable[[Callable[[], Any]], Any]) -> None:
        self.in_main_thread = in_main_thread
        self.event = threading.Event()
        self.connections: WeakSet[socket.socket] = WeakSet()
        self.inner: WeakSet[Cancellation] = WeakSet()  # runs within this one
        self._lock = threading.Lock()
        self._committing = 0

    @property
    def is_committing(self) -> bool:
        """Whether a thread is past its last look at whether to stop."""
        return self._committing > 0

    def cancel(self) -> None:
        """Tell all threads to stop, and end the connections on which they wait; from here on none begins to commit."""
        with self._lock:
            self.event.set()
        for run in list(self.inner):
            run.cancel()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                # The plain one also where TLS runs over it: its own would take from the reader what it reads with.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def commit(self) -> Iterator[None]:
        """See `committing`."""
        with self._lock:
            if self.event.is_set():
                raise Stopped
            self._committing += 1
        try:
            yield
        finally:
            with self._lock:
                self._committing -= 1

    def thread(self, work: Callable[..., object], *args: object, name: str) -> threading.Thread:
        """Return a thread of the run, to be started by whoever has taken note of it: an interrupt can come between."""
        context = copy_context()
        context.run(_current.set, self)

        def begin() -> None:
            check()  # it may have been told to stop before it got so far
            work(*args)

        return threading.Thread(target=_until_stopped, args=(context, begin), name=name, daemon=True)


def _until_stopped(context: Context, work: Callable[[], object]) -> None:
    with contextlib.suppress(Stopped):
        context.run(work)


def check() -> None:
    """Raise Stopped when this thread's work is to stop; cheap enough for every piece of a file."""
    run = _current.get()
    if run is not None and run.event.is_set():
        raise Stopped


def sleep(seconds: float) -> None:
    """Wait, but no longer than until this thread's work is to stop."""
    run = _current.get()
    if run is None:
        time.sleep(seconds)
    elif run.event.wait(seconds):
        raise Stopped


def note(connection: socket.socket | None) -> None:
    """Take note of a connection that this thread may wait on for long, so that a stop can end it."""
    run = _current.get()
    if run is not None and connection is not None:
        run.connections.add(connection)
        check()  # a stop that came before the note did not see it


@contextlib.contextmanager
def committing() -> Iterator[None]:
    """Look at whether to stop for the last time; what is done inside is waited for.

    Whoever stops a run can rely on it that DEST does not change after that, unless a thread is inside already.
    """
    run = _current.get()
    with run.commit() if run is not None else contextlib.nullcontext():
        yield


def for_each(work: Callable[[_T], object], items: Iterable[_T], *, at_once: int, name: str) -> None:
    """Call `work` with each item, in several threads; the first failure, or a stop, ends all of them."""
    run, waiting, failures = Cancellation(in_main_thread), deque(items), list[BaseException]()
    if (outer := _current.get()) is not None:
        outer.inner.add(run)
        check()  # a stop that came before did not see it

    def go_on() -> None:
        try:
            for item in _taken(waiting):
                work(item)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failures.append(error)
            run.cancel()

    threads = [run.thread(go_on, name=f"{name}-{number}") for number in range(min(at_once, len(waiting)))]
    try:
        for thread in threads:
            thread.start()
        while alive := [thread for thread in threads if thread.is_alive()]:
            check()
            alive[0].join(0.1)
    except BaseException:
        run.cancel()
        raise
    finally:
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    check()  # with the outer one this run ended too
    if failures:
        raise failures[0]


def _taken(waiting: deque[_T]) -> Iterator[_T]:
    """Yield what is left, in whichever thread comes first."""
    while True:
        try:
            item = waiting.popleft()
        except IndexError:
            return
        yield item


def in_main_thread(call: Callable[[], _T]) -> _T:
    """Return what `call` returns, or raise what it raises, in the main thread when this is another of a run's."""
    run = _current.get()
    if run is None:
        return call()
    result: _T = run.in_main_thread(call)
    return result
