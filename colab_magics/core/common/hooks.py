"""What is done beside the steps of a block, by what earlier steps have begun."""

from __future__ import annotations

from collections.abc import Callable

from colab_magics.core.common.progress import Progress

__all__ = ["after_run"]

#: What is called, by name, when the command of a ``run`` step has ended, well or not; what it says is shown.
after_run: dict[str, Callable[[Progress], None]] = {}
