"""Git LFS: large files that a repository holds as pointers, to be fetched from beside it with the same token.

git-lfs asks git for a credential, and git asks the broker; what a pointer looks like is in git-lfs's ``docs/spec.md``.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from colab_magics.core.common import process
from colab_magics.core.common.environment import child_path

__all__ = ["FRESH", "configuration", "is_available", "pointers", "pointers_in_clone", "warning"]

#: Lets pip and uv fetch large files anew, where they keep what was built without: uv fetches them only when told, which
#: costs time where there are none.
FRESH = {"PIP_NO_CACHE_DIR": "1", "UV_GIT_LFS": "1"}
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_SIZES = range(100, 1024)  # bytes; the specification's own limit, and what a version, a digest and a size take


def is_available(path: str | None = None) -> bool:
    """Tell whether git-lfs is on the path of child processes."""
    return shutil.which("git-lfs", path=child_path() if path is None else path) is not None


def configuration(path: str, mark: Path) -> list[tuple[str, str]]:
    """Return the settings with which git fetches large files, as if ``git lfs install`` had been run.

    Parameters
    ----------
    path : str
        Where programs are looked for.
    mark : Path
        A file that is made when git comes upon a large file.

    Returns
    -------
    list of (str, str)
        Without git-lfs they leave pointers as they are: an installation of git-lfs that has gone must not make every
        clone fail.
    """
    if not is_available(path):
        return [("filter.lfs.process", ""), ("filter.lfs.smudge", ""), ("filter.lfs.required", "false")]
    # What git's -c says is left out: uv names the outer repository's address so, and git-lfs in a submodule would take
    # that for the submodule's own.
    started = f": >{shlex.quote(str(mark))}; unset GIT_CONFIG_PARAMETERS; exec git-lfs filter-process"
    return [
        ("filter.lfs.process", started),
        ("filter.lfs.smudge", "git-lfs smudge -- %f"),
        ("filter.lfs.clean", "git-lfs clean -- %f"),
        ("filter.lfs.required", "true"),
    ]


def pointers(place: str) -> list[str]:
    """List the files of an installed distribution, whose metadata is in this folder, that are no more than pointers."""
    folder = Path(place)
    try:
        rows = list(csv.reader((folder / "RECORD").read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    # It says how large each file is, so that only few are opened.
    small = (row[0] for row in rows if len(row) == 3 and row[2].isdigit() and int(row[2]) in _SIZES)
    return [name for name in small if _is_pointer(folder.parent / name)]


def pointers_in_clone(folder: Path) -> list[str]:
    """List the files of a clone's working tree that are no more than pointers."""
    done = process.run(["git", "grep", "--files-with-matches", "-e", rf"^{_POINTER.decode().strip()}$"], cwd=folder)
    return [line for line in done.output.splitlines() if _is_pointer(folder / line)] if done.status == 0 else []


def warning(label: str, files: Iterable[str], again: str = "run this again with --force") -> str:
    """Say that a package's files are pointers, and what to do."""
    names = list(files)
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    how = (
        f"git-lfs is here now, so {again}"
        if is_available()
        else f"git-lfs was not found: install it (apt install git-lfs) and {again}"
    )
    return f"{label} has {len(names)} file{'s' * (len(names) > 1)} ({shown}) whose content lies in Git LFS; {how}"


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return re.match(re.escape(_POINTER) + rb"(ext-.*\n)*oid sha256:[0-9a-f]{64}\n", file.read(1024)) is not None
    except OSError:
        return False
