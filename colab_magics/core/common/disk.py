"""What a disk's refusals mean, in one line each."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from colab_magics.errors import ArchiveError, ColabMagicsError, LayoutError, TransferError

__all__ = ["Limits", "check_ratio", "check_room", "check_writable", "disk_errors", "size_text"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


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
        if error.errno == errno.EFBIG:
            raise TransferError(
                f"the disk of {shown!r} takes no file as large as this; choose another disk, or raise ulimit -f"
            ) from None
        if error.errno in _DENIED:
            raise TransferError(
                f"{shown!r} may not be written here; choose another place, or change its rights"
            ) from None
        if error.errno in {errno.ENOTDIR, errno.EEXIST}:
            raise LayoutError(
                f"{shown!r} cannot be made: a file stands where a folder has to be{_at(error)}; move it away, or "
                "choose another place"
            ) from None
        if error.errno == errno.ENAMETOOLONG:
            raise TransferError(f"a name below {shown!r} is too long for this disk; choose a shorter place") from None
        raise TransferError(
            f"{shown!r} cannot be written: {error.strerror or error}{_at(error)}; run it again"
        ) from None


def check_writable(root: Path, folders: Iterable[str], shown: str) -> None:
    """Refuse, before the first change, what the rights of one of the folders of `root` would stop halfway.

    Raises
    ------
    TransferError
        When one that exists may not be written; names it.
    """
    for folder in folders:
        place = os.path.join(root, folder)
        if os.path.isdir(place) and not os.access(place, os.W_OK | os.X_OK):
            what = f"the folder {folder!r} in {shown!r}" if folder else repr(shown)
            raise TransferError(f"{what} may not be written here; choose another place, or change its rights")


@dataclass(frozen=True)
class Limits:
    """How far an archive may go.

    Attributes
    ----------
    spare : int
        Bytes that must stay free on DEST's disk.
    ratio : float
        How many times as large as its packed form an archive of more than 1 GB may be.
    """

    spare: int = 1 << 20  # the manifest and the file system's own need
    ratio: float = 500.0

    @classmethod
    def load(cls) -> Limits:
        """Read them from ``COLAB_MAGICS_MIN_FREE`` and ``COLAB_MAGICS_MAX_RATIO``."""
        return cls(int(_number("COLAB_MAGICS_MIN_FREE", cls.spare)), _number("COLAB_MAGICS_MAX_RATIO", cls.ratio))


def check_ratio(packed: int, unpacked: int, shown: str) -> None:
    """Refuse an archive that grows beyond all measure.

    Raises
    ------
    ArchiveError
        When its members together are that large; says how to allow it.
    """
    if unpacked > 1 << 30 and unpacked > packed * Limits.load().ratio:
        raise ArchiveError(
            f"{shown} unpacks {size_text(packed)} to {size_text(unpacked)}, as an archive does that is made to fill "
            f"disks; nothing was written: set COLAB_MAGICS_MAX_RATIO={unpacked // max(packed, 1) + 1} if that is right"
        )


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        return float(text) if text else default
    except ValueError:
        raise ColabMagicsError(f"{name}={text!r} is not a number") from None


def check_room(path: Path, needed: int, shown: str, *, written: int = 0) -> None:
    """Refuse work that cannot fit.

    Parameters
    ----------
    path : Path
        Where the bytes would go; its nearest folder that exists is asked.
    needed : int
        Bytes.
    shown : str
        What messages call the place.
    written : int, optional
        How many of the bytes are on that disk already.

    Raises
    ------
    TransferError
        When fewer bytes are free.
    """
    free = _free(path) + written
    if needed + Limits.load().spare > free:
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


def _at(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _free(path: Path) -> int:
    place = Path(os.path.abspath(path))
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return usage.free if usage.total else sys.maxsize  # some file systems do not say
