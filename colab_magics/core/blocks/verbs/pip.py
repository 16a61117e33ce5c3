"""``pip install ...``: as pip's, and not even started when everything is there."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import StepResult
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lexer import Word
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]


class _Pip(Verb):
    synopsis = "install ..."
    summary = "as pip's; not even started when everything is there"
    description = "Install packages from an index; takes all that pip install takes."
    example = "  VERB install -r requirements.txt"
    loads = ("packages.install", "packages.satisfied")
    options = (
        "--constraint --editable --extra-index-url --find-links --force-reinstall --index-url --no-build-isolation "
        "--no-deps --no-index --pre --quiet --requirement --target --upgrade --upgrade-strategy --user"
    )

    def claims(self, words: Sequence[Word]) -> bool:
        return bool(words) and words[0].value == "install"

    def read(self, words: Sequence[Word]) -> tuple[argparse.Namespace, tuple[str, ...] | str]:
        args, rest = self.parser(step=True).read_leading(words[1:])
        if not self.claims(words) or not rest:
            raise PlanError("pip is followed by install and what to install")
        return args, tuple(word.value for word in rest)

    def needs(self, step: Step) -> list[str]:
        names_hosts = any(word.startswith(("-r", "--requirement")) or "://" in word for word in step.command)
        return ["host:*"] if names_hosts else []

    def effects(self, step: Step, touches: Touches) -> None:
        from colab_magics.core.packages.pip_args import parse  # here: loading must not wait for it

        touches.secrets()
        touches.packages()
        asked = parse(step.command)
        for name, what in (("requirement", "the requirements file"), ("constraint", "the constraints file")):
            for path in asked.options.get(name, []):
                touches.requirements(path, lambda _: "src", what)  # pip clones to src, by the project's name
        for path in asked.options.get("find-links", []):
            if "://" not in path:
                touches.reads(path)
        for path in asked.editables + [target for target in asked.targets if "/" in target or target.startswith(".")]:
            if "://" not in path:
                touches.builds(path)
        for name in ("target", "prefix", "root", "src"):
            for path in asked.options.get(name, []):
                touches.writes(path)

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
        return ["(", "  open_git", f"  {script.call('pip', *step.command)}", ")", "say 'done'"]


VERB = _Pip()
