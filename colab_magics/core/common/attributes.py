"""Give files their times, their rights and their symlinks; where the file system keeps none, note that and go on.

FAT, SMB and most FUSE file systems refuse some of these calls. The content is there all the same, so that is no error:
as ``unzip`` does, all is written, and one warning says what could not be kept. Where folders cannot be moved, their
files are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["Losses", "collected", "is_no_folder_rename", "move", "note_refused", "set_mode", "set_mtime", "symlink"]

# EACCES: asked of what was made a moment ago, so that no rights of a folder are meant.
_UNSUPPORTED = {
    errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY
}  # fmt: skip
_NO_LINKS = {errno.EROFS}  # what VirtualBox says to a symlink, too
# What some say to the renaming of a folder, too: SMB of one that it thinks in use, object stores of one with content.
_NO_FOLDERS = {errno.EXDEV, errno.EMFILE, errno.EBUSY, errno.ETXTBSY, errno.ENOTEMPTY}
_NAMED = 3  # symlinks that a warning names


@dataclass
class Losses:
    """What a file system did not keep; threads may share one.

    Attributes
    ----------
    kinds : set of {'times', 'rights'}
        What it refused for at least one file.
    links : list of str
        The symlinks that could not be made, as `symlink` was told their names.
    """

    kinds: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)

    def warning(self, shown: str) -> str | None:
        """Return the line that tells a person what is missing from `shown`; None when nothing is."""
        parts: list[str] = [kind for kind in ("times", "rights") if kind in self.kinds]
        if self.links:
            names = ", ".join(sorted(self.links)[:_NAMED]) + (", ..." if len(self.links) > _NAMED else "")
            parts.append(f"{len(self.links)} {'symlink' if len(self.links) == 1 else 'symlinks'} ({names})")
        if not parts:
            return None
        what = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
        return f"the file system of {shown!r} does not keep {what}; everything else is there"


_losses: ContextVar[Losses | None] = ContextVar("colab_magics_losses", default=None)


@contextmanager
def collected() -> Iterator[Losses]:
    """Collect what is refused from here on, also in threads that are started in a copy of this context."""
    losses = Losses()
    token = _losses.set(losses)
    try:
        yield losses
    finally:
        _losses.reset(token)


def note_refused(kinds: set[str]) -> None:
    """Note what a file system refused, here or in another process; see `Losses`."""
    if losses := _losses.get():
        losses.kinds |= kinds


def set_mtime(file: int | str | os.PathLike[str], mtime_ns: int) -> None:
    """Give a file (a path or a descriptor) its time stamp, in nanoseconds, as far as the file system keeps one."""
    try:
        os.utime(file, ns=(mtime_ns, mtime_ns))
    except OSError as error:
        _check_unsupported(error)
        note_refused({"times"})


def set_mode(file: int | str | os.PathLike[str], mode: int) -> None:
    """Give a file (a path or a descriptor) its rights, as far as the file system keeps any."""
    try:
        os.chmod(file, mode)
    except OSError as error:
        _check_unsupported(error)
        if stat.S_IMODE(os.stat(file).st_mode) != mode:
            note_refused({"rights"})


def symlink(target: str, place: str | os.PathLike[str], name: str) -> bool:
    """Make the symlink `place`, called `name` in a warning; tell whether it is there now."""
    try:
        os.symlink(target, place)
    except OSError as error:
        _check_unsupported(error, *_NO_LINKS)
        if losses := _losses.get():
            losses.links.append(name)
        return False
    return True


def move(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
    """Rename a file or a folder; where folders cannot be renamed, move what is in it."""
    try:
        os.rename(old, new)
        return
    except OSError as error:
        if not stat.S_ISDIR(os.lstat(old).st_mode):
            raise
        _check_unsupported(error, *_NO_FOLDERS)
    os.makedirs(new, exist_ok=True)
    for name in os.listdir(old):
        move(os.path.join(old, name), os.path.join(new, name))
    os.rmdir(old)


def is_no_folder_rename(error: OSError) -> bool:
    """Tell whether an error says that this file system renames files alone."""
    return error.errno in {*_UNSUPPORTED, *_NO_FOLDERS}


def _check_unsupported(error: OSError, *also: int) -> None:
    """Raise an error again that says anything but that the file system has no such thing."""
    if error.errno not in _UNSUPPORTED and error.errno not in also:
        raise error
