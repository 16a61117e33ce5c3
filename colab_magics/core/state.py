"""What a sync leaves in DEST: the manifest, the journal, the backups; and the lock that guards them.

Everything lies in ``DEST/.colab_magics/``, but the lock: DEST may not exist yet, so locks lie in the user's
cache folder under a digest of DEST's real path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from colab_magics.core.layout import free_name
from colab_magics.core.progress import SILENT, Progress

__all__ = ["FOLDER", "Journal", "Manifest", "Record", "backup_place", "locked", "write_whole"]

#: The folder inside DEST that holds what we keep.
FOLDER = ".colab_magics"

_VERSION = 1
_JOURNAL, _MANIFEST, _WORK = "journal.json", "manifest.json", "work"


@dataclass(frozen=True)
class Record:
    """A file as a sync left it.

    Attributes
    ----------
    size : int
        Length in bytes.
    mtime_ns : int
        Its time stamp on this disk, in nanoseconds. With the size it says whether somebody changed the file.
    crc : int
        CRC-32 of the content.
    origin : {'folder', 'file', 'found'}
        Written by the sync of a folder or of a file link, or found there with the same content.
    """

    size: int
    mtime_ns: int
    crc: int
    origin: str = "folder"

    def fits(self, status: os.stat_result) -> bool:
        """Tell whether the file on disk is still the one that was recorded."""
        return status.st_size == self.size and status.st_mtime_ns == self.mtime_ns


@dataclass
class Manifest:
    """What is known of a DEST.

    Attributes
    ----------
    files : dict of str to Record
        Each file that syncs wrote or found, by its POSIX path below DEST.
    folders : list of str
        Folders that syncs made.
    links : dict of str to dict
        For each link (by its identity) the members that it held and the selection they were taken with;
        an entry exists only once a sync of that link was complete.
    """

    files: dict[str, Record] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    links: dict[str, dict[str, object]] = field(default_factory=dict)

    @classmethod
    def load(cls, dest: Path) -> Manifest:
        """Read DEST's manifest; a missing or unreadable one is an empty one, so the worst case is more work."""
        try:
            data = json.loads((dest / FOLDER / _MANIFEST).read_text("utf-8"))
            if data["version"] != _VERSION:
                return cls()
            files = {name: Record(*record) for name, record in data["files"].items()}
            return cls(files, list(data["folders"]), dict(data["links"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def dump(self) -> bytes:
        """Return the manifest as the bytes of its file."""
        files = {name: [r.size, r.mtime_ns, r.crc, r.origin] for name, r in self.files.items()}
        data = {"version": _VERSION, "links": self.links, "folders": self.folders, "files": files}
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    def save(self, dest: Path) -> None:
        """Write the manifest of DEST, whole or not at all."""
        write_whole(dest / FOLDER / _MANIFEST, self.dump())


@dataclass
class Journal:
    """The moves that bring a proved sync into an existing DEST.

    It is written to disk before the first move, so that a run which dies among them is completed by the next:
    each move can be made twice.

    Attributes
    ----------
    folders : list of str
        Folders to make.
    removals : list of (str, Record)
        Files that go, unless they are no longer as recorded.
    backups : list of (str, str)
        What is moved out of the way, and where to; both below DEST.
    moves : list of str
        Files that come from the work folder.
    manifest : Manifest
        What is true of DEST afterwards.
    """

    folders: list[str] = field(default_factory=list)
    removals: list[tuple[str, Record]] = field(default_factory=list)
    backups: list[tuple[str, str]] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    manifest: Manifest = field(default_factory=Manifest)

    def commit(self, dest: Path) -> None:
        """Make the moves; what was staged lies in ``work_folder(dest) / 'tree'``."""
        work = work_folder(dest)
        write_whole(work / _MANIFEST, self.manifest.dump())
        steps = {
            "folders": self.folders,
            "removals": [[name, r.size, r.mtime_ns] for name, r in self.removals],
            "backups": self.backups,
            "moves": self.moves,
        }
        write_whole(dest / FOLDER / _JOURNAL, json.dumps(steps).encode())
        _replay(dest)


def recover(dest: Path) -> bool:
    """Complete what a run that died had proved and begun to move in, and clear what it had not.

    Returns
    -------
    bool
        Whether there was something to complete.
    """
    begun = (dest / FOLDER / _JOURNAL).is_file()
    if begun:
        _replay(dest)
    shutil.rmtree(work_folder(dest), ignore_errors=True)
    shutil.rmtree(sibling_folder(dest), ignore_errors=True)
    return begun


def _replay(dest: Path) -> None:
    journal = dest / FOLDER / _JOURNAL
    work = work_folder(dest)
    steps = json.loads(journal.read_text("utf-8"))
    for name, size, mtime_ns in steps["removals"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if Record(size, mtime_ns, 0).fits((dest / name).lstat()):
                (dest / name).unlink()
    for name, place in steps["backups"]:
        source, target = dest / name, dest / place
        if os.path.lexists(source) and not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
    _drop_empty(dest, {os.path.dirname(name) for name, _, _ in steps["removals"]})
    for name in steps["folders"]:
        (dest / name).mkdir(parents=True, exist_ok=True)
    for name in steps["moves"]:
        source, target = work / "tree" / name, dest / name
        if os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir() and not target.is_symlink():
                target.rmdir()  # an empty one: one with content was moved to the backups
            source.replace(target)
    if (work / _MANIFEST).is_file():
        (work / _MANIFEST).replace(dest / FOLDER / _MANIFEST)
    journal.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def _drop_empty(dest: Path, folders: set[str]) -> None:
    for folder in sorted(folders, key=len, reverse=True):
        while folder:
            try:
                (dest / folder).rmdir()
            except OSError:
                break
            folder = os.path.dirname(folder)


def work_folder(dest: Path) -> Path:
    """Return where a sync into an existing DEST downloads and stages: on the same file system."""
    return dest / FOLDER / _WORK


def sibling_folder(dest: Path) -> Path:
    """Return where a sync into a new DEST downloads and stages: beside it, to become it in one rename."""
    return dest.with_name(f".{dest.name}{FOLDER}")


def backup_place(dest: Path, name: str) -> str:
    """Return where the user's version of `name` goes, below DEST; an earlier backup is never replaced."""
    place = free_name(dest / FOLDER / "backup" / name)
    return place.relative_to(dest).as_posix()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or the next run, sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        raise


@contextmanager
def locked(dest: Path, progress: Progress = SILENT, *, shown: str = "") -> Iterator[bool]:
    """Hold DEST's lock; of two runs into one DEST the second waits.

    The lock is the kernel's own (``flock``), so that of a process that died is free at once.

    Yields
    ------
    bool
        Whether another run was waited for.
    """
    digest = hashlib.sha256(os.path.realpath(dest).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    lock = FileLock(_lock_folder() / f"{digest}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
        waited = False
    except Timeout:
        progress.say(f"waiting for another sync into {shown or dest} to end")
        lock.acquire()
        waited = True
    try:
        yield waited
    finally:
        lock.release()


def _lock_folder() -> Path:
    mine = Path(tempfile.gettempdir()) / f"colab_magics-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    for folder in (user_cache_path("colab_magics") / "locks", mine):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    return Path(tempfile.gettempdir())
