"""A proved archive -> new files beside DEST -> DEST: all of them, or none."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path

from colab_magics.core.archives.members import Archive, Member, clamped
from colab_magics.core.common.attributes import is_no_folder_rename, set_mode, set_mtime
from colab_magics.core.common.cancellation import Stopped, committing
from colab_magics.core.common.disk import check_writable, free_room_noted, size_text
from colab_magics.core.common.files import FOLDER
from colab_magics.core.http.client import Received
from colab_magics.core.http.partial import clear_but_part
from colab_magics.core.syncing.decision import Decision
from colab_magics.core.syncing.journal import Journal, is_pending, places_for
from colab_magics.core.syncing.manifest import Manifest, Record, sibling_path, work_path
from colab_magics.errors import Interrupted, LinkError, TransferError

__all__ = ["OneFile", "bring_in", "stage", "work_folder"]


class OneFile:
    """A content that is one file, seen as an archive of one member.

    Parameters
    ----------
    name : str
        What the file is called in DEST.
    path : Path
        Where it was downloaded to.
    received : Received
        What is known of it.
    tree : Path
        The folder that it is staged in.
    """

    def __init__(self, name: str, path: Path, received: Received, tree: Path) -> None:
        mtime = received.answer.mtime if received.answer.mtime is not None else time.time()
        self._path, self._place = path, tree / name
        self.members = [Member(name, "file", received.size, received.crc, clamped(mtime))]
        self.settled: AbstractSet[str] = frozenset()

    def materialise(self, wanted: Collection[str]) -> None:
        """Move it there if it is wanted."""
        if wanted:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._path.rename(self._place)
            set_mtime(self._place, int(self.members[0].mtime) * 1_000_000_000)


@contextmanager
def work_folder(root: Path, *, dry_run: bool) -> Iterator[Path]:
    """Yield a folder on DEST's own disk (for a dry run a temporary one) and clear it afterwards.

    It is empty, but for the part of a content that an earlier run has; when this one is cut short, what came of a
    content is left for the next.

    It lies in a DEST that exists, and beside one that does not, to become it in one rename. What was made on
    the way to it goes too, unless something else is in it by then.
    """
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="colab_magics-") as temporary:
            yield Path(temporary)
        return
    work = work_path(root) if root.is_dir() else sibling_path(root)
    made = [parent for parent in work.parents if not parent.exists() or parent.name == FOLDER]
    work.mkdir(parents=True, exist_ok=True)
    try:
        with free_room_noted(root):
            yield work
        shutil.rmtree(work, ignore_errors=True)
    except BaseException as error:
        kept = ""
        if is_pending(root):
            kept = "all of it has been received, and the next run moves in what is left"
        elif not isinstance(error, (TransferError, LinkError, KeyboardInterrupt, Stopped)):
            shutil.rmtree(work, ignore_errors=True)
        elif size := clear_but_part(work):
            kept = f"{size_text(size)} of it are kept"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(kept) from None
        if isinstance(error, Stopped):
            error.kept = kept
        raise
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def stage(archive: Archive, decision: Decision, tree: Path, origin: str) -> dict[str, Record]:
    """Make just what is new stand in `tree`.

    Parameters
    ----------
    archive : Archive
        What the link holds.
    decision : Decision
        What is written.
    tree : Path
        The folder that the archive was unpacked to.
    origin : {'folder', 'file'}
        What the link is to.

    Returns
    -------
    dict of str to Record
        The files that were written.
    """
    archive.materialise({member.name for member in decision.written})
    files = [member for member in decision.written if member.kind == "file"]
    stamps = [int(member.mtime) * 1_000_000_000 for member in files]
    # One in an odd second, if any, shows whether this disk keeps time stamps as they are: FAT has steps of two seconds.
    sample = next((number for number, stamp in enumerate(stamps) if stamp // 1_000_000_000 % 2), 0)
    if files and os.stat(tree / files[sample].name).st_mtime_ns != stamps[sample]:
        stamps = [os.stat(tree / member.name).st_mtime_ns for member in files]
    return {
        member.name: Record(member.size, stamp, member.crc, origin) for member, stamp in zip(files, stamps, strict=True)
    }


@committing()
def bring_in(root: Path, shown: str, work: Path, decision: Decision, manifest: Manifest, *, whole: bool) -> None:
    """Change DEST: a new one appears in one rename, an existing one through the journal.

    So does a new one on a file system that renames no folders.

    Parameters
    ----------
    root : Path
        DEST.
    shown : str
        What messages call it.
    work : Path
        The folder that was staged in.
    decision : Decision
        What happens.
    manifest : Manifest
        What is true afterwards.
    whole : bool
        Whether all of DEST is the link's, so that it can appear at once.
    """
    tree = work / "tree"
    if whole and not root.exists():
        tree.mkdir(exist_ok=True)
        for name in decision.folders:
            (tree / name).mkdir(parents=True, exist_ok=True)
        manifest.save(tree)
        try:
            tree.rename(root)
            return
        except OSError as error:
            if not is_no_folder_rename(error):
                raise
    root.mkdir(parents=True, exist_ok=True)
    if not decision.changes:
        manifest.save(root)
        return
    touched = [member.name for member in decision.written] + decision.folders + decision.drops + decision.backups
    touched += [name for name, _ in decision.removals]
    check_writable(root, sorted({os.path.dirname(name) for name in touched}), shown)
    for member in decision.updated:
        _keep_mode(root / member.name, tree / member.name, executable=member.executable)
    home = work_path(root)
    if home != work:
        home.parent.mkdir(exist_ok=True)
        try:
            work.rename(home)
        except OSError as error:
            if not is_no_folder_rename(error):
                raise
    Journal(
        removals=decision.removals,
        backups=places_for(root, decision.backups),
        drops=decision.drops,
        folders=decision.folders,
        moves=[(member.name, decision.seen.get(member.name)) for member in decision.written],
        manifest=manifest,
    ).commit(root)


def _make_executable(place: Path) -> None:
    mode = stat.S_IMODE(place.stat().st_mode)
    set_mode(place, mode | (mode & 0o444) >> 2)  # who may read it may run it


def _keep_mode(old: Path, new: Path, *, executable: bool) -> None:
    """Give a file the rights of the one that it replaces."""
    set_mode(new, stat.S_IMODE(old.lstat().st_mode))
    if executable:
        _make_executable(new)
