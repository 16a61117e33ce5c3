"""DEST as it is on the disk, for a decision to look at."""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from pathlib import Path

from colab_magics.core.archives.members import PIECE
from colab_magics.core.common.cancellation import check

__all__ = ["DiskTree", "sha256_of"]


class DiskTree:
    """DEST on a disk.

    Parameters
    ----------
    root : Path
        DEST.

    Attributes
    ----------
    crcs : dict of str to int
        CRC-32s of contents that were read already.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self.crcs: dict[str, int] = {}
        self._is_new = not os.path.lexists(root)
        self._parents: dict[str, tuple[str, bool] | None] = {"": None}

    def status(self, name: str) -> os.stat_result | None:
        """Return what stands at `name` itself, or None."""
        if self._is_new:
            return None
        check()
        try:
            return os.lstat(f"{self._root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def path(self, name: str) -> Path:
        """Return where `name` is."""
        return Path(self._root, name)

    def crc(self, name: str) -> int:
        """Return the CRC-32 of a file's content."""
        if name in self.crcs:
            return self.crcs[name]
        crc = 0
        with open(f"{self._root}/{name}", "rb") as file:
            while piece := file.read(PIECE):
                check()
                crc = zlib.crc32(piece, crc)
        return crc

    def obstacle(self, name: str) -> tuple[str, bool] | None:
        """Return the first parent of `name` that is no folder, and whether it is a symlink."""
        if self._is_new:
            return None
        parent = name.rpartition("/")[0]
        if parent not in self._parents:
            above = self.obstacle(parent)
            if above is None:
                status = self.status(parent)
                if status is not None and not stat.S_ISDIR(status.st_mode):
                    above = parent, stat.S_ISLNK(status.st_mode)
            self._parents[parent] = above
        return self._parents[parent]

    def target(self, name: str) -> str:
        """Return where the symlink `name` points."""
        return os.readlink(f"{self._root}/{name}")

    def names(self, folder: str) -> set[str]:
        """Return the names in a folder, as the disk has them."""
        return set(os.listdir(f"{self._root}/{folder}"))

    def below(self, name: str) -> tuple[list[str], list[str]]:
        """Return all that is in the folder `name`: what is no folder, and the folders, each before its parent."""
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(f"{self._root}/{name}") as entries:
            found = [(f"{name}/{entry.name}", entry.is_dir(follow_symlinks=False)) for entry in entries]
        for path, is_folder in found:
            if is_folder:
                inner = self.below(path)
                files += inner[0]
                folders += [*inner[1], path]
            else:
                files.append(path)
        return files, folders


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    made = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            check()
            made.update(piece)
    return made.hexdigest()
