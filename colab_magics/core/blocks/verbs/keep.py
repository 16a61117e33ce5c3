"""``keep SOURCE DEST``: from now on copy what appears in a folder to a safe place."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from colab_magics.core.blocks.lexer import SYMBOL
from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import KeepStatus, KeepStatuses
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB", "check_source", "destination", "folders", "patterns"]


class _Keep(Verb):
    command = "keep"
    synopsis = "SOURCE DEST"
    summary = "from now on copy what appears in SOURCE to DEST, whole and verified"
    description = (
        "From now on copy what appears in SOURCE, a local folder, to a safe place. A process of its own does that\n"
        "every few minutes, at the end of each run step and of the kernel. Only what held still is copied, and only\n"
        "whole; what you delete in SOURCE stays at DEST."
    )
    example = "  VERB proj/data/working drive:exp1/working --last 3 'ckpt*.pt'\n  VERB --status"
    loads = ("keeping.keep",)

    def arguments(self, parser: Arguments) -> None:
        add = parser.add_argument
        add("source", metavar="SOURCE", nargs="?", help="a local folder; made if it is missing")
        add("dest", metavar="DEST", nargs="?", help="drive:PATH, a folder, or dropbox:/PATH")
        add("--every", metavar="TIME", help="how often: 90s, 5m, 1h; default: 5m")
        add(
            "--last",
            metavar=("N", "GLOB"),
            nargs=2,
            action="append",
            default=[],
            help="of these, the last N",
        )
        add("--include", metavar="GLOB", action="append", default=[], help="only files that match (repeatable)")
        add("--exclude", metavar="GLOB", action="append", default=[], help="no files that match (repeatable)")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--status", action="store_true", help="show what is kept, and what is not there yet")
        how.add_argument("--now", action="store_true", help="push now, and wait for it")
        how.add_argument("--stop", action="store_true", help="push, and end")

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        if _asks(args):
            if args.dest is not None or args.every or args.last or args.include or args.exclude:
                raise PlanError("--status, --now and --stop take SOURCE alone, or nothing")
        elif args.source is None or args.dest is None:
            raise PlanError("keep is followed by SOURCE and DEST, or by --status, --now or --stop")
        else:
            check_source(args.source)
        for text in [args.every] if args.every and not SYMBOL.search(args.every) else []:
            _seconds(text)
        for count, _ in args.last:
            if not SYMBOL.search(count) and not (count.isdecimal() and int(count)):
                raise PlanError(f"--last {count!r} is no number of files; write as in --last 3 'ckpt*.pt'")

    def effects(self, step: Step, touches: Touches) -> None:
        if step.args.source:
            touches.writes(step.args.source)  # made if it is not there
        if step.args.dest:
            destination(step.args.dest, touches, touches.writes)

    def foresee(self, step: Step, settings: Settings) -> None:
        self._keep(step, settings, dry_run=True)

    def is_done(self, step: Step, settings: Settings) -> bool:
        result = self._keep(step, settings, dry_run=True)
        return isinstance(result, KeepStatus) and result.status == "up-to-date"

    def run(self, step: Step, call: Call) -> KeepStatus | KeepStatuses:
        return self._keep(step, call.settings, dry_run=call.dry_run, lasts=call.lasts)

    def export(self, step: Step, script: Script) -> list[str]:
        args = step.args
        if _asks(args):
            raise PlanError("a script keeps until it ends; leave --status, --now and --stop out")
        if SYMBOL.search(args.every or ""):
            raise PlanError("a script takes no variable in --every; write the time out")
        words = [str(max(1, round(_seconds(args.every or "5m")))), *folders(step, script, args.source, args.dest)]
        words += [*patterns("--include", args.include), *patterns("--exclude", args.exclude)]
        for count, glob in args.last:
            words += ["--last", script.word(count), *patterns("--last", [glob])[1:]]
        return [script.fold("keep", *words)]

    def _keep(self, step: Step, settings: Settings, *, dry_run: bool, lasts: bool = True) -> KeepStatus | KeepStatuses:
        from colab_magics.core.keeping import keep  # here: loading the extension must not wait for it

        args = step.args
        if _asks(args):
            now, stop = args.now and not dry_run, args.stop and not dry_run
            found = keep.kept(args.source, now=now, stop=stop, settings=settings)
            return found[0] if args.source else KeepStatuses(found)
        return keep.keep(
            args.source,
            args.dest,
            every=_seconds(args.every) if args.every else None,
            last=[(int(count), glob) for count, glob in args.last],
            include=args.include,
            exclude=args.exclude,
            lasts=lasts,
            dry_run=dry_run,
            settings=settings,
        )


def _asks(args: argparse.Namespace) -> bool:
    return bool(args.status or args.now or args.stop)


def _seconds(text: str) -> float:
    """Return how many seconds ``90``, ``30s``, ``5m`` or ``1h`` is."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text)
    if not found or not float(found[1]):
        raise PlanError(f"--every {text!r} is no time; write as in 90s, 5m or 1h")
    return float(found[1]) * {"h": 3600, "m": 60}.get(found[2], 1)


def check_source(source: str) -> None:
    """Refuse what is no local folder."""
    if source.startswith(("dropbox:", "drive:")):
        raise PlanError(f"SOURCE must be a local folder, not {source!r}; it is kept at DEST")


def destination(dest: str, touches: Touches, note: Callable[[str], None]) -> None:
    """Note what a step does with DEST."""
    if dest.startswith("dropbox:"):
        touches.secrets()
    else:
        note(dest)


def folders(step: Step, script: Script, source: str, dest: str) -> list[str]:
    """Return the words of SOURCE and DEST in a script."""
    if dest.startswith("dropbox:"):
        raise PlanError("a script keeps in folders alone; for dropbox:/ run the block with colab-magics")
    script.plain(step, source, dest)
    return [script.word(source), script.word(dest)]


def patterns(option: str, globs: Sequence[str]) -> list[str]:
    """Return globs, each behind its option, as patterns of a script."""
    from colab_magics.core.common.selection import posix_pattern  # here: a magic does without it

    words = []
    for glob in globs:
        if SYMBOL.search(glob):
            raise PlanError(f"a script takes no variable in a pattern; write the one of {option} out")
        words += [option, shlex.quote(posix_pattern(glob))]
    return words


VERB = _Keep()
