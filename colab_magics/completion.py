"""Tab completion: of the magics' options, and of all that a line of a block can hold.

A block is no Python, so that in it nothing but ours is offered: verbs, options, environments, variables, paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_magics import core

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["completions", "install", "remove"]

_BLOCK = re.compile(r"\s*%%bootstrap\b[^\n]*\n")
_MAGIC = re.compile(r"\s*(?:[\w.,\[\]'\" ]+=\s*)?(%{1,2})(\w+)[ \t](.*)", re.DOTALL)
_WORD = re.compile(r"(?:\\.|[^\s\\])*\\?$")  # up to the cursor; a space in it stands behind a backslash
_VARIABLE = re.compile(r"\$\{?(\w*)$")
_SPECIAL = re.compile(r"([\s\\'\"$#|&;<>()`*?\[])")


def completions(
    text: str,
    names: Iterable[str] = (),
    drive: Path | None = None,
    secrets: Callable[[], Iterable[str]] = tuple,
) -> tuple[int, list[str]] | None:
    """Return what the last word of a cell can become, when it belongs to a block or to a magic of ours.

    Parameters
    ----------
    text : str
        A cell up to the cursor.
    names : iterable of str, optional
        The variables that ``$NAME`` can stand for.
    drive : Path, optional
        The root of the drive, where there is one.
    secrets : callable, optional
        Lists the names of secrets.

    Returns
    -------
    (int, list of str) or None
        Where what is replaced begins, and what can replace it; None when that is for others to say.
    """
    if head := _BLOCK.match(text):
        line = re.sub(r"\\\n", "  ", text[head.end() :]).rpartition("\n")[2].lstrip()
        verb, _, rest = line.partition(" ")
        verb, is_step = verb.lstrip("%!"), True
    else:
        line = text.rpartition("\n")[2]
        magic = _MAGIC.match(line)
        known = [each.name for each in core.verbs.every() if each.command]
        if not magic or magic[2] not in {"bootstrap", *(known if magic[1] == "%" else ())}:
            return None
        verb, rest, is_step = magic[2], magic[3], False
    word = (_WORD.search(line) or [""])[0]
    before = rest[: len(rest) - len(word)].split()
    start = len(text) - len(word)
    if line.startswith("#") and is_step:
        return len(text), []
    if variable := _VARIABLE.search(word):
        return len(text) - len(variable[1]), sorted(name for name in names if name.startswith(variable[1]))
    if is_step and " " not in line:
        sign = word[:1] if word[:1] in {"%", "!"} else ""
        return start, [f"{sign}{name}" for name in core.verbs.names() if name.startswith(word[len(sign) :])]
    if word.startswith("secret:"):
        return start, [f"secret:{name}" for name in secrets() if f"secret:{name}".startswith(word)]
    if verb == "bootstrap":
        parser, more = core.block_parser(verb, file=not text.lstrip().startswith("%%")), ""
    elif verb in core.verbs.names():
        parser, more = core.verbs.get(verb).parser(step=is_step), core.verbs.get(verb).options
        if not before and core.verbs.get(verb).synopsis.startswith("install"):
            return start, ["install"] if "install".startswith(word) else []
    else:
        return start, list(_paths(word, drive))
    last = before[-1] if before else ""
    if values := parser.values(last):
        done, comma, begun = word.rpartition(",")  # --on takes several
        return start, [f"{done}{comma}{value}" for value in values if value.startswith(begun) and value not in done]
    found = [] if word and word[0] != "-" else [*parser.options(), *more.split()]
    options = sorted(option for option in found if option.startswith(word or "--"))
    return start, options + ([] if word.startswith("-") else list(_paths(word, drive)))


def _paths(word: str, drive: Path | None) -> Iterator[str]:
    """Yield the paths that begin with `word`, folders with a slash behind them."""
    typed = re.sub(r"\\(.)", r"\1", word)
    head, slash, start = typed.rpartition("/")
    head += slash
    if typed.startswith("drive:"):
        if drive is None:
            return
        if not slash:
            head, start = "drive:", typed[6:]
        folder = drive / head[6:]
    else:
        folder = Path(os.path.expanduser(head) or ".")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
            yield head.replace(" ", "\\ ") + _SPECIAL.sub(r"\\\1", entry.name) + ("/" if entry.is_dir() else "")


def install(shell: InteractiveShell, drive: Callable[[], Path | None], secrets: Callable[[], Iterable[str]]) -> None:
    """Complete our verbs in `shell`, as magics and as lines of a block.

    Parameters
    ----------
    shell : InteractiveShell
        Its completer is told.
    drive : callable
        Returns the drive's root, if any.
    secrets : callable
        Lists the names of secrets.
    """
    completer: Any = shell.Completer
    theirs = completer.completions

    # This method is what all IPythons and kernels ask; a hook for a command is shown one line and no cell.
    def ours(text: str, offset: int) -> Iterator[Any]:
        # Names that begin with _ are IPython's own.
        variables = (name for name, value in list(shell.user_ns.items()) if _is_text(value) and name[0] != "_")
        found = completions(text[:offset], variables, drive(), secrets) if "%" in text else None
        return theirs(text, offset) if found is None else iter(_as_completions(*found, offset))

    completer.completions = ours


def _is_text(value: object) -> bool:
    return isinstance(value, (str, int, float, os.PathLike))


def _as_completions(start: int, texts: list[str], end: int) -> list[Any]:
    from IPython.core.completer import Completion, provisionalcompleter  # here: see below

    with provisionalcompleter():
        return [Completion(start, end, text, type="path" if "/" in text else "keyword") for text in texts]


def remove(shell: InteractiveShell) -> None:
    """Take back what `install` did."""
    vars(shell.Completer).pop("completions", None)
