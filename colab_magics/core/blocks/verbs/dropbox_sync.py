"""``dropbox_sync LINK [DEST]``: make DEST hold what a share link holds."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from colab_magics.core.blocks.arguments import check_secret
from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import SyncResult
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lockfile import Lock
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]


class _DropboxSync(Verb):
    command = "sync"
    synopsis = "LINK [DEST]"
    summary = "make DEST hold what a Dropbox share link holds; --once for a dataset"
    description = (
        "Make DEST hold what a share link holds. Only files whose content differs are written, other\n"
        "files are left alone, and a file that you changed is kept in DEST/.colab_magics/backup/ before\n"
        "it is replaced."
    )
    example = "  VERB 'https://www.dropbox.com/scl/fo/abc/h?rlkey=...' proj\n  VERB secret:DATASET_LINK dataset --once"
    loads = ("syncing.sync",)

    def arguments(self, parser: Arguments) -> None:
        add = parser.add_argument
        add(
            "link",
            metavar="LINK",
            help="a Dropbox share link (folder or file), dropbox:/PATH of your own, any https address, or secret:NAME",
        )
        add("dest", metavar="DEST", nargs="?", help="where it goes; default: the name that the server gives")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="once complete, do nothing; never replace a file")
        how.add_argument(
            "--mirror", action="store_true", help="also remove what a sync wrote and the link no longer holds"
        )
        add("--force", action="store_true", help="forget what is known and fetch again")
        add("--include", metavar="GLOB", action="append", default=[], help="only members that match (repeatable)")
        add("--exclude", metavar="GLOB", action="append", default=[], help="no members that match (repeatable)")
        add("--unpack", action="store_true", help="LINK is an archive (zip, tar, tar.gz, ...): unpack it into DEST")
        add("--names", metavar="ENCODING", help="of a zip's names that do not say it themselves, as shift_jis or gbk")
        add("--sha256", metavar="HEX", help="a file link's content must have this digest")
        add("--password", metavar="secret:NAME", help="for a password-protected link")
        add(
            "--via",
            choices=("auto", "zip", "api"),
            default="auto",
            help="after a login to Dropbox: a folder as a zip, file by file, or as is quicker",
        )

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        from colab_magics.core.blocks.lexer import SYMBOL  # here: loading the extension must not wait for them
        from colab_magics.core.http import links

        if args.link.startswith("secret:"):
            check_secret(args.link)
        elif not SYMBOL.search(args.link):
            links.parse(args.link, dropbox_url=dropbox_url)
        check_secret(args.password)
        if args.sha256 and not SYMBOL.search(args.sha256) and not re.fullmatch(r"[0-9A-Fa-f]{64}", args.sha256):
            raise PlanError(f"--sha256 {args.sha256!r} is no digest of 64 hexadecimal digits")
        if args.names and not SYMBOL.search(args.names):
            from colab_magics.core.archives.names import check_encoding  # here: as above

            check_encoding(args.names)

    def effects(self, step: Step, touches: Touches) -> None:
        from colab_magics.core.http import links  # here: loading must not wait for it

        args = step.args
        if "secret:" in f"{args.link}{args.password}" or args.link.startswith("dropbox:"):
            touches.secrets()
        if args.dest is None:
            touches.writes(".")  # the server gives the name
            return
        touches.writes(args.dest)
        if args.link.startswith("secret:"):
            return  # what it is a link to is known when it is read; the mutex of the folder does for files beside it
        if links.parse(args.link, dropbox_url=touches.settings.dropbox_url).kind != "folder":
            # The record of one file lies beside it, and is shared with other files there.
            parent = os.path.dirname(args.dest.rstrip("/")) or "."
            touches.writes(f"{parent}/.colab_magics")

    def is_done(self, step: Step, settings: Settings) -> bool:
        from colab_magics.core.syncing import sync  # here: loading must not wait for it

        args = step.args
        chosen = {name: getattr(args, name) for name in ("include", "exclude", "unpack", "sha256", "names")}
        return args.once and sync.is_complete(args.link, args.dest, **chosen, settings=settings)

    def run(self, step: Step, call: Call) -> SyncResult:
        from colab_magics.core.syncing import sync  # here: loading must not wait for it

        args = step.args
        result = sync.sync(
            args.link,
            args.dest,
            once=args.once,
            mirror=args.mirror,
            force=args.force,
            include=args.include,
            exclude=args.exclude,
            unpack=args.unpack,
            sha256=args.sha256,
            names=args.names,
            password=args.password,
            via=args.via,
            dry_run=call.dry_run,
            approve=call.frozen.approval(step) if call.frozen else None,
            settings=call.settings,
            progress=call.progress,
        )
        if call.frozen:
            # What it left alone, because it is complete, was not looked at yet.
            call.frozen.check(step, result, call.settings)
        return result

    def missing(self, step: Step, lock: Lock) -> list[str]:
        return [] if lock.holds(step) else [lock.destination(step)]

    def note(self, step: Step, result: object, lock: Lock, settings: Settings) -> None:
        assert isinstance(result, SyncResult)  # noqa: S101 - what run returns
        lock.note_sync(step, result, settings)

    def export(self, step: Step, script: Script) -> list[str]:
        from colab_magics.core.blocks.lexer import SYMBOL  # here: as above
        from colab_magics.core.common.selection import posix_pattern
        from colab_magics.core.http import links

        args, lines = step.args, []
        words = [f"--{flag}" for flag in ("once", "mirror", "force", "unpack") if getattr(args, flag)]
        _refuse_in_script(args)
        if args.sha256:
            words += ["--sha256", script.word(args.sha256)]
            script.need(step, "sha256sum", "shasum")
        if args.password:
            lines.append(f"key={script.secret(args.password)}")
            words += ["--password", '"$key"']
        for option, globs in (("--include", args.include), ("--exclude", args.exclude)):
            for glob in globs:
                if SYMBOL.search(glob):
                    raise PlanError(f"a script takes no variable in a pattern; write the one of {option} out")
                words += [option, shlex.quote(posix_pattern(glob))]
        script.features.update(words)
        link = None
        if args.link.startswith("secret:"):
            lines.append(f"link={script.secret(args.link)}")
            words.append('"$link"')
        else:
            words.append(script.word(args.link))
            script.withhold_variables(args.link)
            if not SYMBOL.search(args.link):
                link, script.holds_link = links.parse(args.link), True
                script.hidden += link.secrets or [args.link.partition("?")[2]]
        script.plain(step, args.link, args.dest)
        words += [script.word(args.dest)] if args.dest else []
        script.need(step, "curl", "wget")
        if not link or link.kind != "file" or args.unpack:
            script.need(step, "unzip", '"$PYTHON"')
        return [*lines, script.fold("dropbox_sync", *words)]


def _refuse_in_script(args: argparse.Namespace) -> None:
    if args.link.startswith("dropbox:"):
        raise PlanError("a script cannot log in to a Dropbox; give it a share link, or run the block in colab-magics")
    if args.names:
        raise PlanError("a script cannot do --names, since unzip may not; leave it out, or unpack in Python")


VERB = _DropboxSync()
