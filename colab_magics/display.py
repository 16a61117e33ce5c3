"""Progress and reports: one line that is rewritten in place, in a notebook and in a terminal; plain text first.

When output goes to a file there is no progress, only what stays.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from colab_magics import core, masking
from colab_magics.errors import Interrupted

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Lines", "described", "interrupts_in_one_line"]

_DELAY = 0.4  # seconds; what is over sooner shows no bar


class Lines:
    """Shows a stretch of work as a line in place, and notes as lines of their own.

    Parameters
    ----------
    live : bool
        Whether somebody watches: a notebook or a terminal.
    quiet : bool
        Show nothing.
    stream : file, optional
        Where to; by default the standard output at the moment of writing, which a notebook replaces.
    flush : bool, optional
        Send each piece at once. A kernel sends what gathers within a moment as one message, by itself.
    """

    def __init__(self, *, live: bool, quiet: bool = False, stream: TextIO | None = None, flush: bool = True) -> None:
        self._live, self._quiet, self._stream, self._flush = live, quiet, stream, flush
        self._bar: tqdm[NoReturn] | None = None
        self._lock = threading.RLock()

    def begin(self, label: str, total: int | None = None) -> None:
        """Start a line."""
        with self._lock:
            self.end()
            if self._live and not self._quiet:
                from tqdm import tqdm  # here, so that loading the extension does not wait for it

                self._bar = tqdm(
                    desc=masking.redact(label),
                    total=total,
                    unit="B",
                    unit_scale=True,
                    leave=False,
                    delay=_DELAY,
                    file=self._stream or sys.stdout,
                    dynamic_ncols=True,
                )

    def advance(self, amount: int) -> None:
        """Count bytes."""
        with self._lock:
            if self._bar is not None:
                self._bar.update(amount)

    def end(self) -> None:
        """Clear the line."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def say(self, text: str) -> None:
        """Write a line that stays."""
        if not self._quiet:
            self.write(f"{text}\n")

    def output(self, text: str) -> None:
        """Pass on what a command printed."""
        if not self._quiet:
            self.write(text)

    def write(self, text: str) -> None:
        """Write text above the line in place."""
        stream = self._stream or sys.stdout
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            stream.write(masking.redact(text))
            if self._flush:
                stream.flush()


@contextmanager
def interrupts_in_one_line() -> Iterator[None]:
    """Let an interrupt be one line for a person, wherever it came; as a context or a decorator."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted from None


def described(result: object) -> list[str]:
    """Return the lines that tell a person what a call did, or would do."""
    if isinstance(result, Path):
        return [str(result)]
    if isinstance(result, core.KeepStatus):
        return [repr(result), *(f"  {line}" for line in result.problems())]
    if isinstance(result, core.KeepStatuses):
        return [line for one in result for line in described(one)] or [repr(result)]
    if not isinstance(result, core.SyncResult):
        return [repr(result)]
    return [*(result.changes() if result.status == "planned" else []), repr(result), *result.kept()]
