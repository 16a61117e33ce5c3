"""What a sync was asked for beside its link and its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from colab_magics.core.common.selection import Selection

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """The options of one sync, as `colab_magics.core.sync` takes them; `sha256` is in lower case."""

    selection: Selection = field(default_factory=Selection)
    once: bool = False
    mirror: bool = False
    force: bool = False
    unpack: bool = False
    sha256: str | None = None
    dry_run: bool = False
    names: str | None = None
    via: str = "auto"

    @property
    def signature(self) -> dict[str, object]:
        """What must be the same for an earlier sync of a link to count as this one."""
        return {
            "include": list(self.selection.include),
            "exclude": list(self.selection.exclude),
            "unpack": self.unpack,
            "sha256": self.sha256,
            "names": self.names,
        }
