"""The parts of exported scripts: shell functions, in files that a shell and shellcheck can read as they are."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

__all__ = ["functions", "needed"]

_FUNCTION = re.compile(r"((?:^#[^\n]*\n)*)^(\w+)\(\) (?:\{|\()\n(.*?)^[)}]\n", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^@(\w+\.py)@\n", re.MULTILINE)
_BEFORE = r"(?:^|[|&;({!]|\b(?:if|elif|else|then|while|until|do))"
_COMMAND = re.compile(rf"{_BEFORE}[ \t]*(?=(\w+)(?:$|[\s);]))", re.MULTILINE)
_FILES = (
    "base.sh",
    "paths.sh",
    "run.sh",
    "symlink.sh",
    "keep.sh",
    "secrets.sh",
    "links.sh",
    "fetch.sh",
    "archive.sh",
    "merge.sh",
    "sync.sh",
    "install.sh",
)


@cache
def functions() -> dict[str, str]:
    """Return every function's text, with the comment above it, by its name and in the order of the files."""
    folder = resources.files(__name__)

    def program(match: re.Match[str]) -> str:
        return (folder / match[1]).read_text("utf-8")

    texts = "\n".join((folder / name).read_text("utf-8") for name in _FILES)
    # The functions are found first: a program inside one may look like another.
    return {match[2]: _PYTHON.sub(program, match[0]) for match in _FUNCTION.finditer(texts)}


def needed(text: str, further: dict[str, str] | None = None) -> list[str]:
    """Return the functions that a script's text calls, and those that they call in turn.

    Parameters
    ----------
    text : str
        What calls them.
    further : dict of str to str, optional
        Functions made for this script.

    Returns
    -------
    list of str
        Their texts, in the order in which they are kept here.
    """
    known = {**functions(), **(further or {})}
    found: set[str] = set()
    pending = [text]
    while pending:
        calls = {match[1] for match in _COMMAND.finditer(pending.pop())} & known.keys()
        pending += [known[name] for name in calls - found]
        found |= calls
    return [body for name, body in known.items() if name in found]
