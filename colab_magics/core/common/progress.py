"""How the core tells a face what is going on, without printing anything itself."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress", "Silent"]


class Progress(Protocol):
    """What a face can be told while the core works.

    Attributes
    ----------
    shows_output : bool
        Whether a person sees what is passed to `output`.
    """

    @property
    def shows_output(self) -> bool:
        """See above."""

    def begin(self, label: str, total: int | None = None) -> None:
        """Start a stretch of work called `label`, of `total` bytes when that is known."""

    def advance(self, amount: int) -> None:
        """Count `amount` further bytes."""

    def end(self) -> None:
        """End the stretch of work that began last."""

    def say(self, text: str) -> None:
        """Tell the person something that is not an error: a note, a warning, what is being waited for."""

    def output(self, text: str) -> None:
        """Pass on what a command that the user asked for printed; already masked."""


class Silent:
    """Listens to nothing."""

    shows_output = False

    def begin(self, label: str, total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, amount: int) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""

    def output(self, text: str) -> None:
        """Ignore it."""


SILENT: Progress = Silent()
