"""The folder where our own files lie in a place of the user's, and how one of them is written."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["FOLDER", "LONGEST_TARGET", "UNFINISHED", "write_whole"]

#: The folder inside DEST (of a sync, or of what is kept) that holds what is ours.
FOLDER = ".colab_magics"
#: What the name of a file ends with that is not all written; one process writes it, so there is one at most.
UNFINISHED = ".new"
#: Bytes that a symlink's target may have: one less than PATH_MAX on Linux.
LONGEST_TARGET = 4095


def write_whole(path: Path, data: bytes, mode: int = 0o666, *, durable: bool = False) -> None:
    """Write a file so that a reader, or the next run, sees the old content or the new, never a part.

    Parameters
    ----------
    path : Path
        It; the folders above it are made.
    data : bytes
        Its content.
    mode : int, optional
        Its rights, without those that the umask takes.
    durable : bool, optional
        Whether it must outlive a crash of the machine from here on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}{UNFINISHED}")
    fresh.unlink(missing_ok=True)
    try:
        with open(fresh, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
