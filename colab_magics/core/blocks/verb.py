"""What a verb is: everything that a block, the magics and the command line ask about one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colab_magics.core.blocks.arguments import Arguments, environments
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.settings import Settings

if TYPE_CHECKING:
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lexer import Word
    from colab_magics.core.blocks.lockfile import Lock
    from colab_magics.core.blocks.plan import Step

__all__ = ["Call", "Verb"]


@dataclass(frozen=True)
class Call:
    """How a step is run.

    Attributes
    ----------
    settings : Settings
        The configuration.
    progress : Progress
        Hears what is going on.
    dry_run : bool
        Say what would happen and change nothing.
    frozen : Lock or None
        Use exactly what it says.
    lasts : bool
        Whether this process has more to do: what was begun ends with it.
    """

    settings: Settings
    progress: Progress = SILENT
    dry_run: bool = False
    frozen: Lock | None = None
    lasts: bool = True


class Verb:
    """A verb; each module of `colab_magics.core.blocks.verbs` has one, which overrides what differs.

    Attributes
    ----------
    command : str
        What the command line calls it; empty for a verb that is neither a magic nor a command.
    synopsis : str
        Its arguments, for an overview.
    summary : str
        What it does, in half a line.
    description, example : str
        What its help begins and ends with; ``VERB`` in the example stands for its name.
    loads : tuple of str
        The modules of the core that its run needs, loaded before the clock of a block's first step starts.
    in_main_thread : bool
        Whether it can run in no other thread.
    in_process : bool
        Whether what it does ends with this process, so that on a cluster each worker does it.
    has_output : bool
        Whether what it starts prints for the person, so that a report in lines announces it.
    options : str
        Those of the command that it passes words on to, for completion; separated by spaces.
    """

    command = ""
    synopsis = ""
    summary = ""
    description = ""
    example = "  VERB"
    loads: tuple[str, ...] = ()
    in_main_thread = False
    in_process = False
    has_output = False
    options = ""

    @property
    def name(self) -> str:
        """What a line of a block begins with: the name of its module."""
        return type(self).__module__.rpartition(".")[2]

    def arguments(self, parser: Arguments) -> None:
        """Declare its arguments."""

    def parser(self, prog: str = "", *, step: bool = False) -> Arguments:
        """Return the parser of its arguments.

        Parameters
        ----------
        prog : str, optional
            What the help calls it.
        step : bool, optional
            For a line of a block: ``--on`` is known, ``--quiet`` and ``--help`` are not.
        """
        made = Arguments.described(prog or self.name, self.description, self.example)
        self.arguments(made)
        if step:
            made.add_argument("--on", metavar="ENV[,ENV]", type=environments, default=(), help="only there")
        elif self.command:
            made.add_common()
        return made

    def claims(self, words: Sequence[Word]) -> bool:  # noqa: ARG002 - for overriding
        """Tell whether ``!VERB WORDS`` means this verb and not a command of that name."""
        return True

    def read(self, words: Sequence[Word]) -> tuple[argparse.Namespace, tuple[str, ...] | str]:
        """Return the arguments of a line of a block, and the command that follows them for a verb that has one."""
        return self.parser(step=True).read([word.value for word in words]), ()

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        """Raise what is wrong with the arguments, as far as that is known without a look at this machine."""

    def variables(self, step: Step) -> Mapping[str, str | None]:  # noqa: ARG002 - for overriding
        """Return what later lines can name as ``$NAME`` because of a step; None for what only its commands are told."""
        return {}

    def needs(self, step: Step) -> list[str]:
        """List the secrets that a step may ask for: ``secret:NAME``, ``host:NAME`` of a git host, ``host:*`` of any."""
        given = [word for value in vars(step.args).values() for word in (value if isinstance(value, list) else [value])]
        return [match[1] for word in given if (match := re.search(r"(?:^|=)(secret:[A-Za-z_][\w.-]*)$", str(word)))]

    def effects(self, step: Step, touches: Touches) -> None:
        """Tell what a step reads, writes, and needs."""

    def foresee(self, step: Step, settings: Settings) -> None:
        """Raise what will stop a step whose turn is now; the network is not asked, and nothing changes."""

    def is_done(self, step: Step, settings: Settings) -> bool:  # noqa: ARG002 - for overriding
        """Tell, without the network and without a change, whether a step would find nothing to do."""
        return False

    def run(self, step: Step, call: Call) -> object:
        """Do it. What is returned has a ``status`` and a repr of one line, is a path, or is a `StepResult`."""
        raise NotImplementedError

    def missing(self, step: Step, lock: Lock) -> list[str]:  # noqa: ARG002 - for overriding
        """Return the names of what a step asks for and a lock does not hold."""
        return []

    def note(self, step: Step, result: object, lock: Lock, settings: Settings) -> None:
        """Add to a lock what a step used."""

    def export(self, step: Step, script: Script) -> list[str]:
        """Return the lines of a POSIX script that do the same.

        Raises
        ------
        PlanError
            When a script cannot do it.
        """
        raise NotImplementedError
