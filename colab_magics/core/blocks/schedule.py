"""Which step of a running block may start, as far as is known by now."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.effects import effects_of, paths_here, waits_of
from colab_magics.core.blocks.plan import Step
from colab_magics.core.common import drive
from colab_magics.core.common.settings import Settings
from colab_magics.errors import ColabMagicsError

__all__ = ["Schedule"]


class Schedule:
    """What each step waits for.

    Parameters
    ----------
    steps : sequence of Step
        The block's.
    mine : sequence of int
        Which of them are for this environment, as indices; the others are waited for by nobody.
    settings : Settings
        The configuration.

    Attributes
    ----------
    waits : dict of int to list of int
        For each of `mine` the earlier ones that it waits for.
    """

    def __init__(self, steps: Sequence[Step], mine: Sequence[int], settings: Settings) -> None:
        self._steps, self._mine, self._settings = [steps[index] for index in mine], list(mine), settings
        self._effects = effects_of(self._steps, paths_here(settings), settings)
        self.waits: dict[int, list[int]] = {}
        self._decide(())

    def look_again(self, started: Collection[int], done: Collection[int]) -> None:
        """Read what could not be read before: a requirements file may be there now, and names less than its folder.

        Parameters
        ----------
        started, done : collection of int
            The steps that have begun, and those that have ended well, as indices.
        """
        guessed = [
            place
            for place, (index, effects) in enumerate(zip(self._mine, self._effects, strict=True))
            if effects.guessed and index not in started
        ]
        if not guessed:
            return
        ended = {place for place, index in enumerate(self._mine) if index in done}
        now = effects_of(self._steps, paths_here(self._settings), self._settings, ended)
        for place in guessed:
            self._effects[place] = now[place]
        self._decide(started)

    def may_relax(self, index: int) -> bool:
        """Tell whether a step may turn out to wait for less."""
        return self._effects[self._mine.index(index)].guessed

    def problems(self) -> list[str]:
        """Return what will stop a step, a line each: what it needs is not here, and no earlier step may make it."""
        found = []
        for place, (step, mine) in enumerate(zip(self._steps, self._effects, strict=True)):
            before = [effects for effects in self._effects[:place] if not effects.sets_environment]
            told = [
                f"{message}, and no line before this one makes it"
                for path, message in mine.needs
                if not os.path.lexists(path) and not any(effects.may_make(path) for effects in before)
            ]
            try:
                if mine.on_drive and not any(effects.mounts or effects.everything for effects in before):
                    drive.drive_root(self._settings)
                if not told and not any(effects.keeps_order_with(mine) for effects in before):
                    verbs.get(step.verb).foresee(step, self._settings)
            except ColabMagicsError as error:
                told = [str(error)]
            found += [f"line {step.line}: {message}" for message in dict.fromkeys(told)]
        return found

    def absent(self, index: int) -> list[str]:
        """Return what a step needs and is not here yet, a phrase each."""
        needs = self._effects[self._mine.index(index)].needs
        return list(dict.fromkeys(message for path, message in needs if not os.path.lexists(path)))

    def _decide(self, started: Collection[int]) -> None:
        for index, before in zip(self._mine, waits_of(self._effects), strict=True):
            if index not in started:
                self.waits[index] = [self._mine[other] for other in before]
