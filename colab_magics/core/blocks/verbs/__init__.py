"""The verbs, a module each; whoever needs to know about verbs asks here.

Every module of this package is a verb: it is called as the verb is, and its `VERB` is a
`colab_magics.core.blocks.verb.Verb`. There is no other list of them.
"""

from __future__ import annotations

import argparse
import importlib
import os
from functools import cache

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.settings import Settings

__all__ = ["every", "get", "names", "perform"]


@cache
def names() -> tuple[str, ...]:
    """Return the name of every verb, in alphabetical order."""
    files = {os.path.splitext(name) for folder in __path__ for name in os.listdir(folder)}
    return tuple(sorted(name for name, kind in files if kind == ".py" and not name.startswith("_")))


def get(name: str) -> Verb:
    """Return the verb of that name."""
    verb: Verb = importlib.import_module(f"{__name__}.{name}").VERB
    return verb


def every() -> list[Verb]:
    """Return all of them."""
    return [get(name) for name in names()]


def perform(
    name: str,
    args: argparse.Namespace,
    settings: Settings,
    progress: Progress = SILENT,
    *,
    dry_run: bool = False,
    lasts: bool = True,
) -> object:
    """Do, outside of a block, what the verb of that name stands for; `args` is what its parser read."""
    from colab_magics.core.blocks.plan import Step  # here: it asks this module for the verbs

    return get(name).run(Step(0, name, "", args), Call(settings, progress, dry_run, lasts=lasts))
