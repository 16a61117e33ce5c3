"""Symlinks and ``drive:`` paths: where things lie on this machine."""

from __future__ import annotations

import importlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from colab_magics.core.common import environment
from colab_magics.core.common.settings import Settings
from colab_magics.errors import LayoutError

__all__ = ["LinkResult", "drive_root", "expand", "find_drive", "free_name", "mount_drive", "symlink"]

_DRIVE = "drive:"
_COLAB_MOUNTPOINT = "/content/drive"
_LONGEST_TARGET = 4096  # bytes; PATH_MAX on Linux
_mounted: list[Path] = []  # the root of what `mount_drive` mounted last: it may be elsewhere than usual


@dataclass
class LinkResult:
    """What `symlink` did.

    Attributes
    ----------
    path : Path
        Where the link stands.
    target : Path
        What it points to, absolute.
    status : {'linked', 'up-to-date', 'planned'}
        Whether the link was made, stood already, or would be made.
    backup : Path or None
        Where what stood in its place was moved.
    """

    path: Path
    target: Path
    status: str
    backup: Path | None = None

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        moved = f" (what stood there is now {self.backup})" if self.backup else ""
        state = {"linked": "", "up-to-date": ": up to date", "planned": ": would be linked"}[self.status]
        here = Path.cwd()
        target = self.target.relative_to(here) if here in self.target.parents else self.target
        return f"{self.path} -> {target}{state}{moved}"


def expand(path: str | os.PathLike[str], settings: Settings) -> Path:
    """Turn what a person typed into a path: ``drive:PATH`` and ``~`` are resolved.

    Parameters
    ----------
    path : str or path-like
        What was typed.
    settings : Settings
        Says where the drive is.

    Returns
    -------
    Path

    Raises
    ------
    LayoutError
        When it is on the drive and there is none, or leaves the drive.
    """
    text = os.fspath(path)
    if not text.startswith(_DRIVE):
        return Path(os.path.expanduser(text))
    root = drive_root(settings)
    below = os.path.normpath(text[len(_DRIVE) :].lstrip("/") or ".")
    if below == ".." or below.startswith("../"):
        raise LayoutError(f"{text!r} leaves the drive; give a path under drive:")
    return root / below


def find_drive(settings: Settings) -> Path | None:
    """Return the drive's root where there is one: the configured folder, or Colab's mounted Drive."""
    if settings.drive_root is not None:
        return settings.drive_root
    if environment.detect(override=settings.env) != "colab":
        return None
    return next((root for root in (*_mounted, Path(_COLAB_MOUNTPOINT, "MyDrive")) if root.is_dir()), None)


def drive_root(settings: Settings) -> Path:
    """Return the drive's root.

    Raises
    ------
    LayoutError
        When there is none; says how to get one.
    """
    root = find_drive(settings)
    if root is None:
        raise LayoutError(_no_drive(settings))
    if not root.is_dir():
        raise LayoutError(f"the drive folder {str(root)!r} does not exist; correct drive_root, or make the folder")
    return root


def mount_drive(mountpoint: str | None = None, *, dry_run: bool = False, settings: Settings | None = None) -> Path:
    """Mount Google Drive where there is one.

    Parameters
    ----------
    mountpoint : str, optional
        Where to mount it, by default ``/content/drive``.
    dry_run : bool, optional
        Change nothing, and return the path that a mount would give.
    settings : Settings, optional
        By default read from the environment.

    Returns
    -------
    Path
        The root of the drive: ``MOUNTPOINT/MyDrive`` on Colab, elsewhere the configured folder.

    Raises
    ------
    LayoutError
        When there is no drive here, or Colab could not mount it.

    Notes
    -----
    ``google.colab.drive.mount`` asks for consent before it looks whether the drive is mounted, so the look
    comes first here. It must run in the main thread.
    """
    settings = settings or Settings.load()
    here = environment.detect(override=settings.env) == "colab"
    # A configured folder that is there needs no mount; on Colab one that is not may lie inside the drive.
    if settings.drive_root is not None and (not here or settings.drive_root.is_dir()):
        return drive_root(settings)
    if not here:
        raise LayoutError(_no_drive(settings))
    where = Path(os.path.abspath(os.path.expanduser(mountpoint or _COLAB_MOUNTPOINT)))
    root = where / "MyDrive"
    if dry_run:
        return settings.drive_root or root
    if not root.is_dir():
        _mount(where, root)
    _mounted[:] = [root]
    return drive_root(settings)


def _mount(where: Path, root: Path) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise LayoutError("Colab mounts Drive in the main thread only; run mount_drive in a cell of its own, first")
    try:
        drive = importlib.import_module("google.colab.drive")
    except ImportError:
        raise LayoutError("google.colab cannot be imported here; set drive_root to the folder to use as one") from None
    try:
        drive.mount(str(where))
    except (ValueError, NotImplementedError) as error:
        raise LayoutError(f"Colab cannot mount Drive at {str(where)!r}: {error}") from None
    except Exception as error:  # MessageError is a plain Exception
        if type(error).__name__ != "MessageError":
            raise
        raise LayoutError(
            f"Drive was not mounted ({error}); run the cell again and allow the access it asks for"
        ) from None
    if not root.is_dir():
        raise LayoutError(f"Drive is mounted at {str(where)!r}, but has no MyDrive; mount it once by hand and look")


