"""A folder as the place where files are kept: on a disk, or in the mounted Google Drive."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from colab_magics.core.common.attributes import set_mtime
from colab_magics.core.common.cancellation import check
from colab_magics.core.common.files import FOLDER
from colab_magics.core.keeping.destinations import Batches, ChangedError, Copy, Held, MovedError
from colab_magics.core.keeping.source import files_below

try:
    from isal.isal_zlib import crc32
except ImportError:  # no wheel for this platform
    from zlib import crc32

__all__ = ["FolderDestination"]

_FICLONE = 0x40049409  # ioctl_ficlone(2): the copy shares the blocks of the original until one of them is written
_PIECE = 1 << 18  # bytes read and written at a time: they stay in the processor's cache from the one to the other
_BEGIN = 1 << 25  # bytes after which the disk is told to begin
# What DriveFS, Google's own program for the mounted Drive, says of a file. Its id begins so until it is uploaded.
_ID, _LOCAL_ID, _UNCOMMITTED = "user.drive.id", b"local-", "user.drive.uncommitted"


class FolderDestination:
    """A folder.

    Parameters
    ----------
    root : Path
        The folder; made when the first file is put.
    key : str
        Names this keeper's unfinished copies.
    """

    batches: Batches | None = None

    def __init__(self, root: Path, key: str) -> None:
        self.shown = str(root)
        self._root = root
        self._unfinished = root / FOLDER / f"keep-{key}"
        self._mount = _mount_of(root)
        self._drive = self._mount[1].startswith("fuse")
        self.unconfirmed = "copied, not confirmed by Drive" if self._drive else ""

    def copies(self) -> dict[str, Copy]:
        """Return every file that stands there."""
        self._check_mount()  # else all of it would be taken to be gone
        return {name: _copy(status) for name, status in files_below(self._root)}

    def put(self, name: str, held: Held, replaces: Copy | None) -> Copy:
        """Put a file there whole or not at all, and verify it."""
        place = self._root / name
        self._check_mount()  # else it would be written to the folder below the mount point
        self._check(name, replaces)
        self._unfinished.mkdir(parents=True, exist_ok=True)
        fresh = self._unfinished / "copy"
        try:
            digest = self._write(fresh, held, place)
            held.check()
            place.parent.mkdir(parents=True, exist_ok=True)
            self._check(name, replaces)
            os.replace(fresh, place)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        _sync_folder(place.parent)
        return _copy(os.lstat(place), digest)

    def _check_mount(self) -> None:
        """Refuse to go on where something else is mounted than at the beginning."""
        if _mount_of(self._root) != self._mount:
            raise OSError(f"what was mounted at {self._mount[0]} is not mounted any more")

    def _write(self, fresh: Path, held: Held, place: Path) -> str:
        """Write a copy that has not taken its place yet, and verify it; return the digest of what was read."""
        with open(fresh, "wb", buffering=0) as file:
            if _is_cloned(held, file.fileno()):
                digest = _digest(fresh)
            else:
                digest = _copied(held.file, held.status.st_size, file)
            set_mtime(file.fileno(), held.status.st_mtime_ns)
            os.fsync(file.fileno())
        if fresh.stat().st_size != held.status.st_size or (self._drive and _digest(fresh) != digest):
            raise OSError(f"what was written for {place} does not come back as it was; it is written again")
        return digest

    def holds(self, name: str, copy: Copy, path: str) -> bool:
        """Tell whether a local file has the content of a copy."""
        if os.stat(path).st_size != copy.size:
            return False
        with open(path, "rb", buffering=0) as one, open(self._root / name, "rb", buffering=0) as other:
            return _are_same(one, other)

    def fetch(self, name: str, copy: Copy, path: str) -> None:
        """Write a copy's content to a new local file."""
        with open(self._root / name, "rb", buffering=0) as file, open(path, "xb", buffering=0) as fresh:
            try:
                _copied(file, copy.size, fresh)
            except MovedError:
                raise ChangedError from None
            set_mtime(fresh.fileno(), copy.mtime_ns)
            os.fsync(fresh.fileno())
            now = os.fstat(file.fileno())
        if copy.mark != _copy(now).mark:
            raise ChangedError

    def delete(self, name: str, copy: Copy) -> None:
        """Remove a copy."""
        self._check(name, copy)
        (self._root / name).unlink()

    def confirmed(self, name: str, copy: Copy) -> bool | None:  # noqa: ARG002 - for other destinations
        """Tell whether Drive has uploaded a copy, where its attributes say so; on a disk it is where it has to be."""
        if not self._drive:
            return True
        place = self._root / name
        try:
            number = os.getxattr(place, _ID)
        except OSError:
            return None
        try:
            return not number.startswith(_LOCAL_ID) and os.getxattr(place, _UNCOMMITTED) in {b"", b"0", b"false"}
        except OSError:
            return not number.startswith(_LOCAL_ID)

    def clear(self) -> None:
        """Remove what earlier calls have left."""
        shutil.rmtree(self._unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):  # something else lies there, or it is not there
            self._unfinished.parent.rmdir()

    def _check(self, name: str, expected: Copy | None) -> None:
        """Raise when something else stands at a name than what is expected."""
        try:
            now = _copy(os.lstat(self._root / name))
        except (FileNotFoundError, NotADirectoryError):
            return  # also what somebody removed: the newer content is put in its place
        if expected is None or now.size != expected.size:
            raise ChangedError
        # Some file systems round a time after a while; then the content decides.
        if now.mark != expected.mark and _digest(self._root / name) != expected.digest:
            raise ChangedError


