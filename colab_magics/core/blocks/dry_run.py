"""What a block would do, said without the network and without a change."""

from __future__ import annotations

from collections.abc import Sequence

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.plan import Step
from colab_magics.core.blocks.schedule import Schedule
from colab_magics.core.common.results import StepResult
from colab_magics.core.common.settings import Settings
from colab_magics.errors import ColabMagicsError

__all__ = ["foresee"]


def foresee(steps: Sequence[Step], schedule: Schedule, settings: Settings) -> dict[int, StepResult]:
    """Return for each step of this environment when it would run, and whether it would find nothing to do."""
    found = {}
    for index, before in schedule.waits.items():
        step = steps[index]
        after = ", ".join(str(steps[other].line) for other in before)
        status = "up-to-date" if _is_done(step, settings) else "planned"
        parts = [step.text, *([f"after line {after}"] if after else [])]
        parts += [f"{message} yet" for message in schedule.absent(index)]
        detail = "; ".join(parts)
        found[index] = StepResult(step.line, step.verb, status, detail=detail)
    return found


def _is_done(step: Step, settings: Settings) -> bool:
    try:
        return verbs.get(step.verb).is_done(step, settings)
    except ColabMagicsError:
        return False  # what stands in its way now, an earlier step may clear
