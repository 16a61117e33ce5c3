"""A zip that is unpacked while it arrives: its members are written beside DEST, and checked against its directory.

Nothing of it counts before the directory, which comes last, agrees with every member that was found on the way.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from array import array
from collections.abc import Iterator
from itertools import compress
from pathlib import Path

from colab_magics.core.archives.members import Member, checked, moment_of
from colab_magics.core.archives.stream import central_directory
from colab_magics.core.archives.stream.central_directory import Entry
from colab_magics.core.archives.stream.parts import Facts, UnstreamableError
from colab_magics.core.archives.stream.pipeline import Reception, Wants
from colab_magics.core.archives.stream.table import Table
from colab_magics.core.archives.stream.unpacker import BOMB
from colab_magics.core.common.bulk import uncollected
from colab_magics.core.common.disk import check_ratio
from colab_magics.core.common.progress import Progress
from colab_magics.core.http.body import Response as Body
from colab_magics.errors import ArchiveError

__all__ = ["Stream"]

_NAMES_CLASH = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


class Stream:
    """Takes a zip off a connection; afterwards it is an archive whose members lie in a folder.

    Parameters
    ----------
    tree : Path
        The folder. It is made, and emptied before each try.
    wants : Wants or None
        Whether a member is to be written; None: each is.
    shown : str
        What messages call the archive.
    progress : Progress
        Hears of the bytes.

    Attributes
    ----------
    table : Table or None
        Every member, once the whole zip has proved good, if it is one of plain files.
    skipped : set of str
        The names of those that were not written.
    settled : set of str
        For whoever decides what to write: members that DEST holds already, just as they are.
    is_done : bool
        Whether there was a zip that could be taken.
    """

    def __init__(self, tree: Path, wants: Wants | None, shown: str, progress: Progress) -> None:
        self.is_done = False
        self.table: Table | None = None
        self._members: list[Member] | None = None
        self.skipped: set[str] = set()
        self.settled = wants.settled if wants is not None else set()
        self._untimely: list[Member] = []  # those whose header and directory name different times
        self._tree, self._wants, self._shown, self._progress = tree, wants, shown, progress
        self._reception: Reception | None = None

    def take(self, body: Body) -> int:
        """Take all of it; return how many bytes it was. The last of them may still be on their way to the disk.

        Raises
        ------
        UnstreamableError
            When only its directory can tell what it holds; nothing of it counts then.
        ArchiveError, OSError
            When it is bad, or the disk refuses it.
        """
        self.close()
        shutil.rmtree(self._tree, ignore_errors=True)
        self._tree.mkdir(parents=True)
        self.settled.clear()
        self._untimely.clear()
        self._members = None
        self._reception = reception = Reception(body, self._tree, self._wants, self._progress)
        try:
            received = reception.run(self._prove)
            size = sum(reception.splitter.facts.sizes)
            reception.forget()
            self._check()
        except BaseException:
            self.close()
            raise
        self.skipped = reception.skipped
        check_ratio(received, size, self._shown)
        self.is_done = True
        return received

    def finish(self) -> None:
        """Return when all of it is written.

        Raises
        ------
        UnstreamableError, ArchiveError, OSError
            As `take` does.
        """
        if self._reception is not None:
            self._reception.finish()
            self._check()
            self.close()
            for member in self._untimely:
                if member.name not in self.skipped:
                    os.utime(self._tree / member.name, (member.mtime, member.mtime))

    def close(self) -> None:
        """End the work on it, done or not."""
        if self._reception is not None:
            self._reception.close()
            self._reception = None

    def _check(self) -> None:
        if self._reception is not None and self._reception.problem:
            raise _meaning(self._reception.problem)

    def read(self, _member: Member) -> Iterator[bytes]:
        """Yield nothing: what this archive holds is written, or was proved and not wanted."""
        return iter(())

    @property
    def members(self) -> list[Member]:
        """Every member, once the whole zip has proved good."""
        if self._members is None and self.table is not None:
            self._members = _distinct(self.table.members())
        return self._members or []

    @uncollected()
    def _prove(self, reception: Reception) -> None:
        """Read the directory and compare it with what was found."""
        splitter = reception.splitter
        if splitter.tail_start is None or len(splitter.facts) != len(reception.names):
            raise UnstreamableError("it is cut")
        self.table = _table(reception)
        if self.table is None:
            self._members = _distinct(self._one_by_one(reception))

    def _one_by_one(self, reception: Reception) -> list[Member]:
        """Return the members of any directory that says the same as was found, in its own order."""
        splitter, names, members = reception.splitter, reception.names, list[Member]()
        for count, entry in enumerate(central_directory.entries(splitter.tail, splitter.tail_start or 0)):
            number = count
            if count >= len(names) or splitter.facts.offsets[count] != entry.offset:
                number = _elsewhere(splitter.facts, entry)
            if splitter.facts.of(number) != (entry.offset, entry.name, entry.crc, entry.packed, entry.size):
                raise UnstreamableError("its directory says something else")
            name = names[number]
            if name is not None:
                member = _member(name, entry)
                members.append(member)
                if member.kind == "file" and int(member.mtime) * 1_000_000_000 != reception.moments[number]:
                    self._untimely.append(member)
        if len(members) + names.count(None) != len(names):
            raise UnstreamableError("its directory holds other members")
        return members


def _table(reception: Reception) -> Table | None:
    """Return the members in columns if the directory is the one that follows from them, as that of a folder link is."""
    splitter, names = reception.splitter, reception.names
    facts = splitter.facts
    mode = central_directory.foreseen(splitter.tail, splitter.tail_start or 0, facts)
    if mode is None or stat.S_IFMT(mode) not in {0, stat.S_IFREG} or _is_executable(mode):
        return None
    folders = [name for number in sorted(reception.folders) if (name := names[number]) is not None]
    chosen = bytearray(b"\1") * len(names)
    for number in reception.folders:
        chosen[number] = 0
    files = [name for name in compress(names, chosen) if name is not None]
    if len(files) + len(reception.folders) != len(names):
        return None
    sizes, crcs = compress(facts.sizes, chosen), compress(facts.crcs, chosen)
    return Table(files, array("Q", sizes), array("I", crcs), array("q", compress(reception.moments, chosen)), folders)


def _distinct(members: list[Member]) -> list[Member]:
    if len({member.name for member in members}) != len(members):
        raise UnstreamableError("two members have one name")
    return checked(members)


def _elsewhere(facts: Facts, entry: Entry) -> int:
    """Return the number of a member that does not stand at the same place in the directory as in the zip."""
    # Such zips are rare and small: a look at all of them for each is fine.
    try:
        return facts.offsets.index(entry.offset)
    except ValueError:
        raise UnstreamableError("its directory says something else") from None


def _member(name: str, entry: Entry) -> Member:
    kind = stat.S_IFMT(entry.mode)
    mtime = moment_of(entry.time, entry.extra)
    if entry.name.endswith((b"/", b"\\")):
        return Member(name, "folder", 0, 0, mtime)
    if kind not in {0, stat.S_IFREG}:
        raise UnstreamableError("it has members that are no files")
    return Member(name, "file", entry.size, entry.crc, mtime, _is_executable(entry.mode))


def _is_executable(mode: int) -> bool:
    # Dropbox gives every entry mode 0744 without type bits: that says nothing about running it.
    return bool(stat.S_IFMT(mode)) and bool(mode & stat.S_IXUSR)


def _meaning(problem: list[str]) -> Exception:
    """Return what to raise for a problem of those who unpack."""
    kind, what, reason = problem
    if kind == "disk":
        if int(what) in _NAMES_CLASH:
            return UnstreamableError("two members have one name")
        return OSError(int(what), reason)
    if reason == BOMB:
        return ArchiveError(
            f"the archive's member {what!r} grows beyond all measure, as an archive does that is made to fill disks; "
            "nothing was written: set COLAB_MAGICS_MAX_RATIO higher if that is right"
        )
    # What looked like a member's end may have been part of its content: the directory decides.
    return UnstreamableError(f"{what!r}: {reason}")
