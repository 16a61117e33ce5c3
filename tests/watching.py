"""Writes down what git is started with, call by call: a look at processes from outside may miss short ones."""

from __future__ import annotations

import sys
from pathlib import Path


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
