"""Looks for a secret where it must not be: arguments, environments and files, in every form that the mask knows."""

from __future__ import annotations

import os
import sys
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path

from colab_magics.masking.forms import forms
from colab_magics.sandbox import package

# Everything that a build script can see: its own environment and arguments, and those of all that started it.
_SPY = """
import os as _os
def _spy():
    pid = _os.getpid()
    with open({place!r}, "ab") as out:
        while pid > 1 and pid != {stop}:
            for name in ("cmdline", "environ"):
                if not (name == "environ" and _os.stat(f"/proc/{{pid}}").st_uid != _os.getuid()):
                    with open(f"/proc/{{pid}}/{{name}}", "rb") as source:
                        out.write(source.read() + b"\\n")
            with open(f"/proc/{{pid}}/stat") as source:
                parent = int(source.read().rpartition(")")[2].split()[1])
            if {deep} or pid == _os.getpid():
                pid = parent
            else:
                break
_spy()
"""


def spying(name: str, place: Path, **kwargs: object) -> dict[str, str]:
    """Return the files of a package whose build writes down all that it can see, up to this process."""
    files = package(name, **kwargs)  # type: ignore[arg-type]
    files["_build.py"] += _SPY.format(place=str(place), stop=os.getpid(), deep=False)
    return files


def wrap_git(folder: Path, place: Path) -> None:
    """Put a git into `folder` that writes down its arguments and its environment before it does its work."""
    script = folder / "git"
    script.write_text(
        f"#!{sys.executable} -IS\n"
        "import os, sys\n"
        f"with open({str(place)!r}, 'ab') as out:\n"
        "    out.write(os.fsencode(repr(sys.argv) + repr(dict(os.environ))) + b'\\n')\n"
        "path = os.environ.get('PATH', '').split(':')\n"
        f"os.environ['PATH'] = ':'.join(part for part in path if part != {str(folder)!r})\n"
        "os.execvp('git', sys.argv)\n"
    )
    script.chmod(0o755)


class Watch:
    """While it is open, looks at the arguments and environments of all processes but those that may know the secret.

    Parameters
    ----------
    secret : str
        What must not be there.
    knowing : iterable of int
        Processes that were started with the secret in their environment by the test itself.
    """

    def __init__(self, secret: str, knowing: Iterable[int] = ()) -> None:
        self.forms = forms(secret)
        self.knowing = {os.getpid(), *knowing}
        self.found: list[str] = []
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:  # noqa: PYI034 - nothing inherits from it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.002):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                # A child that has not come to its exec yet still shows its parent's.
                if int(pid) in self.knowing or _words(pid) in map(_words, self.knowing):
                    continue
                for name in ("cmdline", "environ"):
                    try:
                        text = Path("/proc", pid, name).read_bytes()
                    except OSError:
                        continue
                    if name == "cmdline":
                        self.seen.add(text.replace(b"\0", b" ").decode(errors="replace"))
                    if any(form in text for form in self.forms):
                        self.found.append(f"{name} of {pid}")


def _words(pid: int | str) -> bytes:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def leaks(secret: str, *places: Path, but: Iterable[Path] = ()) -> list[str]:
    """List the files under `places` that hold the secret in any form, wheels' members among them."""
    wanted, known, found = forms(secret), {path.resolve() for path in but}, []
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.resolve() in known:
                continue
            contents = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents += [archive.read(name) for name in archive.namelist()]
            if any(form in content for content in contents for form in wanted):
                found.append(str(path))
    return found
