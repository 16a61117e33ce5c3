"""What work in another thread needs of the main one: to be told to stop, and to have done there what works only there.

Python interrupts its main thread alone, and a notebook's prompts and messages to its page work in no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["Stopped", "check", "in_main_thread", "listen"]

_T = TypeVar("_T")
_Caller = Callable[[Callable[[], Any]], Any]

_event: ContextVar[threading.Event | None] = ContextVar("colab_magics_stopping", default=None)
_caller: ContextVar[_Caller | None] = ContextVar("colab_magics_main_thread", default=None)


class Stopped(BaseException):
    """The run that this work belongs to was interrupted.

    As KeyboardInterrupt, which it stands for in other threads, it is no Exception.
    """


def listen(event: threading.Event, caller: _Caller) -> None:
    """Make `check` look at `event`, and `in_main_thread` use `caller`, in this thread from now on."""
    _event.set(event)
    _caller.set(caller)


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
