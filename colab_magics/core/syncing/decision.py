"""What a sync will do to each file: a decision that touches nothing, so that it can be tested without a disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from colab_magics.core.archives.members import Member
from colab_magics.core.common.files import FOLDER
from colab_magics.core.common.selection import Selection
from colab_magics.core.syncing.manifest import Manifest, Record

__all__ = ["Decision", "Tree", "decide"]


class Tree(Protocol):
    """What a decision needs to know of DEST as it is."""

    def status(self, name: str) -> os.stat_result | None:
        """Return what stands at `name` itself (a link is not followed), or None."""

    def crc(self, name: str) -> int:
        """Return the CRC-32 of a file's content."""

    def obstacle(self, name: str) -> tuple[str, bool] | None:
        """Return the first parent of `name` that is no folder, and whether it is a symlink."""

    def target(self, name: str) -> str:
        """Return where the symlink `name` points."""

    def names(self, folder: str) -> set[str]:
        """Return the names in a folder, as the disk has them."""

    def below(self, name: str) -> tuple[list[str], list[str]]:
        """Return all that is in the folder `name`: what is no folder, and the folders, each before its parent."""


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
    standing : list of str
        Folders that the archive holds and that are there.
    backups : list of str
        What is moved out of the way because the user made or changed it.
    removals : list of (str, Record)
        What goes: with ``--mirror`` what the link no longer holds, and what stands in the place of another kind.
    drops : list of str
        Folders that go too if they are empty then.
    removed : list of str
        What the link no longer holds and ``--mirror`` takes away, the user's versions (see `backups`) among it.
    seen : dict of str to (int, int)
        Size in bytes and time stamp in nanoseconds of what is replaced, to notice when it changes meanwhile.
    left : list of str
        Members that are left alone because a symlink stands at or above their place.
    """

    added: list[Member] = field(default_factory=list)
    updated: list[Member] = field(default_factory=list)
    unchanged: list[Member] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    removals: list[tuple[str, Record]] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def written(self) -> list[Member]:
        """Every member whose content is written."""
        return self.added + self.updated

    def drop(self, names: Container[str]) -> None:
        """Forget members that cannot be written."""
        self.added = [member for member in self.added if member.name not in names]
        self.updated = [member for member in self.updated if member.name not in names]

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
    settled: AbstractSet[str] = frozenset(),
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
    settled : set of str, optional
        Members that were looked at already: DEST holds them just as the manifest says, and so does the link.

    Returns
    -------
    Decision
    """
    selection = selection or Selection()
    mind = _Mind(tree, manifest, once=once, force=force)
    held: set[str] = set()
    folders: set[str] = {""}
    takes = selection.takes if selection != Selection() else None
    unchanged = mind.made.unchanged
    for member in members:
        name = member.name
        if mirror:
            held.add(name)
            if name.rpartition("/")[0] not in folders:
                folders.update(_ancestors(name, folders))
            if member.kind == "folder":
                folders.add(name)
        if name in settled:
            unchanged.append(member)
        elif (name[0] == "." and name.partition("/")[0].casefold() == FOLDER) or (takes and not takes(name)):
            continue
        elif mind.way_is_free(name):
            mind.place(member)
    if mirror:
        mind.remove_all_but(held, folders)
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
        mode = status.st_mode if status else 0
        if status is None:
            self._fresh(member)
        elif stat.S_ISLNK(mode):
            if member.kind == "link" and self.tree.target(member.name) == member.target:
                self.made.unchanged.append(member)
            else:
                self.made.left.append(member.name)
        elif member.kind == "file" and stat.S_ISREG(mode):
            self._compare(member, status)
        elif member.kind == "folder" and stat.S_ISDIR(mode):
            self.made.standing.append(member.name)
        elif self.once:
            self.made.left.append(member.name)
        else:
            self._clear(member.name)
            self._fresh(member)

    def _fresh(self, member: Member) -> None:
        if member.kind == "folder":
            self.made.folders.append(member.name)
        else:
            self.made.added.append(member)

    def _clear(self, name: str) -> None:
        """Make room: what the user made or changed goes to the backups, what is just as a sync left it may go."""
        if name in self._cleared:
            return
        self._cleared.add(name)
        status = self.tree.status(name)
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        names, folders = self.tree.below(name) if is_folder else ([name], [])
        removals = [self._removal(each) for each in names]
        if all(removals):
            self.made.removals += [removal for removal in removals if removal]
            self.made.drops += [*folders, name] if is_folder else []
        else:
            self.made.backups.append(name)

    def _removal(self, name: str) -> tuple[str, Record] | None:
        """Return what takes `name` away, if it is a file just as a sync wrote it."""
        record, status = self.manifest.files.get(name), self.tree.status(name)
        if record is None or record.origin == "found" or status is None or not stat.S_ISREG(status.st_mode):
            return None
        same = (record.fits(status) and not self.force) or (
            status.st_size == record.size and self.tree.crc(name) == record.crc
        )
        return (name, Record(record.size, status.st_mtime_ns, record.crc, record.origin)) if same else None

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
        else:
            self.made.seen[name] = (status.st_size, status.st_mtime_ns)

    def _is_same(self, name: str, other: str) -> bool:
        """Tell whether two names that differ in case only are one file, as on a disk that folds names."""
        parent = ""
        for part, twin in zip(name.split("/"), other.split("/"), strict=True):
            if part != twin and not {part, twin} <= self.tree.names(parent):
                return True
            parent = f"{parent}/{part}" if parent else part
        return False

    def remove_all_but(self, held: set[str], folders: set[str]) -> None:
        folded = {name.casefold(): name for name in held}
        for name, record in self.manifest.files.items():
            if name in held or record.origin != "folder" or name in self._cleared or self.tree.obstacle(name):
                continue
            status = self.tree.status(name)
            if status is None or not stat.S_ISREG(status.st_mode):
                continue
            other = folded.get(name.casefold())
            if other and self._is_same(name, other):
                continue
            self.made.removed.append(name)
            removal = self._removal(name)
            if removal:
                self.made.removals.append(removal)
            else:
                self.made.backups.append(name)
        emptied: set[str] = set()
        for name in self.made.removed:
            emptied |= _ancestors(name, emptied)
        for name in sorted({*emptied, *self.manifest.folders} - folders, key=len, reverse=True):
            status = None if self.tree.obstacle(name) else self.tree.status(name)
            if status and stat.S_ISDIR(status.st_mode):
                self.made.drops.append(name)


def _ancestors(name: str, known: set[str]) -> set[str]:
    """Return the folders above `name`, up to the first that is in `known`."""
    found: set[str] = set()
    while (name := name.rpartition("/")[0]) and name not in known:
        found.add(name)
    return found
