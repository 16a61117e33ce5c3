"""Zip archives, as PKWARE's APPNOTE 6.3 describes them, in the dialect that Dropbox speaks.

That is: a first entry called ``/``, everything deflated and followed by a data descriptor, folders after the
files in them, modes without type bits.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import BinaryIO

from colab_magics.core.archives import directory
from colab_magics.core.archives.directory import Entry, Row
from colab_magics.core.archives.members import PIECE, Member, Target, check_link, checked, moment_of, safe_or_none
from colab_magics.core.archives.names import UTF8, decoded
from colab_magics.core.archives.tree import Tree
from colab_magics.core.archives.unpacker import METHODS, Unpacker
from colab_magics.core.common.cancellation import check
from colab_magics.core.common.files import LONGEST_TARGET
from colab_magics.errors import ArchiveError

__all__ = ["HEADER", "Found", "Zip", "path_of"]

#: A member's header as it stands before its content.
HEADER = struct.Struct("<4s5H3L2H")

_PART = rb"[^\\/:\0\x80-\xff]{0,62}[^\\/:.\0\x80-\xff]"
_USUAL = re.compile(_PART + rb"(?:/" + _PART + rb"){0,9}/?")  # a name that is safe as it stands
_ENCRYPTED = 0x1
_MARKED_END = 0x2  # of LZMA: the content says itself where it ends


#: A member that was unpacked as it came, before the directory: its name, CRC-32, packed and unpacked size as they stand
#: beside its content; its path (None: it has none, or a bad one that nobody asked for); the time stamp of its file in
#: nanoseconds; whether it was written.
Found = tuple[bytes, int, int, int, str | None, int, bool]


class Zip:
    """A zip, of which the first members may have been unpacked before.

    Parameters
    ----------
    file : BinaryIO
        The zip, or what follows those members; the directory at least.
    start : int
        Where in the zip the file begins, in bytes.
    found : dict of int to Found
        Those members, by their offset.
    tree : Tree
        Where they lie and the others go.
    target : Target
        As for every archive.

    Attributes
    ----------
    members, settled
        See `Archive`.
    """

    def __init__(self, file: BinaryIO, start: int, found: dict[int, Found], tree: Tree, target: Target) -> None:
        self._file, self._start, self._tree, self._target = file, start, tree, target
        self.settled: AbstractSet[str] = target.choice.settled
        members: dict[str, Member] = {}
        here: dict[str, tuple[Entry, Member]] = {}
        self._compare(file, found, members, here)
        self._unpack(here)
        self.members = [self._with_target(each) if each.kind == "link" else each for each in members.values()]

    def _compare(
        self,
        file: BinaryIO,
        found: dict[int, Found],
        members: dict[str, Member],
        here: dict[str, tuple[Entry, Member]],
    ) -> None:
        """Read the directory and compare it with what was found: what the zip holds, and what is to be unpacked yet."""
        start, target, tree = self._start, self._target, self._tree
        rows, _ = directory.read_entries(file, start, target.shown)
        _check_overlaps(rows)
        for row in rows:
            arrived = None
            if row[0] >= start:
                name, _ = path_of(row[1], row[5], row[9], target)
            else:
                arrived = found.pop(row[0], None)
                if arrived is None or arrived[:4] != row[1:5]:
                    raise _contradiction(row[1])
                name = arrived[4]
            if name is None:
                continue
            member = self._member(name, row)
            if name in members:  # as `unzip -o`: of two members with one name, the last stays
                del members[name]
                here.pop(name, None)
                tree.remove(name)
            members[name] = member
            if arrived is None or not row[4]:
                here[name] = Entry._make(row), member
            elif arrived[6]:
                tree.written.add(name)
                if int(member.mtime) * 1_000_000_000 != arrived[5]:
                    tree.restamp(member)
        for *_, stale, _, written in found.values():
            if written and stale not in members:
                tree.remove(stale or "")
        checked(list(members.values()), target.choice.takes)

    def materialise(self, wanted: Collection[str]) -> None:
        """Make just the files and symlinks called `wanted` stand in the folder that was unpacked to."""
        self._tree.materialise(self.members, wanted)

    def _member(self, name: str, row: Row) -> Member:
        _, raw, crc, _, size, _, _, mode, time, extra = row
        mtime, kind = moment_of(time, extra), stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            return Member(name, "link", size, crc, mtime)
        if kind == stat.S_IFDIR or raw.endswith((b"/", b"\\")):
            return Member(name, "folder", 0, 0, mtime)
        if kind not in {0, stat.S_IFREG} and self._target.choice.takes(name):
            raise ArchiveError(
                f"the archive's member {name!r} is a device or pipe; nothing was written: leave it out where it was "
                "shared, or with --exclude"
            )
        # Dropbox gives every entry mode 0744 without type bits: that says nothing about running it.
        return Member(name, "file", size, crc, mtime, kind != 0 and bool(mode & stat.S_IXUSR))

    def _with_target(self, member: Member) -> Member:
        """Read where a symlink points, which is its content."""
        is_long = member.size > LONGEST_TARGET and self._target.choice.takes(member.name)
        if not is_long and member.name not in self._tree.written:
            return member
        content = self._tree.path(member.name).read_bytes() if not is_long else bytes(LONGEST_TARGET + 1)
        text = content.decode("utf-8", "surrogateescape")
        check_link(member.name, text)
        return member._replace(target=text)

    def _unpack(self, members: dict[str, tuple[Entry, Member]]) -> None:
        """Unpack what is in the file; what was not asked for is not looked at."""
        choice, asked = self._target.choice, []
        for name, (entry, member) in members.items():
            if member.kind == "folder" or not choice.takes(name):
                continue
            if entry.flags & _ENCRYPTED:
                raise ArchiveError(f"the archive's member {name!r} is encrypted; share it without a zip password")
            if entry.method not in METHODS:
                raise ArchiveError(
                    f"the archive's member {name!r} cannot be unpacked here: it is packed in a way (method "
                    f"{entry.method}) that is rare; share it as an older kind, or leave it out with --exclude"
                )
            asked.append((entry, member, choice.writes(name, entry.crc, entry.size)))
        budget = self._target.budget
        budget.expect(sum(entry.size for entry, _, write in asked if write), sum(entry.packed for entry, _, _ in asked))
        with self._tree.unpacker() as unpacker:
            for entry, member, write in asked:
                self._tree.written.update([member.name] if write else [])
                self._read(entry, member, unpacker, write=write)

    def _read(self, entry: Entry, member: Member, unpacker: Unpacker, *, write: bool) -> None:
        if not entry.size and entry.offset < self._start:  # it had nothing to be unpacked
            unpacker.begin(member.name, write, 0, int(member.mtime) * 1_000_000_000)
            unpacker.end(entry.crc, 0)
            return
        self._file.seek(entry.offset - self._start)
        head = self._file.read(HEADER.size)
        if len(head) < HEADER.size or head[:4] != b"PK\x03\x04":
            raise _contradiction(entry.name)
        names, extras = struct.unpack_from("<2H", head, HEADER.size - 4)
        if self._file.read(names) != entry.name:
            raise _contradiction(entry.name)
        self._file.seek(extras, os.SEEK_CUR)
        left, header = entry.packed, b""
        if entry.method == 14:  # two bytes of version, the length of the properties, they themselves
            properties = self._file.read(9)
            left -= len(properties)
            size = -1 if entry.flags & _MARKED_END else entry.size
            header = properties[4:] + struct.pack("<q", size)
        moment = int(member.mtime) * 1_000_000_000
        unpacker.begin(member.name, write, entry.method, moment, header)
        while left > 0 and (piece := self._file.read(min(PIECE, left))):
            check()
            left -= len(piece)
            unpacker.part(memoryview(piece))
        unpacker.end(entry.crc, entry.size)


def path_of(raw: bytes, flags: int, extra: bytes, target: Target) -> tuple[str | None, bool]:
    """Return where a member lies, as `safe_or_none` does, and whether its name is a folder's."""
    if _USUAL.fullmatch(raw) and (target.names is None or flags & UTF8) and target.top is None:
        return raw.decode().removesuffix("/"), raw.endswith(b"/")
    name = decoded(raw, flags, extra, target.names)
    above, slash, below = name.partition("/")
    if slash and target.top is not None and above.casefold() == target.top.casefold():
        name = below or slash
    is_folder = name.endswith(("/", "\\"))
    return safe_or_none(name, target.choice.takes, is_folder=is_folder), is_folder


def opened(path: Path, target: Target) -> Zip:
    """Unpack the zip at `path`."""
    with path.open("rb") as file, Tree(target) as tree:
        return Zip(file, 0, {}, tree, target)


def _check_overlaps(rows: list[Row]) -> None:
    """Refuse members that share their bytes, as in archives that are made to fill disks."""
    end = 0
    for offset, name, _, packed, *_ in sorted(rows):
        if offset < end:
            raise ArchiveError(
                f"the archive's member {name.decode('utf-8', 'replace')!r} shares its content with another, as "
                "in an archive that is made to fill disks; nothing was written: ask for one that is whole"
            )
        end = offset + HEADER.size + len(name) + packed


def _contradiction(raw: bytes) -> ArchiveError:
    name = raw.decode("utf-8", "replace")
    return ArchiveError(
        f"the archive's member {name!r} is damaged (its directory says something else of it); nothing was written: "
        "run it again to fetch it anew"
    )
