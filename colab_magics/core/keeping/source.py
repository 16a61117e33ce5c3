"""The folder that is kept: what stands in it, whether anything changed, and what is not whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from colab_magics.core.common.files import FOLDER

__all__ = ["Changes", "files_below", "is_cut_short", "natural"]

_FORMATS = (".pt", ".pth", ".ckpt", ".npz", ".npy", ".keras", ".h5", ".zip", ".safetensors", ".pkl", ".parquet")
_BROKEN = {errno.ENOENT, errno.ELOOP}  # a symlink that leads nowhere, or to itself; or a file that has just gone


def files_below(
    root: str | os.PathLike[str],
    *,
    links: bool = False,
    enter: Callable[[str], None] = lambda _folder: None,
    linked: Callable[[str], None] = lambda _name: None,
    refused: Callable[[str], AbstractContextManager[None]] = lambda _folder: contextlib.nullcontext(),
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every plain file below a folder, with its status; our own folders are left out.

    Parameters
    ----------
    root : str or path-like
        The folder.
    links : bool, optional
        Take a symlink to a file for that file. One to a folder is never followed.
    enter : callable, optional
        Called with the path of each folder before it is read.
    linked : callable, optional
        Called with the name of each symlink to a folder.
    refused : callable, optional
        Returns a context that takes the error when the folder of that name cannot be read; by default it is raised.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        place = os.path.join(root, folder)
        enter(place)
        entries: list[os.DirEntry[str]] = []
        with refused(folder or "."), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            entries = list(os.scandir(place))
        for entry in entries:
            name = f"{folder}{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders += [f"{name}/"] if entry.name != FOLDER else []
                elif entry.is_file(follow_symlinks=links):
                    yield name, entry.stat(follow_symlinks=links)
                elif entry.is_dir():
                    linked(name)
            except OSError as error:
                if error.errno not in _BROKEN:
                    with refused(name):
                        raise


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts ``ckpt-9`` before ``ckpt-10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def is_cut_short(name: str, file: BinaryIO, size: int, before: int) -> bool:
    """Tell whether a file's own format says that its end is missing, as when its writer was killed.

    One that is empty is so when it was not `before` (bytes), or when its name says that it has a format.

    A zip (``.pt``, ``.npz``, ``.keras``) ends with its directory; safetensors begin with a header that says how many
    bytes follow (https://huggingface.co/docs/safetensors#format). Of other files nothing is known.
    """
    if not size:
        return before > 0 or name.endswith(_FORMATS)
    file.seek(0)
    head = file.read(4096)
    if head[:4] == b"PK\x03\x04":
        return not zipfile.is_zipfile(file)
    if head[8:9] == b"{" and b'"data_offsets"' in head:
        ends = re.findall(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d+)', head + file.read(max(0, _length(head) - 4088)))
        return size < 8 + _length(head) + max(map(int, ends), default=0)
    return False


def _length(head: bytes) -> int:
    return min(int.from_bytes(head[:8], "little"), 100_000_000)  # the format's own limit


_MASK = (
    0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400
)  # written, closed, moved from or to, made, deleted, itself deleted


class Changes:
    """Hears of changes below a folder, by Linux's inotify(7); where there is none, anything may have changed.

    It says only *that* something changed: what did, a look at the files tells, so that nothing hangs on its events.
    """

    def __init__(self) -> None:
        self._number = -1
        with contextlib.suppress(OSError, AttributeError):
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._number = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_whole = self._number >= 0

    def watch(self, folder: str) -> None:
        """Hear of what happens in a folder from here on."""
        if self._number >= 0 and self._libc.inotify_add_watch(self._number, os.fsencode(folder), _MASK) < 0:
            self._is_whole = False  # there are too many folders, or it is gone

    def heard(self) -> bool:
        """Tell whether something may have changed since this was asked last."""
        found = not self._is_whole
        self._is_whole = self._number >= 0
        with contextlib.suppress(OSError):
            while self._number >= 0 and os.read(self._number, 1 << 16):
                found = True
        return found
