"""Symlinks: put one at a place, and lose nothing that stands there."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colab_magics.core.common import drive
from colab_magics.core.common.files import LONGEST_TARGET
from colab_magics.core.common.results import LinkResult
from colab_magics.core.common.settings import Settings
from colab_magics.errors import LayoutError

__all__ = ["free_name", "symlink"]

# What a file system that has no symlinks answers: vfat and exFAT EPERM, FUSE ENOSYS or EOPNOTSUPP.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}


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

    Examples
    --------
    >>> from pathlib import Path
    >>> from colab_magics import core
    >>> Path("dataset").mkdir()
    >>> core.symlink("dataset", "proj/data/input")
    proj/data/input -> dataset
    """
    settings = settings or Settings.load()
    shown = Path(os.fspath(link).rstrip("/") or "/")
    target = Path(os.path.abspath(drive.expand(source, settings)))
    place = Path(os.path.abspath(drive.expand(shown, settings)))
    if target in {place, Path(os.path.realpath(place.parent), place.name)}:
        raise LayoutError(f"{str(shown)!r} would point to itself; give another place, or another source")
    if target.is_relative_to(place) and not place.is_symlink():
        raise LayoutError(f"the source lies inside {str(shown)!r}, which the link would replace; give another place")
    on_drive = os.fspath(source).startswith("drive:")
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
        file = next(above for above in place.parents if above.exists())
        raise LayoutError(f"{str(file)!r} is a file, and the link needs a folder there; move it away") from None
    if stat.S_ISLNK(status.st_mode):
        return None
    if stat.S_ISDIR(status.st_mode):
        return "a folder with content" if any(place.iterdir()) else None
    if stat.S_ISREG(status.st_mode) and status.st_size <= LONGEST_TARGET and _holds_target(place, target):
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
        if error.errno in _NO_LINKS:
            raise LayoutError(
                f"{str(link)!r} cannot be linked: the file system there has no symlinks; put it elsewhere, or copy"
            ) from None
        # The name of the file that was tried is our own, beside the link's place.
        where = error.filename and str(Path(os.fsdecode(error.filename)).parent)
        raise LayoutError(f"{str(link)!r} cannot be linked: {error.strerror or error} in {where!r}") from None
