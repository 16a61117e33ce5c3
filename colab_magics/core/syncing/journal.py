"""The moves that bring a proved sync into an existing DEST, so that a run which dies among them is completed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_magics.core.archives.members import safe_name
from colab_magics.core.common.attributes import move
from colab_magics.core.common.files import FOLDER, UNFINISHED, write_whole
from colab_magics.core.common.symlinks import free_name
from colab_magics.core.http.partial import clear_but_part
from colab_magics.core.syncing.manifest import MANIFEST, Manifest, Record, sibling_path, work_path
from colab_magics.errors import ArchiveError

__all__ = ["BACKUP", "Journal", "is_pending", "places_for", "recover"]

#: Where the user's versions go, below DEST.
BACKUP = f"{FOLDER}/backup"

_JOURNAL = "journal.json"
_Seen = tuple[int, int]


@dataclass
class Journal:
    """The moves.

    They are written to disk before the first is made, so that a run which dies among them is completed by the
    next: each can be made twice.

    Attributes
    ----------
    removals : list of (str, Record)
        Files that go, unless they are no longer as recorded.
    backups : list of (str, str)
        What is moved out of the way, and where to; both below DEST.
    drops : list of str
        Folders that go if they are empty then.
    folders : list of str
        Folders to make.
    moves : list of (str, (int, int) or None)
        Files that come from the work folder, and the size in bytes and time stamp in nanoseconds of what they
        replace; what is found there instead goes to the backups.
    manifest : Manifest
        What is true of DEST afterwards.
    """

    removals: list[tuple[str, Record]] = field(default_factory=list)
    backups: list[tuple[str, str]] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    moves: list[tuple[str, _Seen | None]] = field(default_factory=list)
    manifest: Manifest = field(default_factory=Manifest)

    def commit(self, dest: Path) -> None:
        """Make the moves; what was staged lies in the folder ``tree`` of `work_path` or `sibling_path`."""
        write_whole(work_path(dest) / MANIFEST, self.manifest.dump())
        steps = {
            "removals": [[name, r.size, r.mtime_ns] for name, r in self.removals],
            "backups": self.backups,
            "drops": self.drops,
            "folders": self.folders,
            "moves": self.moves,
        }
        write_whole(dest / FOLDER / _JOURNAL, json.dumps(steps).encode())
        _replay(dest, steps)


def is_pending(dest: Path) -> bool:
    """Tell whether a run died among its moves."""
    return (dest / FOLDER / _JOURNAL).is_file()


def recover(dest: Path) -> bool:
    """Complete what a run that died had proved and begun to move in, and clear what it had not.

    Returns
    -------
    bool
        Whether there was something to complete.
    """
    steps = _read(dest) if is_pending(dest) else None
    if steps:
        _replay(dest, steps)
    for name in (_JOURNAL, f"{_JOURNAL}{UNFINISHED}", f"{MANIFEST}{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (dest / FOLDER / name).unlink()
    clear_but_part(work_path(dest))
    clear_but_part(sibling_path(dest))
    return steps is not None


def places_for(dest: Path, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return where the user's version of each of `names` goes, below DEST; no earlier backup is ever replaced."""
    taken: set[str] = set()
    return [(name, _place_for(dest, name, taken)) for name in names]


def _place_for(dest: Path, name: str, taken: set[str]) -> str:
    *parents, last = name.split("/")
    folder = dest / BACKUP
    for part in parents:
        folder /= part
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            folder = free_name(folder)  # an earlier backup of a file that has become a folder since
    place, number = free_name(folder / last), 0
    while str(place) in taken:
        number += 1
        place = free_name(folder / f"{last}.~{number}~")
    taken.add(str(place))
    return place.relative_to(dest).as_posix()


def _read(dest: Path) -> dict[str, Any] | None:
    """Read the journal; one that we cannot have written is none."""
    try:
        steps: dict[str, Any] = json.loads((dest / FOLDER / _JOURNAL).read_text("utf-8"))
        names = [name for kind in ("drops", "folders") for name in steps[kind]]
        names += [step[0] for kind in ("removals", "backups", "moves") for step in steps[kind]]
        names += [place for _, place in steps["backups"]]
        return steps if all(safe_name(name) == name for name in names) else None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, ArchiveError):
        return None


def _replay(dest: Path, steps: dict[str, Any]) -> None:
    root, work = os.fspath(dest), work_path(dest)
    tree = _tree(dest)
    for name, size, mtime_ns in steps["removals"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if Record(size, mtime_ns, 0).fits(os.lstat(f"{root}/{name}")):
                os.unlink(f"{root}/{name}")
    for name, place in steps["backups"]:
        if os.path.lexists(f"{root}/{name}") and not os.path.lexists(f"{root}/{place}"):
            os.makedirs(os.path.dirname(f"{root}/{place}"), exist_ok=True)
            move(f"{root}/{name}", f"{root}/{place}")
    for name in steps["drops"]:
        with contextlib.suppress(OSError):  # not empty: the user has something there
            os.rmdir(f"{root}/{name}")
    for name in steps["folders"]:
        os.makedirs(f"{root}/{name}", exist_ok=True)
    made = set[str]()
    for name, seen in steps["moves"]:
        parent = os.path.dirname(f"{root}/{name}")
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        if os.path.lexists(f"{tree}/{name}") and _made_way(dest, name, seen):
            os.replace(f"{tree}/{name}", f"{root}/{name}")
    if (work / MANIFEST).is_file():
        (work / MANIFEST).replace(dest / FOLDER / MANIFEST)
    (dest / FOLDER / _JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(sibling_path(dest), ignore_errors=True)


def _tree(dest: Path) -> str:
    """Return where the files were staged: beside DEST when that could not be moved into it."""
    inside, beside = work_path(dest) / "tree", sibling_path(dest) / "tree"
    return os.fspath(inside if inside.is_dir() else beside)


def _made_way(dest: Path, name: str, seen: _Seen | None) -> bool:
    """Look once more at what a move replaces: between decision and deed the user may have been at work."""
    place = dest / name
    try:
        status = place.lstat()
    except FileNotFoundError:
        return True
    if stat.S_ISLNK(status.st_mode):
        return False
    if stat.S_ISREG(status.st_mode) and seen and (status.st_size, status.st_mtime_ns) == tuple(seen):
        return True
    if stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(OSError):
            place.rmdir()
            return True
    [(_, kept)] = places_for(dest, [name])
    (dest / kept).parent.mkdir(parents=True, exist_ok=True)
    move(place, dest / kept)
    return True
