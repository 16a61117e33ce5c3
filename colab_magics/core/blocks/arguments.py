"""Reading arguments, for the magics, the command line and a line of a block alike.

A parser made here never prints and never exits: what is wrong is a PlanError, what is right a namespace.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from colab_magics.core.common.environment import ENVIRONMENTS
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    from colab_magics.core.blocks.lexer import Word

__all__ = ["Arguments", "check_secret", "count", "environments", "suggestion"]


class Arguments(argparse.ArgumentParser):
    """An argument parser that raises PlanError."""

    @classmethod
    def described(cls, prog: str, description: str, example: str = "") -> Arguments:
        """Return a parser with a help page, and no argument yet; ``VERB`` in the example stands for `prog`."""
        return cls(
            prog=prog,
            description=description,
            epilog=f"example:\n{example.replace('VERB', prog)}" if example else None,
            add_help=False,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_common(self) -> None:
        """Add what every magic and every command has."""
        self.add_argument("-n", "--dry-run", action="store_true", help="say what would happen, change nothing")
        self.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
        self.add_argument("-h", "--help", action="store_true", help="show this help")

    def options(self) -> list[str]:
        """Return every option that there is, in all its spellings."""
        return [option for action in self._actions for option in action.option_strings]

    def values(self, option: str) -> list[str]:
        """Return what can follow an option, where that is one of a few; empty elsewhere."""
        action = next((action for action in self._actions if option and option in action.option_strings), None)
        if action is None:
            return []
        return list(ENVIRONMENTS) if action.type is environments else [str(each) for each in action.choices or ()]

    def read_leading(self, words: Sequence[Word]) -> tuple[argparse.Namespace, list[Word]]:
        """Parse the options before a command; what follows is the command's, whatever it is."""
        ours = {option: action for action in self._actions for option in action.option_strings}
        taken = 0
        while taken < len(words) and (action := ours.get(words[taken].value.partition("=")[0])):
            taken += 1 if "=" in words[taken].value or action.nargs == 0 else 2
        return self.read([word.value for word in words[:taken]]), list(words[taken:])

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, in words that say what to write."""
        if found := re.fullmatch(r"argument (\S+): expected .* arguments?", message):
            action = next(action for action in self._actions if "/".join(action.option_strings) == found[1])
            values = [action.metavar] if isinstance(action.metavar, str) else action.metavar or [action.dest.upper()]
            message = f"{found[1]} is followed by {' '.join(values)}"
        elif found := re.fullmatch(r"the following arguments are required: (.+)", message):
            places = [str(action.metavar or action.dest) for action in self._actions if not action.option_strings]
            message = f"missing: {found[1]}; write {self.prog} {' '.join(places)}"
        elif found := re.fullmatch(r"argument (\S+): not allowed with argument (\S+)", message):
            message = f"{found[2]} and {found[1]} exclude each other; leave one out"
        elif found := re.fullmatch(r"argument (\S+): ignored explicit argument .*", message):
            message = f"{found[1]} takes no value"
        raise PlanError(message)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse `words`.

        Raises
        ------
        PlanError
            When an argument is missing, wrong, or unknown; suggests what may be meant.
        """
        if "" in words:
            raise PlanError("an argument is empty; leave it out, or give the variable that it comes from a value")
        # Intermixed: an optional argument such as DEST may stand behind an option too.
        values, unknown = self.parse_known_intermixed_args(list(words))
        if unknown:
            kind = "option" if unknown[0].startswith("-") else "argument"
            raise PlanError(f"unknown {kind} {unknown[0]!r}{suggestion(unknown[0], self.options())}")
        return values


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` when something known is near, else nothing."""
    near = difflib.get_close_matches(word.partition("=")[0], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def environments(text: str) -> tuple[str, ...]:
    """Return the environments that ``--on`` names."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in ENVIRONMENTS:
            raise argparse.ArgumentTypeError(f"unknown environment {name!r}{suggestion(name, ENVIRONMENTS)}")
    return names


def count(text: str) -> int:
    """Return a number from 1 on."""
    if not re.fullmatch(r"0*[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def check_secret(value: str | None) -> None:
    """Refuse what is no ``secret:NAME``: it may be the secret itself.

    Raises
    ------
    TokenError
        Without what was typed.
    """
    if value is not None and not re.fullmatch(r"secret:\S+", value):
        from colab_magics.core.secrets import secrets  # here: loading the extension must not wait for it

        secrets.refuse_token_argument(value)
