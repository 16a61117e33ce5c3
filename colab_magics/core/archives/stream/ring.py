"""Memory that this process and its helpers share."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["ring"]


@contextmanager
def ring(size: int) -> Iterator[tuple[int, memoryview]]:
    """Yield `size` bytes of it: the descriptor that other processes can map, and the bytes."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("colab_magics")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    try:
        os.ftruncate(number, size)
        shared = mmap.mmap(number, size)
        view = memoryview(shared)
        try:
            yield number, view
        finally:
            with suppress(BufferError):  # an error on its way still refers to a part of it
                view.release()
                shared.close()
    finally:
        os.close(number)
