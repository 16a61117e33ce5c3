"""What a sync will do to each file: a decision that touches nothing, so that it can be tested without a disk."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from colab_magics.core.archive import PIECE, Member
from colab_magics.core.state import FOLDER, Manifest, Record

__all__ = ["Decision", "Selection", "Tree", "decide"]


@dataclass(frozen=True)
class Selection:
    """Which members are wanted.

    A pattern without a slash is matched with every part of a path, one with a slash with the path from DEST on,
    as in ``.gitignore``: ``*`` stops at a slash, ``**`` does not, and what matches a folder takes all that is in it.

    Parameters
    ----------
    include : tuple of str
        Globs of which one must match; none means all.
    exclude : tuple of str
        Globs of which none may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
        return [_compile(glob) for glob in self.include], [_compile(glob) for glob in self.exclude]

    def takes(self, name: str) -> bool:
        """Tell whether the member called `name` is wanted."""
        include, exclude = self._patterns
        if include and not any(pattern.match(name) for pattern in include):
            return False
        return not any(pattern.match(name) for pattern in exclude)


class Tree(Protocol):
    """What a decision needs to know of DEST as it is."""

    def status(self, name: str) -> os.stat_result | None:
        """Return what stands at `name` itself (a link is not followed), or None."""

    def crc(self, name: str) -> int:
        """Return the CRC-32 of a file's content."""

    def obstacle(self, name: str) -> tuple[str, bool] | None:
        """Return the first parent of `name` that is no folder, and whether it is a symlink."""

    def is_empty(self, name: str) -> bool:
        """Tell whether the folder `name` has nothing in it."""


