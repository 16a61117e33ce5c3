"""The one door to what the package does; every face calls only this. It imports no IPython and prints nothing.

Each name is loaded when it is first used, so that importing the package costs nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_magics.core.blocks.plan import Plan, read_plan
    from colab_magics.core.blocks.runner import bootstrap
    from colab_magics.core.common.environment import detect
    from colab_magics.core.common.layout import LinkResult, expand, mount_drive, symlink
    from colab_magics.core.common.progress import SILENT, Progress
    from colab_magics.core.common.results import BootstrapResult, InstallResult, Package, StepResult, SyncResult
    from colab_magics.core.common.settings import Settings
    from colab_magics.core.http.links import Link, parse, rewrite
    from colab_magics.core.packages.install import install
    from colab_magics.core.secrets.secrets import Secret
    from colab_magics.core.syncing.sync import sync

_HOMES = {
    "common.environment": ("detect",),
    "common.layout": ("LinkResult", "expand", "mount_drive", "symlink"),
    "http.links": ("Link", "parse", "rewrite"),
    "packages.install": ("install",),
    "blocks.plan": ("Plan", "read_plan"),
    "common.progress": ("SILENT", "Progress"),
    "common.results": ("BootstrapResult", "InstallResult", "Package", "StepResult", "SyncResult"),
    "blocks.runner": ("bootstrap",),
    "secrets.secrets": ("Secret",),
    "common.settings": ("Settings",),
    "syncing.sync": ("sync",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SILENT",
    "BootstrapResult",
    "InstallResult",
    "Link",
    "LinkResult",
    "Package",
    "Plan",
    "Progress",
    "Secret",
    "Settings",
    "StepResult",
    "SyncResult",
    "bootstrap",
    "detect",
    "expand",
    "install",
    "mount_drive",
    "parse",
    "read_plan",
    "rewrite",
    "symlink",
    "sync",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
