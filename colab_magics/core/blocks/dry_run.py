"""What a block would do, said without the network and without a change."""

from __future__ import annotations

from collections.abc import Sequence

from colab_magics.core.blocks.plan import Step
from colab_magics.core.blocks.schedule import Order
from colab_magics.core.common import layout
from colab_magics.core.common.results import StepResult
from colab_magics.core.common.settings import Settings

__all__ = ["foresee"]


def foresee(steps: Sequence[Step], order: Order, settings: Settings) -> dict[int, StepResult]:
    """Return for each step of this environment when it would run, and whether it would find nothing to do."""
    found = {}
    waves = order.waves()
    for index, before in order.waits.items():
        step = steps[index]
        after = ", ".join(str(steps[other].line) for other in before)
        detail = f"wave {waves[index]}{f', after line {after}' if after else ''}: {step.text}"
        status = "up-to-date" if _is_done(step, settings) else "planned"
        found[index] = StepResult(step.line, step.verb, status, detail=detail)
    return found


def _is_done(step: Step, settings: Settings) -> bool:
    """Tell, without the network and without a change, whether a step would find nothing to do."""
    args = step.args
    if step.verb == "dropbox_sync" and args.once:
        from colab_magics.core.syncing import sync  # here and below: a block without such a step does without these

        return sync.is_complete(
            args.link,
            args.dest,
            include=args.include,
            exclude=args.exclude,
            unpack=args.unpack,
            sha256=args.sha256,
            settings=settings,
        )
    if step.verb == "pip":
        from colab_magics.core.packages import satisfied

        return satisfied.arguments_hold(step.command)
    if step.verb == "symlink":
        linked = layout.symlink(args.source, args.link, force=True, dry_run=True, settings=settings)
        return linked.status == "up-to-date"
    return False
