"""The folder that an archive is unpacked to, before it is decided what of it goes into DEST."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from colab_magics.core.archives.members import Member, Target
from colab_magics.core.archives.unpacker import Unpacker
from colab_magics.core.common.attributes import set_mode, set_mtime, symlink
from colab_magics.core.common.cancellation import check
from colab_magics.errors import TransferError

__all__ = ["Tree"]


class Tree(AbstractContextManager["Tree"]):
    """The folder; a context manager while something is unpacked.

    Parameters
    ----------
    target : Target
        Where it is. What an earlier try has left in it is cleared away.

    Attributes
    ----------
    written : set of str
        The files that are in it.
    number : int
        Its descriptor.
    """

    def __init__(self, target: Target) -> None:
        self._root, self._target = target.tree, target
        self.written: set[str] = set()
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir(parents=True)
        target.choice.settled.clear()
        self.number = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)

    def __exit__(self, *_: object) -> None:
        os.close(self.number)

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self._root / name

    @contextmanager
    def unpacker(self) -> Iterator[Unpacker]:
        """Yield what writes into it."""
        unpacker = self.new_unpacker()
        try:
            yield unpacker
        finally:
            unpacker.close()

    def new_unpacker(self, source: memoryview | None = None) -> Unpacker:
        """Return what writes into it."""
        return Unpacker(self.number, self._target.budget, source)

    def remove(self, name: str) -> None:
        """Take away a file that turned out not to count."""
        self.written.discard(name)
        self.path(name).unlink(missing_ok=True)

    def restamp(self, member: Member) -> None:
        """Give a file the time that its archive names in the end."""
        set_mtime(self.path(member.name), int(member.mtime) * 1_000_000_000)

    def materialise(self, members: Iterable[Member], wanted: Collection[str]) -> None:
        """See `Archive`."""
        for member in members:
            name = member.name
            if member.kind == "file" and not member.executable and name in wanted and name in self.written:
                continue
            check()
            place = self._root / name
            if name not in self.written:
                if name in wanted and member.kind == "file":
                    raise TransferError(f"{name!r} was changed in the folder while it was fetched; run it again")
                if name not in wanted or member.kind != "link":
                    continue
            elif name not in wanted or member.kind == "link":
                os.unlink(place)
            if name in wanted and member.kind == "link":
                place.parent.mkdir(parents=True, exist_ok=True)
                symlink(member.target or "", place, name)
            elif name in wanted and member.executable:
                mode = stat.S_IMODE(place.stat().st_mode)
                set_mode(place, mode | (mode & 0o444) >> 2)  # who may read it may run it
