"""A block's text -> lines of words, split as a POSIX shell splits them (XCU 2.2 and 2.3), variables put in. Pure."""

from __future__ import annotations

import bisect
import difflib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from colab_magics.errors import PlanError

__all__ = ["HERE", "SYMBOL", "Line", "Problem", "Word", "read_lines", "split", "symbol", "typed_lines"]

#: What `symbol` returns, with the name; its sign is a letter that no keyboard has, so that it passes as part of a name.
SYMBOL = re.compile("\ua78f([A-Za-z_][A-Za-z0-9_]*)\ua78f")

#: What the message about a here-document begins with.
HERE = "a here-document has no place in a block"

_LOOP = re.compile(r"[!%]?\s*(?:run\s+)?((?:for|while|until|if|case)\s.*)")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[^}]*)\}|(?P<plain>[A-Za-z_]\w*))")
_EXPRESSION = re.compile(r"\{[^{}]+\}")
_BRACED = re.compile(r"(?<!@)\{([A-Za-z_]\w*)\}")  # as a cell's own commands take it; git has @{upstream}
_OPERATORS = "|&;<>()`*?["
_BREAK = re.compile(r"\r\n?|\n")


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
    begins : list of int
        Where in the joined text each typed line begins, from 0.
    """

    number: int
    words: list[Word] = field(default_factory=list)
    text: str = ""
    begins: list[int] = field(default_factory=lambda: [0])

    def problem(self, column: int, message: str) -> Problem:
        """Return what is wrong at a column of the joined text, from 1, with its place in the block."""
        passed = bisect.bisect_right(self.begins, column - 1) - 1
        return Problem(self.number + passed, column - self.begins[passed], message)


def symbol(name: str) -> str:
    """Return what stands for a variable whose value is not known yet."""
    return f"\ua78f{name}\ua78f"


def read_lines(
    text: str,
    variables: Mapping[str, object],
    problems: list[Problem],
) -> Iterator[Line]:
    """Split a block into lines of words.

    Parameters
    ----------
    text : str
        The block.
    variables : mapping
        What ``$NAME`` stands for, put in as text; looked up line by line. None is what only commands are told.
    problems : list of Problem
        What is wrong is appended to it; the line in question is left out.

    Yields
    ------
    Line
    """
    for number, joined, begins in _joined(typed_lines(text)):
        if not joined.strip() or joined.lstrip().startswith("#"):
            continue
        line = Line(number, [], joined.strip(), begins)
        reader = _Reader(joined, variables, line)
        line.words = list(reader.words())
        problems += reader.problems
        if line.words and not reader.problems:
            yield line


def split(text: str, variables: Mapping[str, object], evaluate: Callable[[str], str | None] | None = None) -> list[str]:
    """Split one line into words, as a line of a block; a break in it is a space.

    Parameters
    ----------
    text : str
        The line.
    variables : mapping
        What ``$NAME`` stands for; values are put in as text.
    evaluate : callable, optional
        Returns what ``{expression}`` stands for outside of single quotes, or None when it is no expression.

    Raises
    ------
    PlanError
        When a quote is not closed, or a variable is unknown.
    """
    line = " ".join(typed_lines(text))
    reader = _Reader(line, variables, Line(1, [], line), evaluate)
    words = [word.value for word in reader.words()]
    if reader.problems:
        raise PlanError("; ".join(problem.message for problem in reader.problems))
    return words


def typed_lines(text: str) -> list[str]:
    """Return a block's lines as they were typed, without what an editor may have put before the first (a BOM)."""
    lines = _BREAK.split(text.removeprefix("\ufeff"))
    return lines if lines[-1] else lines[:-1]


def _joined(lines: Sequence[str]) -> Iterator[tuple[int, str, list[int]]]:
    pending, first, begins = "", 0, list[int]()
    for number, line in enumerate(lines, 1):
        first = first if begins else number
        begins.append(len(pending))
        pending += line
        comment = pending.lstrip().startswith("#")
        if not comment and (len(line) - len(line.rstrip("\\"))) % 2:
            pending = pending[:-1]
            if pending:
                continue
        yield first, pending, begins
        pending, begins = "", []
    if pending:
        yield first, pending, begins