@dataclass
class Decision:
    """What will happen.

    Attributes
    ----------
    added, updated, unchanged : list of Member
        Files (and symlinks) by what happens to them.
    records : dict of str to Record
        What is now known of files that stay as they are.
    folders : list of str
        Folders to make, since the archive holds them empty.
    backups : list of str
        What is moved out of the way because the user made or changed it.
    removals : list of (str, Record)
        What goes: with ``--mirror`` what the link no longer holds, and files that stand in a folder's place.
    left : list of str
        Members that are left alone because a symlink stands at or above their place.
    """

    added: list[Member] = field(default_factory=list)
    updated: list[Member] = field(default_factory=list)
    unchanged: list[Member] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    removals: list[tuple[str, Record]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def written(self) -> list[Member]:
        """Every member whose content is written."""
        return self.added + self.updated

    @property
    def changes(self) -> bool:
        """Whether DEST changes at all."""
        return bool(self.added or self.updated or self.folders or self.backups or self.removals)


def decide(
    members: Iterable[Member],
    tree: Tree,
    manifest: Manifest,
    *,
    selection: Selection | None = None,
    once: bool = False,
    mirror: bool = False,
    force: bool = False,
) -> Decision:
    """Decide what a sync does.

    Parameters
    ----------
    members : iterable of Member
        What the link holds.
    tree : Tree
        DEST as it is.
    manifest : Manifest
        What earlier syncs left there.
    selection : Selection, optional
        Which members are wanted; by default all.
    once : bool, optional
        Never replace a file that exists.
    mirror : bool, optional
        Remove what syncs wrote and the link no longer holds.
    force : bool, optional
        Trust contents only, not time stamps.

    Returns
    -------
    Decision
    """
    selection = selection or Selection()
    mind = _Mind(tree, manifest, once=once, force=force)
    held: set[str] = set()
    for member in members:
        held.add(member.name)
        if member.name.split("/", 1)[0] == FOLDER or not selection.takes(member.name):
            continue
        if mind.way_is_free(member.name):
            mind.place(member)
    if mirror:
        mind.remove_all_but(held)
        mind.made.folders += [m.name for m in members if m.kind == "folder" and m.name not in mind.made.folders]
    return mind.made


class _Mind:
    def __init__(self, tree: Tree, manifest: Manifest, *, once: bool, force: bool) -> None:
        self.tree, self.manifest, self.once, self.force = tree, manifest, once, force
        self.made = Decision()
        self._cleared: set[str] = set()

    def way_is_free(self, name: str) -> bool:
        """Look at the parents of `name`: a symlink is layout and stays, a file must give way to the folder."""
        above = self.tree.obstacle(name)
        if above is None or above[0] in self._cleared:
            return True
        obstacle, is_link = above
        if is_link or self.once:
            self.made.left.append(name)
            return False
        self._clear(obstacle)
        return True

    def place(self, member: Member) -> None:
        status = self.tree.status(member.name)
        if status is None:
            self._fresh(member)
        elif stat.S_ISLNK(status.st_mode):
            self.made.left.append(member.name)
        elif member.kind == "folder":
            if not stat.S_ISDIR(status.st_mode) and not self.once:
                self._clear(member.name)
                self._fresh(member)
        elif stat.S_ISREG(status.st_mode) and member.kind == "file":
            self._compare(member, status)
        elif self.once:
            self.made.left.append(member.name)
        else:
            if not (stat.S_ISDIR(status.st_mode) and self.tree.is_empty(member.name)):
                self._clear(member.name)
            self._fresh(member)

    def _fresh(self, member: Member) -> None:
        if member.kind == "folder":
            self.made.folders.append(member.name)
        else:
            self.made.added.append(member)

    def _clear(self, name: str) -> None:
        """Make room: what the user made goes to the backups, a file just as a sync left it may go."""
        if name in self._cleared:
            return
        self._cleared.add(name)
        record, status = self.manifest.files.get(name), self.tree.status(name)
        if record and status and stat.S_ISREG(status.st_mode) and self._is_ours(name, record, status):
            self.made.removals.append((name, _seen(record, status)))
        else:
            self.made.backups.append(name)

    def _compare(self, member: Member, status: os.stat_result) -> None:
        name, record = member.name, self.manifest.files.get(member.name)
        if self.once:
            self.made.unchanged.append(member)
            return
        if record and record.fits(status) and not self.force:
            crc = record.crc
        else:
            crc = self.tree.crc(name) if status.st_size == member.size or record else -1
        if status.st_size == member.size and crc == member.crc:
            self.made.unchanged.append(member)
            origin = record.origin if record else "found"
            self.made.records[name] = Record(member.size, status.st_mtime_ns, member.crc, origin)
            return
        self.made.updated.append(member)
        if not record or status.st_size != record.size or crc != record.crc:
            self.made.backups.append(name)

    def remove_all_but(self, held: set[str]) -> None:
        for name, record in self.manifest.files.items():
            if name in held or record.origin != "folder" or self.tree.obstacle(name):
                continue
            status = self.tree.status(name)
            if status is None or not stat.S_ISREG(status.st_mode) or name in self._cleared:
                continue
            if self._is_ours(name, record, status):
                self.made.removals.append((name, _seen(record, status)))
            else:
                self.made.backups.append(name)

    def _is_ours(self, name: str, record: Record, status: os.stat_result) -> bool:
        return record.fits(status) or (status.st_size == record.size and self.tree.crc(name) == record.crc)


class DiskTree:
    """DEST on a disk.

    Parameters
    ----------
    root : Path
        DEST.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._parents: dict[str, tuple[str, bool] | None] = {"": None}

    def status(self, name: str) -> os.stat_result | None:
        """Return what stands at `name` itself, or None."""
        try:
            return os.lstat(f"{self._root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def crc(self, name: str) -> int:
        """Return the CRC-32 of a file's content."""
        crc = 0
        with open(f"{self._root}/{name}", "rb") as file:
            while piece := file.read(PIECE):
                crc = zlib.crc32(piece, crc)
        return crc

    def obstacle(self, name: str) -> tuple[str, bool] | None:
        """Return the first parent of `name` that is no folder, and whether it is a symlink."""
        parent = name.rpartition("/")[0]
        if parent not in self._parents:
            above = self.obstacle(parent)
            if above is None:
                status = self.status(parent)
                if status is not None and not stat.S_ISDIR(status.st_mode):
                    above = parent, stat.S_ISLNK(status.st_mode)
            self._parents[parent] = above
        return self._parents[parent]

    def is_empty(self, name: str) -> bool:
        """Tell whether the folder `name` has nothing in it."""
        with os.scandir(f"{self._root}/{name}") as entries:
            return next(entries, None) is None


def _seen(record: Record, status: os.stat_result) -> Record:
    return Record(record.size, status.st_mtime_ns, record.crc, record.origin)


def _compile(glob: str) -> re.Pattern[str]:
    anchored = "/" in glob.rstrip("/")
    text = "" if anchored else "(?:.*/)?"
    for token in re.findall(r"\*\*/?|\*|\?|\[!?\]?[^]]*\]|.", glob.strip("/"), re.DOTALL):
        if token == "**/":
            text += "(?:.*/)?"
        elif token == "**":
            text += ".*"
        elif token in "*?":
            text += "[^/]" + ("*" if token == "*" else "")
        elif token[0] == "[" and len(token) > 1:
            text += (
                "[" + ("^" if token[1] == "!" else "") + token[1 + (token[1] == "!") : -1].replace("\\", r"\\") + "]"
            )
        else:
            text += re.escape(token)
    return re.compile(f"{text}(?:/.*)?\\Z", re.DOTALL)
