"""Steps -> done, one after the other, each only as far as something is left to do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from colab_magics.core import environment, installed, layout, packages, process, syncing
from colab_magics.core.perform import Result, perform
from colab_magics.core.plan import Plan, Step, read_plan
from colab_magics.core.progress import SILENT, Progress
from colab_magics.core.results import BootstrapResult, StepResult
from colab_magics.core.settings import Settings
from colab_magics.errors import ColabMagicsError, StepError

__all__ = ["Report", "bootstrap"]


class Report(Protocol):
    """What a face can be told of a block that runs."""

    def started(self, step: Step) -> None:
        """Hear that a step begins."""

    def ended(self, _step: Step, result: StepResult) -> None:
        """Hear that a step has ended, or was passed over."""


def bootstrap(
    block: str | Plan,
    *,
    variables: Mapping[str, object] | None = None,
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
    report: Report | None = None,
) -> BootstrapResult:
    """Run a bootstrap block: every step in turn, each only as far as something is left to do.

    Parameters
    ----------
    block : str or Plan
        The block's text, or what `read_plan` made of it.
    variables : mapping, optional
        What ``$NAME`` stands for, before the environment.
    dry_run : bool, optional
        Say which steps would run, and run none.
    settings : Settings, optional
        By default read from the environment.
    progress : Progress, optional
        Hears what goes on inside a step.
    report : Report, optional
        Hears of each step's beginning and end.

    Returns
    -------
    BootstrapResult

    Raises
    ------
    PlanError
        When the block is wrong; nothing has run then.
    StepError
        When a step failed; the steps after it were not run. Has the results in its `result`.
    """
    settings = settings or Settings.load()
    known = {**os.environ, **(variables or {})}
    plan = block if isinstance(block, Plan) else read_plan(block, known, dropbox_url=settings.dropbox_url)
    here = environment.detect(override=settings.env)
    began = time.monotonic()
    outcome, failed = BootstrapResult(), None
    for step in plan.steps:
        if failed is None and report:
            report.started(step)
        started = time.monotonic()
        try:
            if failed is not None:
                result = StepResult(step.line, step.verb, "skipped", detail=f"line {failed.line} failed")
            elif step.on and here not in step.on:
                result = StepResult(
                    step.line, step.verb, "skipped", detail=f"only on {', '.join(step.on)}, this is {here}"
                )
            elif dry_run:
                result = _foresee(step, settings)
            else:
                result = _do(step, settings, progress)
        except ColabMagicsError as error:
            result = failed = StepResult(step.line, step.verb, "failed", detail=str(error))
        result.seconds = time.monotonic() - started
        outcome.steps.append(result)
        if report:
            report.ended(step, result)
    outcome.seconds = time.monotonic() - began
    if failed is not None:
        raise StepError(f"line {failed.line}: {failed.verb}: {failed.detail}", outcome)
    return outcome


def _do(step: Step, settings: Settings, progress: Progress) -> StepResult:
    if step.verb == "run":
        return _run(step, settings, progress)
    if step.verb == "pip":
        if installed.arguments_hold(step.command):
            return StepResult(step.line, step.verb, "up-to-date", detail="everything it asks for is installed")
        packages.pip_install(list(step.command), settings=settings, progress=progress)
        return StepResult(step.line, step.verb, "done", detail=step.text.partition("pip ")[2])
    result = perform(step.verb, step.args, settings, progress)
    status = getattr(result, "status", "done")
    return StepResult(step.line, step.verb, "up-to-date" if status == "up-to-date" else "done", detail=_brief(result))


def _brief(result: Result) -> str:
    return str(result) if isinstance(result, Path) else repr(result)


def _run(step: Step, settings: Settings, progress: Progress) -> StepResult:
    folder = layout.expand(step.args.folder, settings) if step.args.folder else None
    command = step.command if isinstance(step.command, str) else list(step.command)
    env = {**os.environ, "PATH": environment.child_path(), "PYTHONUNBUFFERED": "1"}
    done = process.run(command, cwd=folder, env=env, on_output=progress.output)
    if done.status:
        how = f"was ended by signal {-done.status}" if done.status < 0 else f"failed with status {done.status}"
        raise StepError(f"{process.describe(command)} {how}; its last lines:\n{done.tail()}")
    return StepResult(step.line, step.verb, "done", detail=process.describe(command))


def _foresee(step: Step, settings: Settings) -> StepResult:
    """Say what a step would do, without the network and without a change."""
    args, ready = step.args, False
    if step.verb == "dropbox_sync" and args.once:
        ready = syncing.is_complete(
            args.link,
            args.dest,
            include=args.include,
            exclude=args.exclude,
            unpack=args.unpack,
            sha256=args.sha256,
            settings=settings,
        )
    elif step.verb == "pip":
        ready = installed.arguments_hold(step.command)
    elif step.verb == "symlink":
        ready = (
            layout.symlink(args.source, args.link, force=True, dry_run=True, settings=settings).status == "up-to-date"
        )
    return StepResult(step.line, step.verb, "up-to-date" if ready else "planned", detail=step.text)
