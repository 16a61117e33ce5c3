"""A block's text -> checked steps. Pure: the whole block is understood before anything of it runs."""

from __future__ import annotations

import argparse
import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.arguments import suggestion
from colab_magics.core.blocks.lexer import HERE, Line, Problem, Word, read_lines, typed_lines
from colab_magics.core.common import environment
from colab_magics.core.common.settings import Settings
from colab_magics.core.secrets import secrets
from colab_magics.errors import ColabMagicsError, PlanError, TokenError

__all__ = ["Plan", "Step", "read_plan"]


@dataclass(frozen=True)
class Step:
    """A line of a block, understood.

    Attributes
    ----------
    line : int
        Where it begins in the block, from 1.
    verb : str
        The name of a module of `colab_magics.core.blocks.verbs`.
    text : str
        As it was typed.
    args : argparse.Namespace
        The verb's arguments.
    command : tuple of str or str
        What follows them, for a verb that has a command: a list of words, or a text for the shell when it needs one.
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


def read_plan(
    text: str, variables: Mapping[str, object] | None = None, *, settings: Settings | None = None, here: str = ""
) -> Plan:
    r"""Understand a bootstrap block.

    Parameters
    ----------
    text : str
        The block.
    variables : mapping, optional
        What ``$NAME`` stands for; values are put in as text.
    settings : Settings, optional
        By default read from the environment.
    here : str, optional
        The environment that it is for, by default this one: what ``env --on`` sets counts only there.

    Returns
    -------
    Plan

    Raises
    ------
    PlanError
        When anything of it is wrong; has a line for every problem found, with its line's number and its column.
    TokenError
        When a token stands in it; says what else is wrong too.

    Examples
    --------
    >>> from colab_magics import core
    >>> plan = core.read_plan("symlink $DATA proj/data\nrun python train.py", {"DATA": "dataset"})
    >>> [step.verb for step in plan.steps]
    ['symlink', 'run']
    >>> core.read_plan("symlnk dataset proj/data")
    Traceback (most recent call last):
    colab_magics.errors.PlanError: line 1: unknown step 'symlnk'; did you mean 'symlink'?
    """
    settings, own = settings or Settings.load(), dict[str, str | None]()
    known, here = ChainMap(own, variables or {}), here or environment.detect(override=settings.env)  # type: ignore[arg-type]
    problems: list[Problem] = []
    tokens: list[Problem] = []
    for number, typed in enumerate(typed_lines(text), 1):
        try:
            secrets.refuse_literal([typed])
        except TokenError as error:
            tokens.append(Problem(number, 1, str(error)))

    steps = []
    for line in read_lines(text, known, problems):
        try:
            step = _step(line, settings.dropbox_url)
            steps.append(step)
            if not step.on or here in step.on:
                own.update(verbs.get(step.verb).variables(step))
        except Problem as problem:
            problems.append(problem)
        except TokenError as error:
            tokens.append(Problem(line.number, 1, str(error)))
        except ColabMagicsError as error:
            problems.append(line.problem(_column(line, str(error)), str(error)))
    problems = _without_documents(text, problems)
    told = {found.line for found in tokens}
    found = [*tokens, *(problem for problem in problems if problem.line not in told)]
    if found:
        kind = TokenError if tokens else PlanError
        raise kind("\n".join(map(_told, sorted(dict.fromkeys(found), key=_place))))
    return Plan(tuple(steps), text)


def _without_documents(text: str, problems: list[Problem]) -> list[Problem]:
    """Leave out what is wrong with the lines of a here-document: that it is one is said of the line that begins it."""
    lines, left = typed_lines(text), set[int]()
    for problem in problems:
        ends = (
            re.search(r"<<-?\s*(['\"]?)(\w+)\1", lines[problem.line - 1]) if problem.message.startswith(HERE) else None
        )
        for number in range(problem.line + 1, len(lines) + 1) if ends else ():
            left.add(number)
            if ends and lines[number - 1].strip() == ends[2]:
                break
    return [problem for problem in problems if problem.line not in left]


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
    name, rest = words[0].value, words[1:]
    if shell and not (name in verbs.names() and verbs.get(name).claims(rest)):
        name, rest = "run", words
    if name.startswith("%%"):
        raise line.problem(first.column, f"{name} begins a notebook's cell and is no step; leave it out here")
    if name not in verbs.names():
        raise line.problem(first.column, f"unknown step {name!r}{_instead(name, first.value, line.text)}")
    verb = verbs.get(name)
    args, command = verb.read(rest)
    verb.check(args, dropbox_url)
    return Step(line.number, name, line.text, args, command, args.on)


# What people write out of habit, and what says the same here.
_INSTEAD = {
    "apt-get": "apt install PKG ...",
    "cd": "run --in DIR COMMAND: every step begins in the notebook's own folder",
    "conda mamba": "pip install PKG ..., or: run {name} install -y PKG",
    "export set setenv source .": "env NAME=VALUE; what a script sets is gone with its step",
    "git": "git_clone org/repo [DEST], or: run git ...",
    "ln": "symlink SOURCE LINK",
    "pip3 uv": "pip install PKG ...",
    "sudo": "apt install PKG ..., which becomes root itself, or: run sudo ...",
    "wget curl gdown": "dropbox_sync ADDRESS [DEST], which takes any http address, or: run {name} ...",
    "for while until if case do done then fi else esac": "run bash -c '...': a loop of the shell stands on one line",
}


def _instead(name: str, typed: str, text: str) -> str:
    """Return what an unknown step's line would be here, as the end of a message."""
    for names, instead in _INSTEAD.items():
        if name in names.split():
            return f"; write {instead.format(name=name)}"
    if re.match(r"[!%]?python[\d.]*\s+-m\s+pip\b", text):
        return "; write pip install PKG ..."
    by_command = {verb.command: verb.name for verb in verbs.every() if verb.command}
    if near := suggestion(by_command.get(name, name), verbs.names()):
        return near
    if re.match(r"[A-Za-z_]\w*=", name):
        return f"; write env {name.partition('=')[0]}=VALUE"
    if typed.startswith("%"):
        return "; a block knows no other magics: put it into a cell of its own"
    return f"; for a command write: run {text}"
