"""What a disk's refusals mean, in one line each."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colab_magics.errors import ColabMagicsError, TransferError

__all__ = ["check_room", "disk_errors", "size_text"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SPARE = 1 << 20  # bytes left alone: the manifest and the file system's own need


@contextmanager
def disk_errors(path: Path, shown: str | None = None) -> Iterator[None]:
    """Turn an operating system's error below `path` into one line that says what to do."""
    try:
        yield
    except ColabMagicsError:
        raise
    except OSError as error:
        shown = shown or str(path)
        if error.errno in _FULL:
            raise TransferError(
                f"the disk of {shown!r} is full ({size_text(_free(path))} left); free some room and run it again"
            ) from None
        if error.errno in _DENIED:
            raise TransferError(
                f"{shown!r} may not be written here; choose another place, or change its rights"
            ) from None
        if error.errno == errno.ENAMETOOLONG:
            raise TransferError(f"a name below {shown!r} is too long for this disk; choose a shorter place") from None
        where = f" ({error.filename})" if error.filename else ""
        raise TransferError(f"{shown!r} cannot be written: {error.strerror or error}{where}") from None


def check_room(path: Path, needed: int, shown: str) -> None:
    """Refuse work that cannot fit.

    Parameters
    ----------
    path : Path
        Where the bytes would go; its nearest folder that exists is asked.
    needed : int
        Bytes.
    shown : str
        What messages call the place.

    Raises
    ------
    TransferError
        When fewer bytes are free.
    """
    free = _free(path)
    if needed + _SPARE > free:
        raise TransferError(
            f"{shown!r} needs {size_text(needed)} and its disk has {size_text(free)} left; free some room, choose "
            "another disk, or take less with --include and --exclude"
        )


def size_text(size: float) -> str:
    """Return a number of bytes as a person reads it: ``8.1 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _free(path: Path) -> int:
    place = Path(os.path.abspath(path))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
