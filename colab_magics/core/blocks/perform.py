"""A verb and its arguments -> the call that it stands for: the one place where the faces meet the rooms."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_magics.core.common import layout
from colab_magics.core.common.layout import LinkResult
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.results import InstallResult, SyncResult
from colab_magics.core.common.settings import Settings

if TYPE_CHECKING:
    from colab_magics.core.syncing.manifest import Manifest

__all__ = ["Result", "perform", "preload"]

Result = SyncResult | InstallResult | LinkResult | Path


def preload(verb: str) -> None:
    """Load the rooms that a verb needs, so that no step's time has that in it."""
    rooms = {
        "dropbox_sync": ("syncing.sync",),
        "private_pip": ("packages.install",),
        "pip": ("packages.install", "packages.satisfied"),
    }
    for room in rooms.get(verb, ()):
        importlib.import_module(f"colab_magics.core.{room}")


def perform(
    verb: str,
    args: argparse.Namespace,
    settings: Settings,
    progress: Progress = SILENT,
    *,
    dry_run: bool = False,
    approve: Callable[[Manifest, str], None] | None = None,
) -> Result:
    """Do what a verb stands for.

    Parameters
    ----------
    verb : {'dropbox_sync', 'private_pip', 'symlink', 'mount_drive'}
        What to do.
    args : argparse.Namespace
        Its arguments, as `colab_magics.core.blocks.verbs.parser` reads them.
    settings : Settings
        The configuration.
    progress : Progress, optional
        Hears what is going on.
    dry_run : bool, optional
        Say what would happen and change nothing.
    approve : callable, optional
        As `colab_magics.core.syncing.sync.sync` takes it.

    Returns
    -------
    SyncResult, InstallResult, LinkResult or Path
    """
    match verb:
        case "dropbox_sync":
            from colab_magics.core.syncing import sync  # here and below: a call loads no more rooms than it needs

            return sync.sync(
                args.link,
                args.dest,
                once=args.once,
                mirror=args.mirror,
                force=args.force,
                include=args.include,
                exclude=args.exclude,
                unpack=args.unpack,
                sha256=args.sha256,
                password=args.password,
                dry_run=dry_run,
                approve=approve,
                settings=settings,
                progress=progress,
            )
        case "private_pip":
            from colab_magics.core.packages import install

            if args.token_file:
                settings = replace(settings, token_file=layout.expand(args.token_file, settings))
            if args.installer:
                settings = replace(settings, installer=args.installer)
            return install.install(
                args.specs,
                requirements=args.requirement,
                editable=args.editable,
                src=args.src,
                upgrade=args.upgrade,
                force=args.force,
                no_deps=args.no_deps,
                token=args.token,
                constraints=args.constraint,
                index_url=args.index_url,
                extra_index_urls=args.extra_index_url,
                dry_run=dry_run,
                settings=settings,
                progress=progress,
            )
        case "symlink":
            return layout.symlink(args.source, args.link, force=args.force, dry_run=dry_run, settings=settings)
        case "mount_drive":
            return layout.mount_drive(args.mountpoint, dry_run=dry_run, settings=settings)
    raise ValueError(f"{verb!r} is not a verb that is performed here")