def _copy(status: os.stat_result, digest: str = "") -> Copy:
    if not stat.S_ISREG(status.st_mode):
        return Copy(-1, "")
    return Copy(status.st_size, f"{status.st_size}-{status.st_mtime_ns}", digest, status.st_mtime_ns)


def _digest(path: str | os.PathLike[str]) -> str:
    with open(path, "rb", buffering=0) as file:
        return _copied(file, os.fstat(file.fileno()).st_size)


def _copied(file: BinaryIO, size: int, to: BinaryIO | None = None) -> str:
    """Read so many bytes once, and write them on; return their checksum."""
    crc, at, begun = 0, 0, 0
    buffer = memoryview(bytearray(min(size, _PIECE)))
    file.seek(0)
    while at < size:
        check()
        count = file.readinto(buffer[: size - at])  # type: ignore[attr-defined]  # it is unbuffered
        if not count:
            raise MovedError
        crc = crc32(buffer[:count], crc)
        left = buffer[:count]
        while to and left:
            left = left[to.write(left) :]
        at += count
        if to and at - begun >= _BEGIN:
            _begin(to, begun, at - begun)
            begun = at
    return f"{crc:08x}"


def _are_same(one: BinaryIO, other: BinaryIO) -> bool:
    """Tell whether two files of one size have one content."""
    while piece := one.read(_PIECE):
        check()
        got = b""
        while len(got) < len(piece) and (more := other.read(len(piece) - len(got))):
            got += more
        if got != piece:
            return False
    return True


def _begin(file: BinaryIO, start: int, count: int) -> None:
    """Have the disk begin with what was written, so that little is left to wait for at the end."""
    with contextlib.suppress(OSError, AttributeError):  # not every system can
        os.posix_fadvise(file.fileno(), start, count, os.POSIX_FADV_DONTNEED)


def _is_cloned(held: Held, number: int) -> bool:
    """Tell whether the file system made the copy by itself, at one moment."""
    try:
        fcntl.ioctl(number, _FICLONE, held.file.fileno())
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can; the rename is then as durable as it makes it
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _mount_of(path: Path) -> tuple[str, str]:
    """Return the mount point that a folder is or will be under, and its kind of file system."""
    place = f"{os.path.realpath(path)}/"
    found = ("", "")
    with contextlib.suppress(OSError), open("/proc/self/mounts", "rb") as mounts:
        for line in mounts:
            _, point, kind, *_ = os.fsdecode(line.decode("unicode_escape").encode("latin-1")).split(" ")
            if place.startswith(f"{point.rstrip('/')}/") and len(point) >= len(found[0]):
                found = point, kind
    return found
