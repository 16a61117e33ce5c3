"""What a disk's refusals mean, in one line each."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from colab_magics.errors import ArchiveError, ColabMagicsError, LayoutError, TransferError

__all__ = [
    "Budget",
    "are_together",
    "check_limits",
    "check_room",
    "check_writable",
    "disk_errors",
    "free_room_noted",
    "size_text",
]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ASKED = 1 << 25  # bytes that are written between two looks at the room on the disk
_SUSPICIOUS = 1 << 30  # bytes above which the ratio is looked at
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
            raise _full(shown, error.free if isinstance(error, _FullError) else _free(path)) from None
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


class Budget:
    """What an archive may unpack to; asked for every piece before that is written, by whichever process writes it.

    Parameters
    ----------
    folder : Path
        A folder on the disk that is written to.
    place : str
        What messages call that place.

    Attributes
    ----------
    received : int
        Bytes that have come.
    packed, unpacked : int
        How many of them were unpacked so far, and to how many.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self._folder, self._place = folder, place
        self._spare = _spare()
        self._ratio = _number("COLAB_MAGICS_MAX_RATIO", 500.0)
        self._suspicious = _SUSPICIOUS
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.received = self.packed = self.unpacked = 0
        self._unasked = _ASKED  # written since the disk was asked last: it is, before the first byte

    def spend(self, size: int, *, written: bool = True) -> None:
        """Account for what is about to be unpacked, and written or only checked.

        Raises
        ------
        ArchiveError
            When it grows beyond all measure; says how to allow it.
        TransferError
            When the disk is full.
        """
        self.unpacked += size
        self._unasked += size if written else 0
        self._check_ratio(self.unpacked, self.packed)
        if self._unasked >= _ASKED:
            self._unasked = 0
            free = _free(self._folder)
            if free < self._spare + size:
                raise _full(self._place, free)
            if free < self._spare + _ASKED:
                self._unasked = _ASKED  # from here on each time

    def expect(self, size: int, packed: int = 0) -> None:
        """Refuse what says beforehand that it will be too large: bytes to write, and what they are packed to."""
        self._check_ratio(self.unpacked + size, self.packed + packed)
        check_room(self._folder, size, self._place)

    def _check_ratio(self, unpacked: int, packed: int) -> None:
        if unpacked > self._suspicious and unpacked > packed * self._ratio:
            raise ArchiveError(
                f"the archive unpacks {size_text(packed)} to {size_text(unpacked)} and more, as one does that is "
                f"made to fill disks; nothing was written: set COLAB_MAGICS_MAX_RATIO higher than {self._ratio:g} if "
                "that is right"
            )


@contextmanager
def free_room_noted(path: Path) -> Iterator[None]:
    """Note how full a disk was when it refused to take more: what is cleared away afterwards counts as free again."""
    try:
        yield
    except ColabMagicsError:
        raise
    except OSError as error:
        if error.errno in _FULL and not isinstance(error, _FullError):
            raise _FullError(error.errno or 0, error.strerror or "", _free(path)) from None
        raise


class _FullError(OSError):
    def __init__(self, number: int, text: str, free: int) -> None:
        super().__init__(number, text)
        self.free = free


def _full(shown: str, free: int) -> TransferError:
    return TransferError(f"the disk of {shown!r} is full ({size_text(free)} left); free some room and run it again")


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        return float(text) if text else default
    except ValueError:
        raise ColabMagicsError(f"{name}={text!r} is not a number") from None


def check_limits() -> None:
    """Refuse limits in the environment that are no numbers."""
    _number("COLAB_MAGICS_MAX_RATIO", 0)
    _spare()


def _spare() -> int:
    """Return how many bytes must stay free: at least what the manifest and the file system itself need."""
    return int(_number("COLAB_MAGICS_MIN_FREE", 1 << 20))


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
    if needed + _spare() > free:
        if needed <= free:  # it would fit, but for what must stay free
            raise _full(shown, free)
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


def are_together(one: Path, other: Path) -> bool:
    """Tell whether two places, that are there or will be, are on one disk."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(path: Path) -> Path:
    place = Path(os.path.abspath(path))
    while not place.exists():
        place = place.parent
    return place


def _free(path: Path) -> int:
    usage = shutil.disk_usage(_existing(path))
    return usage.free if usage.total else sys.maxsize  # some file systems do not say
