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

__all__ = ["candidates", "in_block", "install", "remove"]

_BLOCK = re.compile(r"\s*%%bootstrap\b[^\n]*\n")
_WORD = re.compile(r"(?:\\.|[^\s\\])*\\?$")  # up to the cursor; a space in it stands behind a backslash
_VARIABLE = re.compile(r"\$\{?(\w*)$")
_SPECIAL = re.compile(r"([\s\\'\"$#|&;<>()`*?\[])")


def candidates(line: str, word: str) -> list[str]:
    """Return what `word`, the last of `line`, can become.

    Parameters
    ----------
    line : str
        The text up to the cursor, beginning with a verb or a magic.
    word : str
        Its last word; empty behind a space.

    Returns
    -------
    list of str
        Empty when it is for others to say: a path, a name of the notebook.
    """
    words = line.split()
    first = words[0] if words else ""
    verb, before = first.lstrip("%!"), words[-2] if len(words) > 1 and word else words[-1] if words else ""
    if before == "--on":
        return [name for name in core.ENVIRONMENTS if name.startswith(word)]
    if not word.startswith("-") or verb not in (*core.verbs.names(), "bootstrap"):
        return []
    is_step = not first.startswith("%")
    made = core.block_parser(verb) if verb == "bootstrap" else core.verbs.get(verb).parser(step=is_step)
    return sorted(option for option in made.options() if option.startswith(word) and option.startswith("--"))


def in_block(text: str, names: Iterable[str] = (), drive: Path | None = None) -> tuple[int, list[str]] | None:
    """Return what the last word of a block can become.

    Parameters
    ----------
    text : str
        A cell up to the cursor.
    names : iterable of str, optional
        The variables that ``$NAME`` can stand for.
    drive : Path, optional
        The root of the drive, where there is one.

    Returns
    -------
    (int, list of str) or None
        Where what is replaced begins, and what can replace it; None when the cursor is in no block's line.
    """
    head = _BLOCK.match(text)
    if not head:
        return None
    line = re.sub(r"\\\n", "  ", text[head.end() :]).rpartition("\n")[2].lstrip()
    match = _WORD.search(line)
    word = match[0] if match else ""
    before = line[: len(line) - len(word)].split()
    if before and before[0].startswith("#"):
        return len(text), []
    start = len(text) - len(word)
    if variable := _VARIABLE.search(word):
        return len(text) - len(variable[1]), sorted(name for name in names if name.startswith(variable[1]))
    if not before:
        sign = word[:1] if word[:1] in {"%", "!"} else ""
        return start, [f"{sign}{verb}" for verb in core.verbs.names() if verb.startswith(word[len(sign) :])]
    if len(before) == 1 and before[0].lstrip("%!") == "pip" and "install".startswith(word):
        return start, ["install"]
    if before[-1] == "--on" or word.startswith("-"):
        return start, candidates(line.lstrip("%!"), word)
    return start, list(_paths(word, drive))


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


def install(shell: InteractiveShell, drive: Callable[[], Path | None] = lambda: None) -> None:
    """Complete our verbs in `shell`, as magics and as lines of a block; `drive` returns the drive's root, if any."""
    for name in _keys():
        set_hook: Any = shell.set_hook  # IPython ships no type for it
        set_hook("complete_command", _complete, str_key=name)
    completer: Any = shell.Completer
    theirs = completer.completions

    # The hooks are shown one line and not the cell that it stands in, and only this method is common to all IPythons.
    def completions(text: str, offset: int) -> Iterator[Any]:
        before = text[:offset]
        # Names that begin with _ are IPython's own.
        variables = (name for name, value in list(shell.user_ns.items()) if _is_text(value) and name[0] != "_")
        found = in_block(before, variables, drive()) if _BLOCK.match(before) else None
        return theirs(text, offset) if found is None else iter(_as_completions(*found, offset))

    completer.completions = completions


def _is_text(value: object) -> bool:
    return isinstance(value, (str, int, float, os.PathLike))


def _as_completions(start: int, texts: list[str], end: int) -> list[Any]:
    from IPython.core.completer import Completion, provisionalcompleter  # here: see below

    with provisionalcompleter():
        return [Completion(start, end, text, type="path" if "/" in text else "keyword") for text in texts]


def remove(shell: InteractiveShell) -> None:
    """Take back what `install` did."""
    vars(shell.Completer).pop("completions", None)
    for name in _keys():
        completers: Any = shell.Completer
        dispatcher = completers.custom_completers.strs.get(name)
        if dispatcher is not None:
            # IPython binds a hook to the shell, so what stands there is a method of ours.
            dispatcher.chain = [
                entry for entry in dispatcher.chain if getattr(entry[1], "__func__", None) is not _complete
            ]


def _keys() -> list[str]:
    magics = [verb.name for verb in core.verbs.every() if verb.command]
    return [f"%{name}" for name in magics] + ["%%bootstrap", *magics]


def _complete(_shell: Any, event: Any) -> list[str]:
    from IPython.core.error import TryNext  # here: this module is imported when the extension is loaded

    found = candidates(event.text_until_cursor, event.symbol)
    if not found:
        raise TryNext
    return found
