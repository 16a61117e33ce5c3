"""Words and calls as a POSIX shell reads them, with the block's variables in them."""

from __future__ import annotations

import shlex

from colab_magics.core.blocks.lexer import SYMBOL

__all__ = ["call", "fold", "local", "shown", "word"]

_WIDTH = 100


def local(name: str) -> str:
    """Return what a variable of the block is called in the script, whose own variables have small names."""
    return f"BLOCK_{name}" if name[0].islower() else name


def word(text: str) -> str:
    """Return a text as a word of the script, its variables in double quotes and all else quoted where it must be."""
    # The step resolves a leading ~, since the shell would resolve it in too many places.
    tilde, text = ("\\~", text[1:]) if text.startswith("~") else ("", text)
    pieces = enumerate(SYMBOL.split(text))
    quoted = [f'"${local(piece)}"' if number % 2 else shlex.quote(piece) for number, piece in pieces if piece]
    return tilde + "".join(quoted) or "''"


def call(name: str, *values: str | None) -> str:
    """Return a call with these values as its words; None is left out."""
    return fold(name, *(word(value) for value in values if value is not None))


def fold(name: str, *words: str) -> str:
    """Return a call, on several lines where it is long."""
    line = " ".join([name, *words])
    if len(line) <= _WIDTH or len(words) < 2:
        return line
    return " \\\n  ".join([f"{name} {words[0]}", *words[1:]])


def shown(text: str) -> str:
    """Return a text as it was typed, with $NAME for each symbol."""
    return SYMBOL.sub(r"$\1", text)
