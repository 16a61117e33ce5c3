"""A block's text -> checked steps. Pure: the whole block is understood before anything of it runs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from colab_magics.core.blocks.lexer import SYMBOL, Line, Problem, Word, read_lines
from colab_magics.core.blocks.verbs import VERBS, parser, suggestion
from colab_magics.core.common.addresses import DROPBOX
from colab_magics.core.git import specs
from colab_magics.core.http import links
from colab_magics.core.secrets import secrets
from colab_magics.errors import ColabMagicsError, InstallError, PlanError, TokenError

__all__ = ["Plan", "Step", "read_plan"]


@dataclass(frozen=True)
class Step:
    """A line of a block, understood.

    Attributes
    ----------
    line : int
        Where it begins in the block, from 1.
    verb : str
        One of `colab_magics.core.blocks.verbs.VERBS`.
    text : str
        As it was typed.
    args : argparse.Namespace
        The verb's arguments; for ``pip`` what follows ``install`` is `command`.
    command : tuple of str or str
        For ``run`` the argument list, or a text for the shell when it needs one.
    on : tuple of str
        The environments it is for; empty means everywhere.
    """

    line: int
    verb: str
    text: str
    args: argparse.Namespace = field(default_factory=argparse.Namespace)
    command: tuple[str, ...] | str = ()
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A checked block.

    Attributes
    ----------
    steps : tuple of Step
        In the block's order.
    text : str
        The block as it was typed.
    """

    steps: tuple[Step, ...]
    text: str


def read_plan(text: str, variables: Mapping[str, object] | None = None, *, dropbox_url: str = DROPBOX) -> Plan:
    """Understand a bootstrap block.

    Parameters
    ----------
    text : str
        The block.
    variables : mapping, optional
        What ``$NAME`` stands for; values are put in as text.
    dropbox_url : str, optional
        What Dropbox links are fetched from.

    Returns
    -------
    Plan

    Raises
    ------
    PlanError
        When anything of it is wrong; has a line for every problem found, with its line's number and its column.
    TokenError
        When a token stands in it; says what else is wrong too.
    """
    variables = variables or {}
    problems: list[Problem] = []
    tokens: list[Problem] = []
    for number, typed in enumerate(text.splitlines(), 1):
        try:
            secrets.refuse_literal([typed])
        except TokenError as error:
            tokens.append(Problem(number, 1, str(error)))

    def lookup(name: str) -> str | None:
        return str(variables[name]) if name in variables else None

    steps = []
    for line in read_lines(text, lookup, problems, variables.keys()):
        try:
            steps.append(_step(line, dropbox_url))
        except Problem as problem:
            problems.append(problem)
        except TokenError as error:
            tokens.append(Problem(line.number, 1, str(error)))
        except ColabMagicsError as error:
            problems.append(line.problem(_column(line, str(error)), str(error)))
    told = {found.line for found in tokens}
    found = [*tokens, *(problem for problem in problems if problem.line not in told)]
    if found:
        kind = TokenError if tokens else PlanError
        raise kind("\n".join(map(_told, sorted(dict.fromkeys(found), key=_place))))
    return Plan(tuple(steps), text)


def _column(line: Line, message: str) -> int:
    """Return where the word stands that a message is about; the line's beginning when it is about the whole of it."""
    for word in line.words[1:]:
        if word.value and (repr(word.value) in message or f"argument {word.value.partition('=')[0]}:" in message):
            return word.column
    return line.words[0].column


def _told(problem: Problem) -> str:
    at = f" (column {problem.column})" if problem.column > 1 else ""
    return f"line {problem.line}: {problem.message}{at}"


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column


def _step(line: Line, dropbox_url: str) -> Step:
    words = list(line.words)
    first = words[0]
    shell = first.value.startswith("!")
    if first.value[:1] in {"!", "%"} and first.value[:2] != "%%":
        words = [Word(first.value[1:], first.shell.lstrip("!%"), first.column + 1, first.has_operator), *words[1:]]
        if not words[0].value:
            words = words[1:]
    if not words:
        raise line.problem(first.column, f"nothing follows {first.value!r}")
    verb, rest = words[0].value, words[1:]
    if shell and not _is_step(verb, rest):
        verb, rest = "run", words
    if verb not in VERBS:
        raise line.problem(first.column, f"unknown step {verb!r}{suggestion(verb, VERBS)}")
    if verb == "pip":
        return _pip(line, rest)
    if verb == "run":
        return _run(line, rest)
    args = parser(verb, step=True).read([word.value for word in rest])
    _check(verb, args, dropbox_url)
    return Step(line.number, verb, line.text, args, on=args.on)


def _is_step(verb: str, rest: list[Word]) -> bool:
    return verb in VERBS and (verb != "pip" or (bool(rest) and rest[0].value == "install"))


def _pip(line: Line, rest: list[Word]) -> Step:
    args, words = _leading_options("pip", rest[1:])
    if not rest or rest[0].value != "install" or not words:
        raise line.problem(line.words[0].column, "pip is followed by install and what to install")
    return Step(line.number, "pip", line.text, args, tuple(word.value for word in words), on=args.on)


def _run(line: Line, rest: list[Word]) -> Step:
    args, words = _leading_options("run", rest)
    if not words:
        raise line.problem(line.words[0].column, "run is followed by a command")
    command: tuple[str, ...] | str = tuple(word.value for word in words)
    if any(word.has_operator for word in words) or re.match(r"[A-Za-z_]\w*=", words[0].value):
        command = " ".join(word.shell for word in words)
    return Step(line.number, "run", line.text, args, command, on=args.on)


def _leading_options(verb: str, rest: list[Word]) -> tuple[argparse.Namespace, list[Word]]:
    """Split our own options from the command they stand before; what follows is the command's, whatever it is."""
    made = parser(verb, step=True)
    ours = {option for action in made._actions for option in action.option_strings}  # noqa: SLF001 - argparse has no other way
    taken = 0
    while taken < len(rest) and rest[taken].value.partition("=")[0] in ours:
        taken += 1 if "=" in rest[taken].value else 2
    return made.read([word.value for word in rest[:taken]]), rest[taken:]


def _check(verb: str, args: argparse.Namespace, dropbox_url: str) -> None:
    """Look at what can be known of the arguments without running the step."""
    if verb == "dropbox_sync":
        if not args.link.startswith("secret:") and not SYMBOL.search(args.link):
            links.parse(args.link, dropbox_url=dropbox_url)
        _check_secret("--password", args.password)
    if verb == "private_pip":
        if not args.specs and not args.requirement:
            raise InstallError("private_pip is followed by org/repo, or -r FILE")
        _check_secret("--token", args.token)
        for spec in args.specs:
            specs.parse_spec(spec, owner="owner")
    known = verb == "mount_drive" and args.mountpoint and not SYMBOL.match(args.mountpoint)
    if known and not Path(args.mountpoint).is_absolute():
        raise PlanError(f"the mountpoint {args.mountpoint!r} must be an absolute path, such as /content/drive")


def _check_secret(option: str, value: str | None) -> None:
    if value is not None and not value.startswith("secret:"):
        raise TokenError(f"{option} takes secret:NAME, never the value itself; what was typed must be changed now")
