"""Progress and reports: one line that is rewritten in place, in a notebook and in a terminal; plain text first.

When output goes to a file there is no progress, only what stays.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, NoReturn, TextIO

from colab_magics import masking

if TYPE_CHECKING:
    from tqdm import tqdm

    from colab_magics.core.plan import Step
    from colab_magics.core.results import StepResult

__all__ = ["Lines", "Steps"]

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
    """

    def __init__(self, *, live: bool, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._live, self._quiet, self._stream = live, quiet, stream
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
            stream.flush()


class Steps:
    """Shows a bootstrap block as it runs: a line a step.

    Parameters
    ----------
    lines : Lines
        What writes.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def started(self, step: Step) -> None:
        """Announce a step whose own output follows; the others are over before one could read it."""
        if step.verb == "run":
            self._lines.say(f"line {step.line:>2}  {step.text}")

    def ended(self, _step: Step, result: StepResult) -> None:
        """Write what the step came to."""
        if result.status != "failed":  # the error that ends the cell says it
            self._lines.say(repr(result))
