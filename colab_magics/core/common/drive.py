"""The drive: where it is, mounting it, and ``drive:`` paths."""

from __future__ import annotations

import importlib
import os
import threading
from pathlib import Path

from colab_magics.core.common import environment
from colab_magics.core.common.settings import Settings
from colab_magics.errors import LayoutError

__all__ = ["drive_root", "expand", "find_drive", "mount_drive"]

_DRIVE = "drive:"
_COLAB_MOUNTPOINT = "/content/drive"
_mounted: list[Path] = []  # the root of what `mount_drive` mounted last: it may be elsewhere than usual


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

    Examples
    --------
    >>> from colab_magics import core
    >>> core.expand("drive:exp1/working", core.Settings.load(drive_root="."))
    PosixPath('exp1/working')
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

    Examples
    --------
    >>> from pathlib import Path
    >>> from colab_magics import core
    >>> core.mount_drive(settings=core.Settings(drive_root=Path.cwd())) == Path.cwd()
    True
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


def _no_drive(settings: Settings) -> str:
    where = environment.detect(override=settings.env)
    if where == "colab":
        return "Google Drive is not mounted; run %mount_drive first (or set drive_root to another folder)"
    return f"there is no Google Drive on {where}; set drive_root (COLAB_MAGICS_DRIVE_ROOT) to the folder to use as one"
