"""Looks for a secret where it must not be: arguments, environments and files, in every encoding that the mask knows."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from colab_magics.masking.patterns.encodings import encodings
from colab_magics.sandbox.packages import package

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Watch", "find_secret", "spying_package"]

# What a build script can see: its own arguments and environment, and what proc(5) shows of those that started it.
_SPY = """
import os as _os


def _spy():
    pid = _os.getpid()
    with open({place!r}, "ab") as out:
        while pid not in (0, 1, {stop}):
            for name in ("cmdline", "environ") if pid == _os.getpid() else ("cmdline",):
                with open(f"/proc/{{pid}}/{{name}}", "rb") as source:
                    out.write(source.read() + b"\\n")
            with open(f"/proc/{{pid}}/stat") as source:
                pid = int(source.read().rpartition(")")[2].split()[1])


_spy()
"""


def spying_package(name: str, place: Path, **kwargs: object) -> dict[str, str]:
    """Write a project whose build writes down all that it can see.

    Parameters
    ----------
    name : str
        The distribution's name.
    place : Path
        The file that its build appends to: its environment, and the arguments of every process above it up to this one.
    **kwargs
        As `colab_magics.sandbox.package` takes them.

    Returns
    -------
    dict of str to str
        POSIX path relative to the project's folder -> text.
    """
    files = package(name, **kwargs)  # type: ignore[arg-type]
    files["_build.py"] += _SPY.format(place=str(place), stop=os.getpid())
    return files


class Watch:
    """While it is open, looks at the arguments and environments of all processes but those that may know a secret.

    Parameters
    ----------
    secret : str
        What must not be there.
    knowing : iterable of int
        Processes that were started with the secret in their environment on purpose.

    Attributes
    ----------
    found : list of str
        Where it was.
    seen : set of str
        The arguments of every process that was looked at, as one text each.
    """

    def __init__(self, secret: str, knowing: Iterable[int] = ()) -> None:
        self.found: list[str] = []
        self.seen: set[str] = set()
        self._encodings = encodings(secret)
        self._knowing = {os.getpid(), *knowing}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.004):  # often enough for most, and a processor is left for what is watched
            for pid in filter(str.isdigit, os.listdir("/proc")):
                words = _read(pid, "cmdline")
                # A child that has not come to its exec yet still shows its parent's.
                if int(pid) in self._knowing or words in (_read(known, "cmdline") for known in self._knowing):
                    continue
                self.seen.add(words.replace(b"\0", b" ").decode(errors="replace"))
                for name, text in (("arguments", words), ("environment", _read(pid, "environ"))):
                    if any(encoding in text for encoding in self._encodings):
                        self.found.append(f"the {name} of process {pid}")


def find_secret(secret: str, *places: Path, but: Iterable[Path] = ()) -> list[str]:
    """List the files that hold a secret in any encoding.

    Parameters
    ----------
    secret : str
        What must not be there.
    *places : Path
        Files, and folders with all that is below them; the members of wheels are looked at too.
    but : iterable of Path, optional
        Files that may hold it.

    Returns
    -------
    list of str
    """
    wanted, known, found = encodings(secret), {path.resolve() for path in but}, []
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.resolve() in known:
                continue
            contents = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents += [archive.read(name) for name in archive.namelist()]
            if any(encoding in content for content in contents for encoding in wanted):
                found.append(str(path))
    return found


def _read(pid: int | str, name: str) -> bytes:
    try:
        return Path("/proc", str(pid), name).read_bytes()
    except OSError:
        return b""
