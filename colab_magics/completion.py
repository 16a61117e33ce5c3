"""Tab completion of the magics' options, in a magic's line and in a block, and of ``--on``'s environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colab_magics.core.environment import ENVIRONMENTS
from colab_magics.core.verbs import VERBS, parser

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["install", "remove"]

_MAGICS = ("dropbox_sync", "private_pip", "mount_drive", "symlink")


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
        return [name for name in ENVIRONMENTS if name.startswith(word)]
    if not word.startswith("-") or verb not in (*VERBS, "bootstrap"):
        return []
    made = parser(verb, step=not first.startswith("%"))
    options = [option for action in made._actions for option in action.option_strings]  # noqa: SLF001 - no other way
    return sorted(option for option in options if option.startswith(word) and option.startswith("--"))


def install(shell: InteractiveShell) -> None:
    """Complete our verbs in `shell`, as magics and as lines of a block."""
    for name in _keys():
        set_hook: Any = shell.set_hook  # IPython ships no type for it
        set_hook("complete_command", _complete, str_key=name)


def remove(shell: InteractiveShell) -> None:
    """Take back what `install` did."""
    for name in _keys():
        completers: Any = shell.Completer
        dispatcher = completers.custom_completers.strs.get(name)
        if dispatcher is not None:
            # IPython binds a hook to the shell, so what stands there is a method of ours.
            dispatcher.chain = [
                entry for entry in dispatcher.chain if getattr(entry[1], "__func__", None) is not _complete
            ]


def _keys() -> list[str]:
    return [f"%{name}" for name in _MAGICS] + ["%%bootstrap", *_MAGICS]


def _complete(_shell: Any, event: Any) -> list[str]:
    from IPython.core.error import TryNext  # here: this module is imported when the extension is loaded

    found = candidates(event.text_until_cursor, event.symbol)
    if not found:
        raise TryNext
    return found
