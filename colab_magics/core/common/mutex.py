"""The mutex on a folder: of two runs into one DEST the second waits.

DEST may not exist yet, or lie on a file system without locks, so the mutex is a file in the user's cache folder, or in
the temporary one, under a digest of DEST's real path. It is the kernel's own (``flock``): that of a process that died
is free at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from colab_magics.core.common import cancellation
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.errors import LayoutError

__all__ = ["acquired", "locked"]

_PATIENCE = 0.05  # seconds between two looks at a mutex that another run holds


@contextmanager
def locked(dest: Path, progress: Progress = SILENT, *, shown: str = "") -> Iterator[bool]:
    """Hold the mutex on DEST.

    Yields
    ------
    bool
        Whether another run was waited for.
    """
    number = acquired(dest)
    waited = number is None
    if waited:
        progress.say(f"waiting for another sync into {shown or dest} to end")
    while number is None:
        cancellation.sleep(_PATIENCE)
        number = acquired(dest)
    try:
        yield waited
    finally:
        os.close(number)


def acquired(dest: Path) -> int | None:
    """Return the descriptor that holds the mutex, or None when another run does."""
    name = hashlib.sha256(os.path.realpath(dest).encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".lock"
    temporary = Path(tempfile.gettempdir()) / f"colab_magics-{os.getuid()}"
    for folder in (user_cache_path("colab_magics") / "locks", temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            number = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number
        except BlockingIOError:
            os.close(number)
            return None
        except OSError:  # a file system without locks
            os.close(number)
    raise LayoutError("no local folder can hold a lock; set TMPDIR to one that may be written, on a disk with locks")
