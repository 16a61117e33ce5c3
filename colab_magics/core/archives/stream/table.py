"""The files of an archive in columns: of 100,000 members no object each."""

from __future__ import annotations

from array import array
from functools import partial
from itertools import repeat
from typing import NamedTuple

from colab_magics.core.archives.members import Member
from colab_magics.core.syncing.manifest import FOLDER

__all__ = ["Table"]


class Table(NamedTuple):
    """Plain files, and folders.

    Attributes
    ----------
    names : list of str
        The files, as POSIX paths below DEST that are safe to join.
    sizes : array of int
        Lengths in bytes.
    crcs : array of int
        CRC-32 of the contents.
    stamps : array of int
        Last changes, in nanoseconds since 1970 (UTC).
    folders : list of str
        Folders that have an entry of their own.
    """

    names: list[str]
    sizes: array[int]
    crcs: array[int]
    stamps: array[int]
    folders: list[str]

    @property
    def is_sound(self) -> bool:
        """Whether there are files, and no folder comes twice, has the place of one or of our own, or lies below one."""
        places = set(self.folders)
        for folder in self.folders:
            while folder := folder.rpartition("/")[0]:
                places.add(folder)
        if len(set(self.folders)) != len(self.folders) or FOLDER in map(str.casefold, places):
            return False
        return bool(self.names) and places.isdisjoint(self.names)

    def members(self) -> list[Member]:
        """Return them as members: the files in their order, then the folders."""
        seconds = {stamp: stamp / 1e9 for stamp in self.stamps}
        moments = [seconds[stamp] for stamp in self.stamps]
        columns = (self.names, repeat("file"), self.sizes, self.crcs, moments)
        rest = (repeat(False), repeat(None), repeat(None))
        files = map(partial(tuple.__new__, Member), zip(*columns, *rest, strict=False))
        return [*files, *(Member(name, "folder", 0, 0, 0.0) for name in self.folders)]
