"""``pip install ...``: as pip's, and not even started when everything is there."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import StepResult
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lexer import Word
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]

_LISTS = {"-r": "the requirements file", "-c": "the constraints file"}
_LONG = {
    "--requirement": "-r",
    "--constraint": "-c",
    "--find-links": "-f",
    "--editable": "-e",
    "--target": "-t",
}
_FOLDERS = {"-e", "-t", "--prefix", "--root", "--src"}
_OPTIONS = {*_LISTS, *_LONG, *_FOLDERS, "-f"}


class _Pip(Verb):
    synopsis = "install ..."
    summary = "as pip's; not even started when everything is there"
    description = "Install packages from an index; takes all that pip install takes."
    example = "  VERB install -r requirements.txt"
    loads = ("packages.install", "packages.satisfied")

    def claims(self, words: Sequence[Word]) -> bool:
        return bool(words) and words[0].value == "install"

    def read(self, words: Sequence[Word]) -> tuple[argparse.Namespace, tuple[str, ...] | str]:
        args, rest = self.parser(step=True).read_leading(words[1:])
        if not self.claims(words) or not rest:
            raise PlanError("pip is followed by install and what to install")
        return args, tuple(word.value for word in rest)

    def effects(self, step: Step, touches: Touches) -> None:
        touches.secrets()
        touches.packages()
        for option, value in _paths(step.command):
            if option in _LISTS:
                touches.requirements(value, lambda _: "src", _LISTS[option])  # pip clones to src, by the project's name
            elif option == "-f":
                touches.reads(value)
            elif option in {"", "-e"}:
                touches.builds(value)
            else:
                touches.writes(value)

    def is_done(self, step: Step, settings: Settings) -> bool:
        from colab_magics.core.packages import satisfied  # here: loading must not wait for it

        return satisfied.arguments_hold(step.command)

    def run(self, step: Step, call: Call) -> StepResult:
        from colab_magics.core.packages import install, satisfied  # here: loading must not wait for it

        with call.frozen.held(step) if call.frozen else nullcontext(step) as held:
            if satisfied.arguments_hold(held.command):
                return StepResult(step.line, step.verb, "up-to-date", detail="everything it asks for is installed")
            install.pip_install(held.command, settings=call.settings, progress=call.progress)
        return StepResult(step.line, step.verb, "done", detail=step.text.partition("pip ")[2])

    def export(self, step: Step, script: Script) -> list[str]:
        script.installs(step)
        words = [script.word(word) for word in step.command]
        return [*script.as_typed(step.command), f"({script.fold('pip_install', *words)})"]


def _paths(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the files and folders among the arguments of a pip install, each with its option if it has one."""
    option = ""
    for word in words:
        name, _, value = word.partition("=")
        if word[:2] in _OPTIONS and word[2:]:
            name, value = word[:2], word[2:].removeprefix("=")
        if option or (name in _OPTIONS and value):
            known, path = option or name, word if option else value
            if "://" not in path:
                yield _LONG.get(known, known), path
            option = ""
        elif word in _OPTIONS:
            option = word
        elif not word.startswith("-") and "://" not in word and ("/" in word or word.startswith(".")):
            yield "", word


VERB = _Pip()
