"""Splitting a block into words, as a shell does."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.core import read_plan, split
from colab_magics.core.blocks.lexer import Line, Problem, read_lines
from colab_magics.errors import PlanError


def lines(text: str, **variables: str) -> list[Line]:
    problems: list[Problem] = []
    found = list(read_lines(text, variables, problems))
    if problems:
        raise problems[0]
    return found


def words(text: str, **variables: str) -> list[str]:
    (line,) = lines(text, **variables)
    return [word.value for word in line.words]


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"), min_size=1)


@given(st.lists(WORD, min_size=1))
def test_quoted_words_come_back_as_they_were(given: list[str]) -> None:
    """What the shell's own quoting protects, the block's splitting gives back, whatever it is."""
    assert words(shlex.join(["x", *given])) == ["x", *given]


@given(st.text("ab \"'\\#\t", min_size=1))
def test_splitting_agrees_with_shlex(text: str) -> None:
    """Without variables, words and errors are those of Python's shlex in its POSIX mode."""
    try:
        expected = shlex.split(f"x {text}", comments=False)
    except ValueError:
        expected = None
    if expected is None or any("#" in word for word in expected):
        return
    assert words(f"x {text}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("a 'b c' \"d e\"", ["a", "b c", "d e"]),
        ("a # b", ["a"]),
        ("a b#c", ["a", "b#c"]),
        (r"a b\ c", ["a", "b c"]),
        ("a \\\n  b", ["a", "b"]),
        ("a $X", ["a", "x y"]),
        ("a ${X}z", ["a", "x yz"]),
        ("a '$X' \\$X", ["a", "$X", "$X"]),
        ('a "$X" "\\$X"', ["a", "x y", "$X"]),
        ("a $ $1 x$", ["a", "$", "$1", "x$"]),
        ("a ''", ["a", ""]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Quotes, comments, continuation and variables work as in a shell, but a value stays one word."""
    assert words(text, X="x y") == expected


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a\nb 'c", 2, 3, "quote ' is not closed"),
        ('a "b', 1, 3, 'quote " is not closed'),
        ("a\n\n# note\nb x$NO", 4, 4, "unknown variable $NO"),
        ('a "${NO}"', 1, 4, "unknown variable $NO"),
        ("a ${}", 1, 3, "is no variable"),
        ("a --b={NO}", 1, 7, "{NO} stands for nothing in a block; write $NO"),
        ("a ${x-y}", 1, 3, "is no variable"),
        ("a\nb \\\n  c \\\n $NO", 4, 2, "unknown variable $NO"),
    ],
)
def test_a_problem_has_its_place(text: str, line: int, column: int, message: str) -> None:
    """What is wrong is reported with its line and column, both from 1."""
    with pytest.raises(Problem) as caught:
        lines(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert message in caught.value.message


def test_line_numbers_survive_comments_and_continuations() -> None:
    """A line is known by the number on which it begins."""
    found = lines("# first\n\na \\\n  b\nc\n")
    assert [(line.number, [word.value for word in line.words]) for line in found] == [(3, ["a", "b"]), (5, ["c"])]


def test_every_problem_is_found() -> None:
    """One bad line does not hide the next."""
    problems: list[Problem] = []
    good = list(read_lines("a 'b\nc $X\nd", {}, problems))
    assert [problem.line for problem in problems] == [1, 2]
    assert [line.number for line in good] == [3]


def test_every_problem_of_a_line_is_found() -> None:
    """Two unknown names and a quote that is open are three things to mend."""
    problems: list[Problem] = []
    assert not list(read_lines('a $X "$Y" \'b', {}, problems))
    assert [problem.column for problem in problems] == [3, 7, 11]


def test_a_variable_that_is_near_is_suggested() -> None:
    """As an unknown step or option is."""
    problems: list[Problem] = []
    assert not list(read_lines("a $PROJCT_LINK", {"PROJECT_LINK": "", "OTHER": ""}, problems))
    assert "unknown variable $PROJCT_LINK; did you mean $PROJECT_LINK?" in problems[0].message


def test_the_shells_form_keeps_operators_and_quotes_values() -> None:
    """For a command that needs a shell, operators stay bare, and a variable's value cannot become one."""
    (line,) = lines("echo $X | grep 'a|b' > out.txt", X="a; rm -rf /")
    assert " ".join(word.shell for word in line.words) == "echo 'a; rm -rf /' | grep 'a|b' > out.txt"
    assert [word.has_operator for word in line.words] == [False, False, True, False, False, True, False]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("'a$b' c", ["a$b", "c"]),
        (r"a\$b c", ["a$b", "c"]),
        ('"a$b" $c', ["aVALUE OF B", "it's $b {b}"]),
        ("{b} '{b}' \"{b}\" *.{x,y} {nope}", ["VALUE OF B", "{b}", "VALUE OF B", "*.{x,y}", "{nope}"]),
        (r"https://h/?rlkey=K\&dl=0", ["https://h/?rlkey=K&dl=0"]),
        ("a  b # c", ["a", "b"]),
    ],
)
def test_a_magics_line_is_split_as_a_blocks(line: str, words: list[str]) -> None:
    """What was quoted stays as it is, a value is one word and is not read again, and expressions are IPython's."""
    names = {"b": "VALUE OF B", "c": "it's $b {b}"}
    assert split(line, names, lambda text: names.get(text[1:-1])) == words


def test_a_magics_line_names_what_is_wrong() -> None:
    """An open quote, and a name that nothing stands for."""
    with pytest.raises(PlanError, match="the quote ' is not closed"):
        split("a 'b", {})
    with pytest.raises(PlanError, match=r"unknown variable \$link; did you mean \$links\?"):
        split("$link", {"links": 1})


def test_what_an_editor_puts_before_a_block_is_no_part_of_it() -> None:
    """A byte-order mark, and the line ends of another system; U+2028 and form feeds end no line."""
    steps = read_plan("\ufeffrun a\r\nrun b \\\r\n c\rrun 'd\u2028e\x0cf'").steps
    assert [(step.line, step.command) for step in steps] == [(1, ("a",)), (2, ("b", "c")), (4, ("d\u2028e\x0cf",))]
