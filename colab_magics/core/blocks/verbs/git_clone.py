"""``git_clone SPEC [DEST]``: a repository as a working tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colab_magics.core.blocks.arguments import check_secret, count
from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import CloneResult

if TYPE_CHECKING:
    import argparse

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lockfile import Lock
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]


class _GitClone(Verb):
    command = "clone"
    synopsis = "SPEC [DEST]"
    summary = "a (private) git repository as a working tree"
    description = (
        "Make DEST a working tree of a git repository, with its submodules and large files. Again: fetch and go\n"
        "forward; your changes are kept. git pull in it finds the token by itself."
    )
    example = "  VERB acme/project\n  VERB acme/project@v2 proj --depth 1"
    loads = ("git.clone",)

    def arguments(self, parser: Arguments) -> None:
        add = parser.add_argument
        add("spec", metavar="SPEC", help="org/repo@REF, repo, HOST/org/repo, https://...")
        add("dest", metavar="DEST", nargs="?", help="where it goes; default: the repository's name")
        add("--depth", metavar="N", type=count, help="only the newest N commits")
        add("--token", metavar="secret:NAME", help="the name of the token; never the token itself")

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        from colab_magics.core.git.clone import repository  # here: loading the extension must not wait for it

        check_secret(args.token)
        repository(args.spec, "owner")

    def needs(self, step: Step) -> list[str]:
        from colab_magics.core.git.clone import repository  # here: as above

        token = step.args.token
        return [*super().needs(step), *([] if token else [f"host:{repository(step.args.spec, 'owner').host}"])]

    def effects(self, step: Step, touches: Touches) -> None:
        touches.secrets()
        touches.programs(installs=False)  # git-lfs
        touches.writes(self._dest(step))

    def run(self, step: Step, call: Call) -> CloneResult:
        from colab_magics.core.git.clone import git_clone  # here: loading must not wait for it

        args = step.args
        return git_clone(
            call.frozen.pinned(args.spec) if call.frozen else args.spec,
            self._dest(step),
            depth=args.depth,
            token=args.token,
            dry_run=call.dry_run,
            settings=call.settings,
            progress=call.progress,
        )

    def missing(self, step: Step, lock: Lock) -> list[str]:
        return [name] if (name := lock.unknown(step.args.spec)) else []

    def note(self, step: Step, result: object, lock: Lock, settings: Settings) -> None:
        assert isinstance(result, CloneResult)  # noqa: S101 - what run returns
        lock.note_repositories([(result.url, result.commit)])

    def export(self, step: Step, script: Script) -> list[str]:
        from colab_magics.core.git.specs import parse_spec  # here: as above

        args = step.args
        script.plain(step, args.dest)
        script.features.add("check_out")
        lines = [*script.git(step, args.token, args.spec), *script.repository(args.spec)]
        if args.depth:
            lines.append(f"depth={args.depth}")
        ref = parse_spec(args.spec, owner="owner").ref or ""
        lines.append(f'check_out "$url" {script.word(ref)} {script.word(self._dest(step))}')
        return ["(", *(f"  {line}" for line in lines), "  finish_clone", ")"]

    def _dest(self, step: Step) -> str:
        from colab_magics.core.git.clone import repository  # here: as above

        return step.args.dest or repository(step.args.spec, "owner").repository


VERB = _GitClone()
