"""``symlink SOURCE LINK``: put a symlink at a place, whatever stale link stands there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import LinkResult
from colab_magics.errors import ColabMagicsError

if TYPE_CHECKING:
    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]

_LATELY = 86400.0  # seconds: a runtime of Colab lives for less
_warned: set[str] = set()  # the sources that a warning was given for


class _Symlink(Verb):
    command = "symlink"
    synopsis = "SOURCE LINK"
    summary = "put a symlink at LINK"
    description = (
        "Put a symlink at LINK that points to SOURCE, whatever stale link, empty folder or link's text stands there."
    )
    example = "  VERB dataset proj/data/input\n  VERB drive:dataset proj/data/input"
    loads = ("common.symlinks",)

    def arguments(self, parser: Arguments) -> None:
        parser.add_argument(
            "source", metavar="SOURCE", help="what the link points to (drive:PATH is made if it is missing)"
        )
        parser.add_argument("link", metavar="LINK", help="where the link stands; parents are made")
        parser.add_argument("--force", action="store_true", help="move what stands there to a backup beside it")

    def effects(self, step: Step, touches: Touches) -> None:
        if step.args.source.startswith("drive:"):
            touches.writes(step.args.source)  # made if it is not there
        else:
            touches.needs(step.args.source, "the source")
        touches.links(step.args.link, step.args.source)

    def foresee(self, step: Step, settings: Settings) -> None:
        self._link(step, settings, dry_run=True)

    def is_done(self, step: Step, settings: Settings) -> bool:
        return self._link(step, settings, dry_run=True).status == "up-to-date"

    def run(self, step: Step, call: Call) -> LinkResult:
        source, link = step.args.source, step.args.link
        is_written = source.startswith("drive:") and _is_written(source, call.settings)
        result = self._link(step, call.settings, dry_run=call.dry_run)
        if is_written and source not in _warned:
            _warned.add(source)
            call.progress.say(
                f"what is written to {link} goes straight to Drive, and may be lost when the runtime ends; with "
                f"keep {link} {source} in place of the link it is written here, and copied whole"
            )
        return result

    def export(self, step: Step, script: Script) -> list[str]:
        args = step.args
        script.plain(step, args.source, args.link)
        return [script.call("symlink", *(["--force"] if args.force else []), args.source, args.link)]

    def _link(self, step: Step, settings: Settings, *, dry_run: bool) -> LinkResult:
        from colab_magics.core.common.symlinks import symlink  # here: loading the extension must not wait for it

        return symlink(step.args.source, step.args.link, force=step.args.force, dry_run=dry_run, settings=settings)


def _is_written(source: str, settings: Settings) -> bool:
    """Tell whether a folder on the drive looks like one for results: it is new, empty, or was written to lately."""
    from colab_magics.core.common.drive import expand  # here: as above

    try:
        found = [entry.stat().st_mtime for entry in os.scandir(expand(source, settings))]
    except FileNotFoundError:
        return True
    except (OSError, ColabMagicsError):
        return False
    return not found or time.time() - max(found) < _LATELY


VERB = _Symlink()
