"""What this process has imported and an installation replaces; and making what is new importable at once."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

__all__ = ["Print", "activate", "imported", "stale"]

#: What tells two contents of a file apart: a digest, or where that would cost too much its size and time.
Print = tuple[int, int] | bytes

_LARGEST = 1 << 20  # bytes of a file that is read to tell whether it changed
_SOURCES = {".py", ".pyi"}


def imported(folders: Iterable[Path] = ()) -> dict[str, tuple[str, Print]]:
    """List the modules that this process has imported from where installations go.

    Parameters
    ----------
    folders : iterable of Path
        Further folders that the installation may change: clones that are developed in place.

    Returns
    -------
    dict of str to (str, Print)
        For each module its file, and what that file is now.
    """
    roots = tuple(f"{os.path.realpath(root)}{os.sep}" for root in {*_site_folders(), *map(str, folders)})
    found: dict[str, tuple[str, Print]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not os.path.realpath(file).startswith(roots):
            continue
        if (print_ := _print(file)) is not None:
            found[name] = file, print_
    return found


def stale(before: Mapping[str, tuple[str, Print]], changed: Iterable[str]) -> list[str]:
    """Name the imported modules that are older than what is installed now.

    Parameters
    ----------
    before : mapping
        What `imported` returned before the installation.
    changed : iterable of str
        The distributions that it changed.

    Returns
    -------
    list of str
        Packages rather than each of their modules.
    """
    names = {name for name, (file, print_) in before.items() if _print(file) != print_}
    for distribution in changed:
        for top in _top_names(distribution):
            file = getattr(sys.modules.get(top), "__file__", None)
            # It lay elsewhere when it was imported: in a clone, in the working folder.
            if file and (origin := _origin(top)) and not _same(origin, file):
                names.add(top)
    # setuptools' finder of an editable installation is nobody's package.
    return sorted({_package(name) for name in names if not name.startswith("__editable__")})


def activate(names: Iterable[str]) -> None:
    """Make distributions that were installed a moment ago importable in this process.

    Python reads the user's own site-packages folder and every ``.pth`` file only when it starts; an editable
    installation needs its ``.pth`` file.
    """
    importlib.invalidate_caches()
    user = site.getusersitepackages()
    if site.ENABLE_USER_SITE and os.path.isdir(user) and user not in sys.path:
        site.addsitedir(user)
    for name in names:
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.suffix == ".pth":
                place = Path(str(file.locate()))
                site.addpackage(str(place.parent), place.name, None)
    importlib.invalidate_caches()


def _site_folders() -> set[str]:
    found = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return found | ({site.getusersitepackages()} if site.ENABLE_USER_SITE else set())


def _print(file: str) -> Print | None:
    try:
        status = os.stat(file)
        if os.path.splitext(file)[1] in _SOURCES and status.st_size <= _LARGEST:
            with open(file, "rb") as source:
                return hashlib.blake2b(source.read(), digest_size=16).digest()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _top_names(name: str) -> set[str]:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return set()
    paths = [file for file in files if file.suffix == ".py" and not file.parts[0].startswith("..")]
    return {path.parts[0] if len(path.parts) > 1 else path.stem for path in paths}


def _origin(top: str) -> str | None:
    try:
        spec = importlib.machinery.PathFinder.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec else None


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _package(name: str) -> str:
    """Return the outermost package around a module that is no mere namespace: those belong to several projects."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        outer = ".".join(parts[:length])
        if getattr(sys.modules.get(outer), "__file__", None):
            return outer
    return name
