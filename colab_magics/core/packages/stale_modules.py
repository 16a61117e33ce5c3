"""What this process has imported and an installation replaces; and making what is new importable at once."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from colab_magics.core.packages.installed import Dist

__all__ = ["Fingerprint", "activate", "activate_user_site", "imported", "is_hidden", "stale"]

#: What tells two contents of a file apart: a digest, or where that would cost too much its size and time.
Fingerprint = tuple[int, int] | bytes

_LARGEST = 1 << 20  # bytes of a file that is read to tell whether it changed
_SOURCES = {".py", ".pyi"}
_FINDER = re.compile(r"__editable__.*_finder\.py")


def imported(folders: Iterable[Path] = ()) -> dict[str, tuple[str, Fingerprint]]:
    """List the modules that this process has imported from where installations go.

    Parameters
    ----------
    folders : iterable of Path
        Further folders that the installation may change: clones that are developed in place.

    Returns
    -------
    dict of str to (str, Fingerprint)
        For each module its file, and what that file is now.
    """
    roots = _roots({*_site_folders(), *map(str, folders)})
    found: dict[str, tuple[str, Fingerprint]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _is_in(file, roots) and (print_ := _fingerprint(file)) is not None:
            found[name] = file, print_
    return found


def stale(
    imported: Mapping[str, tuple[str, Fingerprint]], before: Mapping[str, Dist], after: Mapping[str, Dist]
) -> list[str]:
    """Name the imported modules that are older than what is installed now.

    Parameters
    ----------
    imported : mapping
        What `imported` returned before the installation.
    before, after : mapping
        What was installed then, and what is installed now.

    Returns
    -------
    list of str
        Packages rather than each of their modules.
    """
    roots = _roots(_left(before, after))
    names = {name for name, (file, print_) in imported.items() if _fingerprint(file) != print_ or _is_in(file, roots)}
    for dist in after.values():
        for top in dist.tops if before.get(dist.key) != dist else ():
            file = getattr(sys.modules.get(top), "__file__", None)
            # It lay elsewhere when it was imported: in a clone, in the working folder.
            if file and (origin := _origin(top)) and os.path.realpath(origin) != os.path.realpath(file):
                names.add(top)
    # setuptools' finder of an editable installation is nobody's package.
    return sorted({_package(name) for name in names if not name.startswith("__editable__")})


def _left(before: Mapping[str, Dist], after: Mapping[str, Dist]) -> list[Path]:
    """Return the folders that a distribution was developed in and now is not: what is imported from there is old."""
    pairs = ((dist.folder, after.get(key)) for key, dist in before.items() if dist.editable)
    return [old for old, dist in pairs if old and dist and not (dist.editable and dist.folder == old)]


def activate_user_site() -> None:
    """Make the user's own site-packages folder count in this process, where it was made after Python started."""
    importlib.invalidate_caches()
    user = site.getusersitepackages()
    if site.ENABLE_USER_SITE and os.path.isdir(user) and user not in sys.path:
        before = list(sys.path)
        site.addsitedir(user)
        # A fresh Python has it before the interpreter's own, which it may hide.
        own = min((before.index(folder) for folder in _site_folders() if folder in before), default=len(before))
        sys.path[:] = [*before[:own], *(path for path in sys.path if path not in before), *before[own:]]


def activate(before: Mapping[str, Dist], after: Mapping[str, Dist]) -> None:
    """Make distributions that were installed in place a moment ago importable in this process.

    Python reads ``.pth`` files only when it starts. A folder that was imported as an empty namespace, in place of the
    package that it holds, is forgotten; one that a distribution was developed in before counts last.
    """
    news = [dist for key, dist in after.items() if dist.editable and before.get(key) != dist]
    places = [Path(str(file.locate())) for dist in news for file in dist.files]
    _forget_finders({place.stem for place in places})
    for place in places:
        if place.suffix == ".pth":
            site.addpackage(str(place.parent), place.name, None)
    old, new = _roots(_left(before, after)), _roots(dist.folder for dist in news if dist.folder)
    sys.path.sort(key=lambda path: path != "" and _is_in(path, old) > _is_in(path, new))
    importlib.invalidate_caches()
    for top in (top for dist in news for top in dist.tops):
        module = sys.modules.get(top)
        if module is not None and getattr(module, "__file__", None) is None and _origin(top):
            for known in [known for known in sys.modules if known == top or known.startswith(f"{top}.")]:
                del sys.modules[known]


def _forget_finders(names: Container[str]) -> None:
    """Forget setuptools' finders of these names, and those of distributions that are gone: their folders are others."""
    for name, module in list(sys.modules.items()):
        if _FINDER.fullmatch(f"{name}.py") and (name in names or not os.path.exists(str(module.__file__))):
            del sys.modules[name]
            sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") != name]
            sys.path_hooks[:] = [hook for hook in sys.path_hooks if getattr(hook, "__module__", "") != name]


def is_hidden(dist: Dist) -> bool:
    """Tell whether a folder in the working folder hides a package that is installed in place.

    setuptools' finder is asked after the path, where any folder of the package's name is a namespace.
    """
    has_finder = any(_FINDER.fullmatch(file.name) for file in dist.files)
    return has_finder and any(Path(top).is_dir() and not Path(top, "__init__.py").exists() for top in dist.tops)


def _site_folders() -> set[str]:
    found = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return found | ({site.getusersitepackages()} if site.ENABLE_USER_SITE else set())


def _roots(folders: Iterable[str | Path]) -> tuple[str, ...]:
    return tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in folders)


def _is_in(path: str, roots: tuple[str, ...]) -> bool:
    return f"{os.path.realpath(path)}{os.sep}".startswith(roots)


def _fingerprint(file: str) -> Fingerprint | None:
    try:
        status = os.stat(file)
        if os.path.splitext(file)[1] in _SOURCES and status.st_size <= _LARGEST:
            with open(file, "rb") as source:
                return hashlib.blake2b(source.read(), digest_size=16).digest()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _origin(top: str) -> str | None:
    try:
        spec = importlib.machinery.PathFinder.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec else None


def _package(name: str) -> str:
    """Return the outermost package around a module that is no mere namespace: those belong to several projects."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        outer = ".".join(parts[:length])
        if getattr(sys.modules.get(outer), "__file__", None):
            return outer
    return name
