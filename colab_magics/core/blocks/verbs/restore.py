"""``restore DEST SOURCE``: bring back what was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.blocks.verbs.keep import check_source, destination, folders, patterns
from colab_magics.core.common.results import SyncResult

if TYPE_CHECKING:
    import argparse

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]


class _Restore(Verb):
    command = "restore"
    synopsis = "DEST SOURCE"
    summary = "bring back what was kept at DEST"
    description = (
        "Bring back what keep has put at DEST: what is missing in SOURCE, or differs. Nothing is done where DEST is\n"
        "empty, as on a first run. A newer local file stays; any other that is replaced is kept in\n"
        "SOURCE/.colab_magics/backup/."
    )
    example = "  VERB drive:exp1/working proj/data/working"
    loads = ("keeping.keep",)

    def arguments(self, parser: Arguments) -> None:
        add = parser.add_argument
        add("dest", metavar="DEST", help="where it was kept: drive:PATH, a folder, or dropbox:/PATH")
        add("source", metavar="SOURCE", help="the local folder that it comes back to")
        add("--include", metavar="GLOB", action="append", default=[], help="only files that match (repeatable)")
        add("--exclude", metavar="GLOB", action="append", default=[], help="no files that match (repeatable)")

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        check_source(args.source)

    def effects(self, step: Step, touches: Touches) -> None:
        destination(step.args.dest, touches, touches.reads)
        touches.writes(step.args.source)

    def foresee(self, step: Step, settings: Settings) -> None:
        if not step.args.dest.startswith("dropbox:"):  # else the network would be asked
            self._restore(step, Call(settings), dry_run=True)

    def run(self, step: Step, call: Call) -> SyncResult:
        return self._restore(step, call, dry_run=call.dry_run)

    def export(self, step: Step, script: Script) -> list[str]:
        args = step.args
        source, dest = folders(step, script, args.source, args.dest)
        chosen = [*patterns("--include", args.include), *patterns("--exclude", args.exclude)]
        return [script.fold("restore", dest, source, *chosen)]

    def _restore(self, step: Step, call: Call, *, dry_run: bool) -> SyncResult:
        from colab_magics.core.keeping.keep import restore  # here: loading the extension must not wait for it

        args, progress = step.args, call.progress
        chosen = {"include": args.include, "exclude": args.exclude, "dry_run": dry_run}
        return restore(args.dest, args.source, **chosen, settings=call.settings, progress=progress)


VERB = _Restore()
