"""The one door to what the package does; every face calls only this. It imports no IPython and prints nothing.

Each name is loaded when it is first used, so that importing the package costs nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_magics.core.environment import detect
    from colab_magics.core.layout import LinkResult, expand, mount_drive, symlink
    from colab_magics.core.links import Link, parse, rewrite
    from colab_magics.core.packages import install
    from colab_magics.core.plan import Plan, read_plan
    from colab_magics.core.progress import SILENT, Progress
    from colab_magics.core.results import BootstrapResult, InstallResult, Package, StepResult, SyncResult
    from colab_magics.core.runner import bootstrap
    from colab_magics.core.secrets import Secret
    from colab_magics.core.settings import Settings
    from colab_magics.core.syncing import sync

_HOMES = {
    "environment": ("detect",),
    "layout": ("LinkResult", "expand", "mount_drive", "symlink"),
    "links": ("Link", "parse", "rewrite"),
    "packages": ("install",),
    "plan": ("Plan", "read_plan"),
    "progress": ("SILENT", "Progress"),
    "results": ("BootstrapResult", "InstallResult", "Package", "StepResult", "SyncResult"),
    "runner": ("bootstrap",),
    "secrets": ("Secret",),
    "settings": ("Settings",),
    "syncing": ("sync",),
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
