"""The public API: the front ends, and a user's own Python, call only this. It imports no IPython and prints nothing.

Each name is loaded when it is first used, so that importing the package costs nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_magics.core.blocks import verbs
    from colab_magics.core.blocks.arguments import Arguments, suggestion
    from colab_magics.core.blocks.block_arguments import block_parser
    from colab_magics.core.blocks.export.script import export, write
    from colab_magics.core.blocks.lexer import split
    from colab_magics.core.blocks.plan import Plan, Step, read_plan
    from colab_magics.core.blocks.runner import Report, bootstrap
    from colab_magics.core.blocks.saved import saved_block
    from colab_magics.core.blocks.verb import Verb
    from colab_magics.core.cluster.everywhere import HostsReport, everywhere
    from colab_magics.core.common.disk import size_text
    from colab_magics.core.common.drive import expand, find_drive, mount_drive
    from colab_magics.core.common.environment import ENVIRONMENTS, detect
    from colab_magics.core.common.progress import SILENT, Progress
    from colab_magics.core.common.results import (
        BootstrapResult,
        CloneResult,
        EverywhereResult,
        HostResult,
        InstallResult,
        KeepStatus,
        KeepStatuses,
        LinkResult,
        Package,
        StepResult,
        SyncResult,
        as_json,
        seconds_text,
    )
    from colab_magics.core.common.settings import INSTALLERS, Settings
    from colab_magics.core.common.symlinks import symlink
    from colab_magics.core.dropbox.login import login, logout
    from colab_magics.core.git.clone import git_clone
    from colab_magics.core.http.links import Link, parse, rewrite
    from colab_magics.core.keeping.keep import keep, kept, news, restore
    from colab_magics.core.packages.install import install
    from colab_magics.core.secrets.secrets import Secret, named, secret_names
    from colab_magics.core.syncing.sync import sync

_HOMES = {
    "blocks.arguments": ("Arguments", "suggestion"),
    "blocks.block_arguments": ("block_parser",),
    "blocks.export.script": ("export", "write"),
    "blocks.lexer": ("split",),
    "blocks.plan": ("Plan", "Step", "read_plan"),
    "blocks.runner": ("Report", "bootstrap"),
    "blocks.saved": ("saved_block",),
    "blocks.verb": ("Verb",),
    "cluster.everywhere": ("HostsReport", "everywhere"),
    "common.disk": ("size_text",),
    "common.environment": ("ENVIRONMENTS", "detect"),
    "common.drive": ("expand", "find_drive", "mount_drive"),
    "common.progress": ("SILENT", "Progress"),
    "common.results": (
        "BootstrapResult",
        "CloneResult",
        "EverywhereResult",
        "HostResult",
        "InstallResult",
        "KeepStatus",
        "KeepStatuses",
        "LinkResult",
        "Package",
        "StepResult",
        "SyncResult",
        "as_json",
        "seconds_text",
    ),
    "common.settings": ("INSTALLERS", "Settings"),
    "common.symlinks": ("symlink",),
    "dropbox.login": ("login", "logout"),
    "git.clone": ("git_clone",),
    "http.links": ("Link", "parse", "rewrite"),
    "keeping.keep": ("keep", "kept", "news", "restore"),
    "packages.install": ("install",),
    "secrets.secrets": ("Secret", "named", "secret_names"),
    "syncing.sync": ("sync",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ENVIRONMENTS",
    "INSTALLERS",
    "SILENT",
    "Arguments",
    "BootstrapResult",
    "CloneResult",
    "EverywhereResult",
    "HostResult",
    "HostsReport",
    "InstallResult",
    "KeepStatus",
    "KeepStatuses",
    "Link",
    "LinkResult",
    "Package",
    "Plan",
    "Progress",
    "Report",
    "Secret",
    "Settings",
    "Step",
    "StepResult",
    "SyncResult",
    "Verb",
    "as_json",
    "block_parser",
    "bootstrap",
    "detect",
    "everywhere",
    "expand",
    "export",
    "find_drive",
    "git_clone",
    "install",
    "keep",
    "kept",
    "login",
    "logout",
    "mount_drive",
    "named",
    "news",
    "parse",
    "read_plan",
    "restore",
    "rewrite",
    "saved_block",
    "seconds_text",
    "secret_names",
    "size_text",
    "split",
    "suggestion",
    "symlink",
    "sync",
    "verbs",
    "write",
]


def __getattr__(name: str) -> Any:
    if name == "verbs":
        value: Any = importlib.import_module(f"{__name__}.blocks.verbs")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
