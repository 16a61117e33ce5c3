"""Put the mask on a shell, and take it off."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from colab_magics.masking.ipython.echo import EchoMask
from colab_magics.masking.ipython.history import HistoryMask
from colab_magics.masking.ipython.session import SessionMask
from colab_magics.masking.ipython.terminal import TerminalMask
from colab_magics.masking.ipython.typed import TypedTokens

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["arm", "disarm"]

_ATTRIBUTE = "_colab_magics_mask"


class _Armed:
    """All the parts of the mask on one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._typed = TypedTokens()
        self._history = HistoryMask(shell)
        self._echoes: dict[int, EchoMask] = {}
        kernel = getattr(shell, "kernel", None)
        self._kernel = kernel is not None
        self._face: SessionMask | TerminalMask
        if kernel is not None:
            self._face = SessionMask(kernel.session, self._typed.notice)
        else:
            self._face = TerminalMask()

    def install(self) -> None:
        self._face.install()
        self._history.install()
        self._mask_echo()
        self._shell.events.register("pre_run_cell", self._before_cell)

    def remove(self) -> None:
        self._shell.events.unregister("pre_run_cell", self._before_cell)
        self._history.remove()
        self._face.remove()
        for echo in self._echoes.values():
            echo.remove()

    def _before_cell(self, info: Any) -> None:
        # Not only when armed: the cell that armed us may have had its output captured.
        self._mask_echo()
        self._typed.notice(info.raw_cell or "")
        self._typed.warn()

    def _mask_echo(self) -> None:
        if not self._kernel:
            return
        for stream in (sys.stdout, sys.stderr):
            target = getattr(stream, "_original_stdstream_copy", None)
            if target is not None and target not in self._echoes:
                self._echoes[target] = EchoMask(target)


def arm(shell: InteractiveShell) -> None:
    """Mask everything that `shell` shows or stores; see `colab_magics.masking.arm`."""
    if _ATTRIBUTE not in vars(shell):
        armed = vars(shell)[_ATTRIBUTE] = _Armed(shell)
        armed.install()


def disarm(shell: InteractiveShell) -> None:
    """Take the mask off `shell`; see `colab_magics.masking.disarm`."""
    armed = vars(shell).pop(_ATTRIBUTE, None)
    if armed is not None:
        armed.remove()
