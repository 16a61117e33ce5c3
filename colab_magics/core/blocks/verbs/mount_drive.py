"""``mount_drive [MOUNTPOINT]``: mount Google Drive on Colab, elsewhere take the configured folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]


class _MountDrive(Verb):
    command = "mount-drive"
    synopsis = "[MOUNTPOINT]"
    summary = "mount Google Drive on Colab; print the drive's root"
    description = "Mount Google Drive on Colab, elsewhere take the configured folder; returns the path of its root."
    in_main_thread = True  # google.colab's mount talks to the page

    def arguments(self, parser: Arguments) -> None:
        parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="default: /content/drive")

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        from colab_magics.core.blocks.lexer import SYMBOL  # here: a magic does without it

        where = args.mountpoint
        if where and not SYMBOL.match(where) and not Path(where).expanduser().is_absolute():
            raise PlanError(f"the mountpoint {where!r} must be an absolute path, such as /content/drive")

    def effects(self, step: Step, touches: Touches) -> None:
        touches.mounts(step.args.mountpoint)

    def foresee(self, step: Step, settings: Settings) -> None:
        self._mount(step, settings, dry_run=True)

    def run(self, step: Step, call: Call) -> Path:
        return self._mount(step, call.settings, dry_run=call.dry_run)

    def export(self, step: Step, script: Script) -> list[str]:
        script.plain(step, step.args.mountpoint)
        return [script.call("mount_drive", step.args.mountpoint or "/content/drive")]

    def _mount(self, step: Step, settings: Settings, *, dry_run: bool) -> Path:
        from colab_magics.core.common.drive import mount_drive  # here: loading the extension must not wait for it

        return mount_drive(step.args.mountpoint, dry_run=dry_run, settings=settings)


VERB = _MountDrive()
