"""Making many objects at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold back the garbage collector, as a context or a decorator.

    Of what is made in bulk nothing is garbage, and to look for some in it, and in all else that a notebook holds, takes
    longer than to make it. Not for what waits for a network: meanwhile other threads make garbage.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
