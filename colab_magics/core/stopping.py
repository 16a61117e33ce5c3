"""How work in another thread is told to stop: Python can interrupt its main thread only."""

from __future__ import annotations

import threading
from contextvars import ContextVar

__all__ = ["Stopped", "check", "listen"]

_event: ContextVar[threading.Event | None] = ContextVar("colab_magics_stopping", default=None)


class Stopped(BaseException):
    """The run that this work belongs to was interrupted."""


def listen(event: threading.Event) -> None:
    """Make `check` look at `event` in this thread from now on."""
    _event.set(event)


def check() -> None:
    """Raise Stopped when this thread's work is to stop."""
    event = _event.get()
    if event is not None and event.is_set():
        raise Stopped
