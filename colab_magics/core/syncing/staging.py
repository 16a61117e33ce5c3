"""A proved archive -> new files beside DEST -> DEST: all of them, or none."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import repeat
from pathlib import Path

from colab_magics.core.archives.members import PIECE, Archive, Member, clamped
from colab_magics.core.archives.stream.parts import UnstreamableError
from colab_magics.core.archives.stream.streaming import Stream
from colab_magics.core.archives.stream.table import Table
from colab_magics.core.common.attributes import is_no_folder_rename, set_mode, set_mtime, symlink
from colab_magics.core.common.bulk import uncollected
from colab_magics.core.common.cancellation import Stopped, check, committing
from colab_magics.core.common.disk import check_writable, size_text
from colab_magics.core.http.client import Received
from colab_magics.core.http.partial import clear_but_part
from colab_magics.core.syncing.decision import Decision
from colab_magics.core.syncing.journal import Journal, is_pending, places_for
from colab_magics.core.syncing.manifest import (
    FOLDER,
    MANIFEST,
    Manifest,
    Record,
    dump_columns,
    sibling_path,
    work_path,
    write_whole,
)
from colab_magics.errors import ArchiveError, Interrupted, LinkError, TransferError

__all__ = ["OneFile", "bring_all", "bring_in", "stage", "work_folder"]


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
    """

    def __init__(self, name: str, path: Path, received: Received) -> None:
        mtime = received.answer.mtime if received.answer.mtime is not None else time.time()
        self.path = path
        self.members = [Member(name, "file", received.size, received.crc, clamped(mtime))]

    def read(self, _member: Member) -> Iterator[bytes]:
        """Yield the content in pieces."""
        with self.path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


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


def stage(archive: Archive, decision: Decision, work: Path, *, keep: bool) -> dict[str, Record]:
    """Write what is new into ``work/tree``, and prove every other member too.

    Parameters
    ----------
    archive : Archive
        What the link holds.
    decision : Decision
        What is written.
    work : Path
        The folder to write in.
    keep : bool
        False proves all members and writes none.

    Returns
    -------
    dict of str to Record
        The files that were written.
    """
    if isinstance(archive, Stream):
        if keep:
            return _staged(archive, decision, work / "tree")
        archive.finish()
        return {}
    wanted = {member.name for member in decision.written} if keep else set()
    records: dict[str, Record] = {}
    for member in archive.members:
        check()
        if member.name not in wanted:
            for _ in archive.read(member) if member.kind == "file" else ():
                check()
            continue
        place = work / "tree" / member.name
        with _distinct(member):
            place.parent.mkdir(parents=True, exist_ok=True)
            if member.kind == "link":
                symlink(member.target or "", place, member.name)
                continue
            _write(archive, member, place)
        origin = "file" if isinstance(archive, OneFile) else "folder"
        records[member.name] = Record(member.size, _finished(place, member), member.crc, origin)
    return records


@uncollected()
def _staged(stream: Stream, decision: Decision, tree: Path) -> dict[str, Record]:
    """Complete what was written on its way: rights, and away with what is not needed."""
    written = {member.name for member in decision.written}
    if not written.isdisjoint(stream.skipped):
        raise UnstreamableError("a file in DEST was changed meanwhile")
    root = os.fspath(tree)
    arrived = [member for member in stream.members if member.kind == "file" and member.name not in stream.skipped]
    files = arrived
    if len(arrived) != len(written):
        files = [member for member in arrived if member.name in written]
    names = [member.name for member in files]
    stamps = [int(member.mtime) * 1_000_000_000 for member in files]
    records = _records(files, names, stamps)
    stream.finish()  # what stands above was done beside the last of it
    if len(arrived) != len(written):
        for member in arrived:
            if member.name not in written:
                os.unlink(f"{root}/{member.name}")
    for member in files:
        if member.executable:
            _make_executable(tree / member.name)
    if files and os.stat(f"{root}/{names[0]}").st_mtime_ns != stamps[0]:
        # This disk keeps time stamps in its own way.
        records = _records(files, names, [os.stat(f"{root}/{name}").st_mtime_ns for name in names])
    return records


def _records(files: list[Member], names: list[str], stamps: list[int]) -> dict[str, Record]:
    rows = zip([member.size for member in files], stamps, [member.crc for member in files], repeat("folder"))
    return dict(zip(names, map(partial(tuple.__new__, Record), rows), strict=True))


@uncollected()
def bring_all(root: Path, work: Path, stream: Stream, table: Table, links: dict[str, dict[str, object]]) -> None:
    """Make a DEST of all that came: what `decide`, `stage` and `bring_in` do of files that are all new.

    Parameters
    ----------
    root : Path
        DEST, which is not there.
    work : Path
        The folder that was staged in.
    stream : Stream
        What came.
    table : Table
        Its members.
    links : dict of str to dict
        What the manifest says of the link.
    """
    tree = work / "tree"
    folders = sorted(set(table.folders))

    def manifest(stamps: array[int]) -> bytes:
        numbers = table.sizes, stamps, table.crcs
        return dump_columns(links, folders, table.names, *numbers, "d" * len(table.names))

    data = manifest(table.stamps)
    stream.finish()
    for name in table.folders:
        os.makedirs(tree / name, exist_ok=True)
    if table.names and os.stat(tree / table.names[0]).st_mtime_ns != table.stamps[0]:
        # This disk keeps time stamps in its own way.
        data = manifest(array("q", [os.stat(tree / name).st_mtime_ns for name in table.names]))
    write_whole(tree / FOLDER / MANIFEST, data)
    with committing():
        tree.rename(root)


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


def _write(archive: Archive, member: Member, place: Path) -> None:
    if isinstance(archive, OneFile):
        archive.path.rename(place)
        return
    with place.open("xb") as file:
        for piece in archive.read(member):
            check()
            file.write(piece)


def _finished(place: Path, member: Member) -> int:
    """Give a new file its rights and its time stamp; return that as the disk keeps it, in nanoseconds."""
    if member.executable:
        _make_executable(place)
    mtime_ns = int(member.mtime) * 1_000_000_000
    set_mtime(place, mtime_ns)
    return place.stat().st_mtime_ns


def _make_executable(place: Path) -> None:
    mode = stat.S_IMODE(place.stat().st_mode)
    set_mode(place, mode | (mode & 0o444) >> 2)  # who may read it may run it


def _keep_mode(old: Path, new: Path, *, executable: bool) -> None:
    """Give a file the rights of the one that it replaces."""
    set_mode(new, stat.S_IMODE(old.lstat().st_mode))
    if executable:
        _make_executable(new)


@contextmanager
def _distinct(member: Member) -> Iterator[None]:
    """On a disk that folds names, as those of Windows and macOS do, two members can be one file."""
    try:
        yield
    except FileExistsError:
        raise ArchiveError(
            f"the archive's member {member.name!r} has the name of another one on this disk, which does not tell "
            "upper from lower case; nothing was written: rename one of them, or choose another disk"
        ) from None
