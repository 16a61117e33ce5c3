"""Which members of an archive are worth writing as they arrive; what becomes of them is decided afterwards."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from colab_magics.core.syncing.disktree import DiskTree
from colab_magics.core.syncing.manifest import FOLDER, Manifest
from colab_magics.core.syncing.options import Options, Selection

__all__ = ["Choice"]


class Choice:
    """Chooses members by what DEST holds.

    Parameters
    ----------
    root : Path
        DEST.
    manifest : Manifest
        What earlier syncs left there.
    options : Options
        How the sync was asked for.

    Attributes
    ----------
    settled : set of str
        Members that DEST holds already just as the manifest says, and so does the link.
    """

    def __init__(self, root: Path, manifest: Manifest, options: Options) -> None:
        self.settled: set[str] = set()
        self._tree, self._is_new = DiskTree(root), not root.exists()
        self._files, self._options = manifest.files, options
        self._takes = options.selection.takes if options.selection != Selection() else None

    @property
    def takes_all(self) -> bool:
        """Whether all that comes is written, since DEST is not there and nothing was left out."""
        return self._is_new and self._takes is None and not self._options.dry_run

    def many(self, names: Sequence[str], crcs: Sequence[int | None], sizes: Sequence[int | None]) -> list[bool]:
        """Tell of each member whether it is to be written: its name, and its CRC-32 and size where they are known."""
        if self._options.dry_run:
            return [False] * len(names)
        if self.takes_all:
            if "\n." not in "\n".join(["", *names]):
                return [True] * len(names)
            return [not _is_ours(name) for name in names]
        return [self._one(*member) for member in zip(names, crcs, sizes, strict=True)]

    def _one(self, name: str, crc: int | None, size: int | None) -> bool:
        if _is_ours(name) or (self._takes is not None and not self._takes(name)):
            return False
        if self._is_new:
            return True
        record = self._files.get(name)
        if self._options.once:
            return self._tree.status(name) is None
        if self._options.force or record is None or crc != record.crc or size != record.size:
            return True
        if self._tree.obstacle(name):
            return True
        status = self._tree.status(name)
        if status is None or not stat.S_ISREG(status.st_mode) or not record.fits(status):
            return True
        self.settled.add(name)
        return False


def _is_ours(name: str) -> bool:
    return name[0] == "." and name.partition("/")[0].casefold() == FOLDER