class _Reader:
    """Reads the words of one line; what is wrong is noted, and reading goes on where it can."""

    def __init__(
        self,
        text: str,
        variables: Mapping[str, object],
        line: Line,
        evaluate: Callable[[str], str | None] | None = None,
    ) -> None:
        self._text, self._variables, self._line, self._evaluate = text, variables, line, evaluate
        self.problems: list[Problem] = []

    def words(self) -> Iterator[Word]:
        """Yield them."""
        at, word = 0, None
        while at < len(self._text):
            character = self._text[at]
            if character.isspace():
                if word:
                    yield word
                word = None
                at += 1
                continue
            if character == "#" and word is None:
                return
            word = word or Word(column=at + 1)
            at = self._piece(at, word)
        if word:
            yield word

    def _wrong(self, at: int, message: str) -> None:
        self.problems.append(self._line.problem(at + 1, message))

    def _piece(self, at: int, word: Word) -> int:
        """Read one piece of a word: an escaped character, a quoted text, a variable, or a plain character."""
        character = self._text[at]
        if character == "\\":
            self._add(at, word, self._text[at + 1 : at + 2])
            return at + 2
        if character == "'":
            end = self._text.find("'", at + 1)
            if end < 0:
                self._wrong(at, "the quote ' is not closed")
                return len(self._text)
            self._add(at, word, self._text[at + 1 : end])
            return end + 1
        if character == '"':
            return self._double_quoted(at, word)
        value, end = self._inserted(at)
        if value is not None:
            self._add(at, word, value)
            return end
        if re.compile(r"<<-?\s*['\"]?\w").match(self._text, at) and self._text[at - 1 : at] != "<":
            self._wrong(at, f"{HERE}, whose lines are steps; put its text into a file, or write: run bash -c '...'")
            return len(self._text)
        if not self._evaluate and (match := _BRACED.match(self._text, at)):
            self._wrong(at, f"{match[0]} stands for nothing in a block; write ${match[1]} (or '{match[0]}', as it is)")
            return match.end()
        self._add(at, word, character, quoted=False)
        return at + 1

    def _add(self, at: int, word: Word, text: str, *, quoted: bool = True) -> None:
        if not _is_text(text):
            self._wrong(at, "a character stands here that can be in no name: a NUL, or half of a character")
        word.add(text, quoted=quoted)

    def _double_quoted(self, at: int, word: Word) -> int:
        line, start, text = self._text, at, ""
        at += 1
        while at < len(line) and line[at] != '"':
            if line[at] == "\\" and line[at + 1 : at + 2] in {'"', "\\", "$", "`"}:
                text += line[at + 1]
                at += 2
            else:
                value, end = self._inserted(at)
                text += line[at] if value is None else value
                at = end
        if at >= len(line):
            self._wrong(start, 'the quote " is not closed')
        self._add(start, word, text)
        return at + 1

    def _inserted(self, at: int) -> tuple[str | None, int]:
        """Return what a variable or an expression that begins here stands for, if one does, and where it ends."""
        if self._text[at] == "$" and (match := _VARIABLE.match(self._text, at)):
            return self._value(match), match.end()
        if self._evaluate and (match := _EXPRESSION.match(self._text, at)):
            value = self._evaluate(match[0])
            return (None, at + 1) if value is None else (value, match.end())
        return None, at + 1

    def _value(self, match: re.Match[str]) -> str:
        name = match["plain"] or match["braced"] or ""
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            self._wrong(match.start(), f"{match[0]!r} is no variable; use $NAME or ${{NAME}}")
        elif name not in self._variables:
            near = difflib.get_close_matches(name, self._variables, n=1, cutoff=0.8)
            meant = f"did you mean ${near[0]}? else " if near else ""
            where = "set it in the notebook or the environment (for a literal $ write '$' in single quotes)"
            if loop := _LOOP.match(self._line.text):
                where = f"what is the shell's own stands in single quotes: run bash -c {shlex.quote(loop[1])}"
            self._wrong(match.start(), f"unknown variable ${name}; {meant}{where}")
        elif (value := self._variables[name]) is None:
            told = f"${name} is set from a secret, which stands in no line; a command finds it in its environment"
            self._wrong(match.start(), f"{told}: put what reads it in single quotes")
        else:
            return str(value)
        return ""


def _is_text(text: str) -> bool:
    """Tell whether the system can be given a text: a NUL and half a character (a lone surrogate) it cannot."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
