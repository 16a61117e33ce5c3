"""``env NAME=VALUE ...``: set variables for all that runs afterwards, in a notebook for the kernel too."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from colab_magics.core.blocks.arguments import check_secret
from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import StepResult
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lexer import Word
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]

_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


class _Env(Verb):
    synopsis = "NAME=VALUE ..."
    summary = "set variables for later steps and the kernel (NAME=secret:OTHER too)"
    description = "Set environment variables for all later steps, and in a notebook for the kernel."
    in_process = True
    example = "  VERB OMP_NUM_THREADS=2 HF_TOKEN=secret:HF_TOKEN"

    def arguments(self, parser: Arguments) -> None:
        parser.add_argument("settings", metavar="NAME=VALUE", nargs="+", help="VALUE may be secret:OTHER")

    def claims(self, words: Sequence[Word]) -> bool:
        return bool(words) and all(_SETTING.fullmatch(word.value) for word in words)  # else it is the command

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        for text in args.settings:
            match = _SETTING.fullmatch(text)
            if not match:
                raise PlanError(f"{text!r} is not NAME=VALUE; for one command alone write: run env NAME=VALUE COMMAND")
            if match[2].startswith("secret:"):
                check_secret(match[2])

    def variables(self, step: Step) -> dict[str, str | None]:
        return {name: None if value.startswith("secret:") else value for name, value in _pairs(step)}

    def effects(self, step: Step, touches: Touches) -> None:
        touches.environment()
        if None in self.variables(step).values():
            touches.secrets()

    def is_done(self, step: Step, settings: Settings) -> bool:
        return all(os.environ.get(name) == value for name, value in _pairs(step))

    def run(self, step: Step, call: Call) -> StepResult:
        from colab_magics.core.secrets import secrets  # here: loading the extension must not wait for it

        before = dict(os.environ)
        for name, value in _pairs(step):
            secret = secrets.named(value, call.settings).reveal() if value.startswith("secret:") else value
            os.environ[name] = secret
        told = (f"{name}={'***' if value.startswith('secret:') else value}" for name, value in _pairs(step))
        status = "up-to-date" if before == os.environ else "done"
        return StepResult(step.line, step.verb, status, detail=", ".join(told))

    def export(self, step: Step, script: Script) -> list[str]:
        lines = []
        for name, value in _pairs(step):
            if value.startswith("secret:"):
                lines += [f"value={script.secret(value)}", f'set_variable {name} "$value"']
            else:
                lines.append(script.fold("set_variable", name, script.word(value), "shown"))
                lines += [f"{script.local(name)}={script.word(value)}"] if step.on else []
        return lines


def _pairs(step: Step) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in step.args.settings)]


VERB = _Env()
