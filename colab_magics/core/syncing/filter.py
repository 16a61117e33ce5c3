"""Which members of an archive are worth writing as they arrive; what becomes of them is decided afterwards."""

from __future__ import annotations

import stat
from pathlib import Path

from colab_magics.core.common.files import FOLDER, LONGEST_TARGET
from colab_magics.core.common.selection import Selection
from colab_magics.core.syncing.disktree import DiskTree
from colab_magics.core.syncing.manifest import Manifest
from colab_magics.core.syncing.options import Options

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
        self._selects = options.selection.takes if options.selection != Selection() else None

    def takes(self, name: str) -> bool:
        """Tell whether a member was asked for at all: not if it would lie in our own folder, or was left out."""
        if name[:1] == "." and name.partition("/")[0].casefold() == FOLDER:
            return False
        return self._selects is None or self._selects(name)

    def writes(self, name: str, crc: int | None, size: int | None) -> bool:
        """Tell whether it is to be written, from its CRC-32 and its size as far as they are known."""
        if self._options.dry_run:  # only what may turn out to be a symlink, whose target is looked at
            return size is not None and size <= LONGEST_TARGET
        if self._is_new:
            return True
        if self._options.once:
            return self._tree.status(name) is None
        record = self._files.get(name)
        if self._options.force or record is None or crc != record.crc or size != record.size:
            return True
        if self._tree.obstacle(name):
            return True
        status = self._tree.status(name)
        if status is None or not stat.S_ISREG(status.st_mode) or not record.fits(status):
            return True
        self.settled.add(name)
        return False