def symlink(
    source: str | os.PathLike[str],
    link: str | os.PathLike[str],
    *,
    force: bool = False,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> LinkResult:
    """Put a symlink at `link` that points to `source`.

    Parents are made. A link that stands there is replaced, and so are an empty folder and a small file that
    holds a link's target, which is what a synced folder can leave in a link's place. The link is never put
    *inside* a folder. A missing source on the drive is made; any other missing source is an error.

    Parameters
    ----------
    source : str or path-like
        What the link points to; relative to the working folder, not to the link.
    link : str or path-like
        Where the link stands.
    force : bool, optional
        Move what stands in the way to a backup beside it.
    dry_run : bool, optional
        Change nothing.
    settings : Settings, optional
        By default read from the environment.

    Returns
    -------
    LinkResult

    Raises
    ------
    LayoutError
        When the source is missing, something with content stands at `link`, or the place is not writable.
    """
    settings = settings or Settings.load()
    shown = Path(os.fspath(link).rstrip("/") or "/")
    target = Path(os.path.abspath(expand(source, settings)))
    place = Path(os.path.abspath(expand(shown, settings)))
    if target in {place, Path(os.path.realpath(place.parent), place.name)}:
        raise LayoutError(f"{str(shown)!r} would point to itself; give another place, or another source")
    if target.is_relative_to(place) and not place.is_symlink():
        raise LayoutError(f"the source lies inside {str(shown)!r}, which the link would replace; give another place")
    on_drive = os.fspath(source).startswith(_DRIVE)
    if not on_drive and not dry_run and not os.path.lexists(target):
        raise LayoutError(f"the source {os.fspath(source)!r} does not exist; correct it, or make it first")

    if place.is_symlink() and Path(os.path.abspath(place.parent / os.readlink(place))) == target and target.exists():
        return LinkResult(shown, target, "up-to-date")
    obstacle = _obstacle(place, target)
    if obstacle and not force:
        raise LayoutError(
            f"{str(shown)!r} is {obstacle}; move it away, or use --force to keep it as a backup beside it"
        )
    if dry_run:
        return LinkResult(shown, target, "planned")
    with _told(shown):
        if on_drive and not os.path.lexists(target):
            target.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        backup = free_name(place.with_name(place.name + ".backup")) if obstacle else None
        _put(place, target, backup)
    return LinkResult(shown, target, "linked", backup and shown.with_name(backup.name))


def _put(place: Path, target: Path, backup: Path | None) -> None:
    """Put the link at its place, moving what stands there to `backup`; on failure all is as before."""
    # Beside its place first, then over it in one step: where a link stood, there is no moment without one.
    fresh = free_name(place.with_name(f".{place.name}.link"))
    fresh.symlink_to(target)
    try:
        if backup:
            place.rename(backup)
        elif place.is_dir() and not place.is_symlink():
            place.rmdir()
        try:
            fresh.replace(place)
        except BaseException:
            if backup:
                backup.rename(place)
            raise
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def free_name(path: Path) -> Path:
    """Return `path`, or the first of ``path.~1~``, ``path.~2~``, ... at which nothing stands (as ``cp`` numbers)."""
    candidate, number = path, 0
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}.~{number}~")
    return candidate


def _obstacle(place: Path, target: Path) -> str | None:
    """Say what stands at `place` that must not be lost, or None when it can give way."""
    try:
        status = place.lstat()
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise LayoutError(f"a file stands where {str(place.parent)!r} needs a folder; move it away") from None
    if stat.S_ISLNK(status.st_mode):
        return None
    if stat.S_ISDIR(status.st_mode):
        return "a folder with content" if any(place.iterdir()) else None
    if stat.S_ISREG(status.st_mode) and status.st_size <= _LONGEST_TARGET and _holds_target(place, target):
        return None
    return "a file with content of its own"


def _holds_target(place: Path, target: Path) -> bool:
    """Tell whether a small file is what a synced folder leaves in a link's place: the link's target as text."""
    try:
        text = place.read_bytes().decode().strip("\0\r\n")
    except (OSError, UnicodeDecodeError):
        return False
    if not text or len(text.splitlines()) != 1 or "://" in text or "\0" in text:
        return False
    if Path(text).name == target.name:
        return True
    # "./train.sh --fast" is somebody's script, not the target of a link.
    return text.startswith(("/", "./", "../", "~/")) and not re.search(r"\s-", text)


@contextmanager
def _told(link: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise LayoutError(f"{str(link)!r} cannot be linked: {error.strerror or error}{where}") from None


def _no_drive(settings: Settings) -> str:
    where = environment.detect(override=settings.env)
    if where == "colab":
        return "Google Drive is not mounted; run %mount_drive first (or set drive_root to another folder)"
    return f"there is no Google Drive on {where}; set drive_root (COLAB_MAGICS_DRIVE_ROOT) to the folder to use as one"
