"""A block's text -> lines of words, split as a POSIX shell splits them (XCU 2.2 and 2.3), variables put in. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

__all__ = ["SYMBOL", "Line", "Problem", "Word", "read_lines", "symbol"]

#: What `symbol` returns, with the name; its sign is a letter that no keyboard has, so that it passes as part of a name.
SYMBOL = re.compile("\ua78f([A-Za-z_][A-Za-z0-9_]*)\ua78f")

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[^}]*)\}|(?P<plain>[A-Za-z_]\w*))")
_OPERATORS = "|&;<>()`*?["


class Problem(Exception):  # noqa: N818 - it is a finding about the text, collected with others, and never escapes
    """Something wrong at a place of the text.

    Parameters
    ----------
    line, column : int
        Where, both from 1.
    message : str
        What.
    """

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


@dataclass
class Word:
    """A word of a line.

    Attributes
    ----------
    value : str
        What it stands for, quotes gone and variables put in.
    shell : str
        The same for a shell: what was quoted and what came from variables is quoted.
    column : int
        Where it begins, from 1.
    has_operator : bool
        Whether it has an unquoted character that only a shell understands.
    """

    value: str = ""
    shell: str = ""
    column: int = 1
    has_operator: bool = False

    def add(self, text: str, *, quoted: bool) -> None:
        """Append a piece."""
        self.value += text
        self.shell += shlex.quote(text) if quoted else text
        self.has_operator |= not quoted and any(character in _OPERATORS for character in text)


@dataclass
class Line:
    """A line of a block, continued lines joined.

    Attributes
    ----------
    number : int
        The line that it begins on, from 1.
    words : list of Word
        Its words.
    text : str
        As it was typed.
    """

    number: int
    words: list[Word] = field(default_factory=list)
    text: str = ""


def symbol(name: str) -> str:
    """Return what stands for a variable whose value is not known yet."""
    return f"\ua78f{name}\ua78f"


def read_lines(text: str, lookup: Callable[[str], str | None], problems: list[Problem]) -> Iterator[Line]:
    """Split a block into lines of words.

    Parameters
    ----------
    text : str
        The block.
    lookup : callable
        Returns a variable's value, or None when there is none of that name.
    problems : list of Problem
        What is wrong is appended to it; the line in question is left out.

    Yields
    ------
    Line
    """
    for number, joined in _joined(text):
        if not joined.strip() or joined.lstrip().startswith("#"):
            continue
        try:
            words = list(_words(joined, number, lookup))
        except Problem as problem:
            problems.append(problem)
            continue
        if words:
            yield Line(number, words, joined.strip())


def _joined(text: str) -> Iterator[tuple[int, str]]:
    pending, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first if pending else number
        pending += line
        comment = pending.lstrip().startswith("#")
        if not comment and (len(line) - len(line.rstrip("\\"))) % 2:
            pending = pending[:-1]
            if pending:
                continue
        yield first, pending
        pending = ""
    if pending:
        yield first, pending


def _words(line: str, number: int, lookup: Callable[[str], str | None]) -> Iterator[Word]:
    at, word = 0, None
    while at < len(line):
        character = line[at]
        if character.isspace():
            if word:
                yield word
            word = None
            at += 1
            continue
        if character == "#" and word is None:
            return
        word = word or Word(column=at + 1)
        at = _piece(line, at, number, word, lookup)
    if word:
        yield word


def _piece(line: str, at: int, number: int, word: Word, lookup: Callable[[str], str | None]) -> int:
    """Read one piece of a word: an escaped character, a quoted text, a variable, or a plain character."""
    character = line[at]
    if character == "\\":
        word.add(line[at + 1 : at + 2], quoted=True)
        return at + 2
    if character == "'":
        end = line.find("'", at + 1)
        if end < 0:
            raise Problem(number, at + 1, "the quote ' is not closed")
        word.add(line[at + 1 : end], quoted=True)
        return end + 1
    if character == '"':
        return _double_quoted(line, at, number, word, lookup)
    if character == "$" and (match := _VARIABLE.match(line, at)):
        word.add(_value(match, number, lookup), quoted=True)
        return match.end()
    word.add(character, quoted=False)
    return at + 1


def _double_quoted(line: str, at: int, number: int, word: Word, lookup: Callable[[str], str | None]) -> int:
    start, text = at, ""
    at += 1
    while at < len(line) and line[at] != '"':
        if line[at] == "\\" and line[at + 1 : at + 2] in {'"', "\\", "$", "`"}:
            text += line[at + 1]
            at += 2
        elif line[at] == "$" and (match := _VARIABLE.match(line, at)):
            text += _value(match, number, lookup)
            at = match.end()
        else:
            text += line[at]
            at += 1
    if at >= len(line):
        raise Problem(number, start + 1, 'the quote " is not closed')
    word.add(text, quoted=True)
    return at + 1


def _value(match: re.Match[str], number: int, lookup: Callable[[str], str | None]) -> str:
    name = match["plain"] or match["braced"]
    if not re.fullmatch(r"[A-Za-z_]\w*", name or ""):
        raise Problem(number, match.start() + 1, f"{match[0]!r} is no variable; use $NAME or ${{NAME}}")
    value = lookup(name)
    if value is None:
        where = "set it in the notebook or the environment (for a literal $ write '$' in single quotes)"
        raise Problem(number, match.start() + 1, f"unknown variable ${name}; {where}")
    return value
