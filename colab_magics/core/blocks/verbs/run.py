"""``run [--in DIR] COMMAND``: a command, or a line for the shell."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import StepResult
from colab_magics.errors import PlanError, StepError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lexer import Word
    from colab_magics.core.blocks.plan import Step

__all__ = ["VERB"]


class _Run(Verb):
    synopsis = "[--in DIR] [--rank0] COMMAND"
    summary = "a command, or a line for the shell (also !COMMAND)"
    description = "Run a command."
    example = "  VERB --in proj python train.py"
    has_output = True

    def arguments(self, parser: Arguments) -> None:
        parser.add_argument("--in", dest="folder", metavar="DIR", help="the folder that the command runs in")
        parser.add_argument("--rank0", action="store_true", help="on a cluster: only on its first host")

    def read(self, words: Sequence[Word]) -> tuple[argparse.Namespace, tuple[str, ...] | str]:
        args, words = self.parser(step=True).read_leading(words)
        if not words:
            raise PlanError("run is followed by a command")
        if any(word.has_operator for word in words) or re.match(r"[A-Za-z_]\w*=", words[0].value):
            return args, " ".join(word.shell for word in words)
        if words[0].value in {"cd", "export"}:
            instead = "run --in DIR COMMAND" if words[0].value == "cd" else "env NAME=VALUE"
            raise PlanError(f"what {words[0].value} changes ends with its own line; write {instead}")
        return args, tuple(word.value for word in words)

    def effects(self, step: Step, touches: Touches) -> None:
        if step.args.folder:
            touches.needs(step.args.folder, "the folder of --in")
        if not isinstance(step.command, str):
            touches.command(step.command[0])
        touches.everything()

    def run(self, step: Step, call: Call) -> StepResult:
        from colab_magics.core.common import drive, environment, process  # here: loading must not wait for it

        folder = drive.expand(step.args.folder, call.settings) if step.args.folder else None
        command = step.command if isinstance(step.command, str) else list(step.command)
        env = {**os.environ, "PATH": environment.child_path(), "PYTHONUNBUFFERED": "1"}
        done = process.run(command, cwd=folder, env=env, on_output=call.progress.output)
        if done.status:
            how = f"was ended by signal {-done.status}" if done.status < 0 else f"failed with status {done.status}"
            tail = "" if call.progress.shows_output else f"; its last lines:\n{done.tail()}"
            raise StepError(f"{process.describe(command)} {how}{tail}")
        return StepResult(step.line, step.verb, "done", detail=process.describe(command))

    def export(self, step: Step, script: Script) -> list[str]:
        from colab_magics.core.blocks.lexer import SYMBOL

        folder = script.word(step.args.folder or "")
        if isinstance(step.command, str):
            # In the text that a shell reads, a variable's value stays in its environment.
            text = re.sub(rf"(?<![^\s=])'{SYMBOL.pattern}'", r'"$\1"', step.command)
            words = ["run_shell", folder, shlex.quote(SYMBOL.sub("'\"$\\1\"'", text))]
        else:
            words = ["run", folder, *map(script.word, step.command)]
        return [script.fold(*words)]


VERB = _Run()
