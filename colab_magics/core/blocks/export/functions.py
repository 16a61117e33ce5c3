"""The functions of exported scripts, from files that a shell and shellcheck can read as they are.

A line that ends in ``#: --mirror`` is left out of a script whose block does not use that.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

__all__ = ["needed"]

_FUNCTION = re.compile(r"(?:^#[^\n]*\n)*^(\w+)\(\) [{(]\n.*?^[})]\n", re.MULTILINE | re.DOTALL)
_MARKED = re.compile(r"^(.*?) #: ([^\n]+)\n", re.MULTILINE)
_BEFORE = r"(?:^|[|&;(){!]|\b(?:if|elif|else|then|while|until|do))"
_COMMAND = re.compile(rf"{_BEFORE}[ \t]*(?=(\w+)(?:$|[\s);]))", re.MULTILINE)
_FILES = ("base", "paths", "run", "symlink", "keep", "secrets", "fetch", "sync", "install")


@cache
def _functions() -> dict[str, str]:
    """Return every function's text, with the comment above it, by its name and in the order of the files."""
    folder = resources.files("colab_magics.core.blocks.export") / "parts"
    texts = "\n".join((folder / f"{name}.sh").read_text("utf-8") for name in _FILES)
    return {match[1]: match[0] for match in _FUNCTION.finditer(texts)}


def needed(text: str, features: set[str]) -> list[str]:
    """Return the functions that a script's text calls, and those that they call in turn.

    Parameters
    ----------
    text : str
        What calls them.
    features : set of str
        What the block uses of them, as ``--mirror``.

    Returns
    -------
    list of str
        Their texts, in the order in which they are kept here.
    """

    def chosen(match: re.Match[str]) -> str:
        return f"{match[1]}\n" if features.intersection(match[2].split()) else ""

    known = {name: _MARKED.sub(chosen, body) for name, body in _functions().items()}
    found: set[str] = set()
    pending = [text]
    while pending:
        calls = {match[1] for match in _COMMAND.finditer(pending.pop())} & known.keys()
        pending += [known[name] for name in calls - found]
        found |= calls
    return [body for name, body in known.items() if name in found]
