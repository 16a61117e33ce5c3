"""How a bootstrap block is shown while it runs: a table in a notebook, lines everywhere else."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from colab_magics import core, masking
from colab_magics.core import Progress, Report, Step, StepResult, seconds_text, size_text
from colab_magics.display import Lines

__all__ = ["LinesReport", "TableReport"]

_WIDEST = 100  # characters of a row's last column


@dataclass
class _Row:
    """A step as it stands."""

    step: Step
    status: str = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    detail: str = ""
    received: int = 0
    total: int | None = None

    def cells(self) -> tuple[str, str, str, str, str]:
        seconds = time.monotonic() - self.began if self.status == "running" else self.seconds
        duration = "" if self.status == "waiting" else seconds_text(seconds)
        detail = self.detail or self.step.text
        if self.status == "running" and self.received:
            share = f" of {size_text(self.total)}" if self.total else ""
            rate = size_text(self.received / max(seconds, 0.001))
            detail = f"{detail}: {size_text(self.received)}{share}, {rate}/s"
        detail = masking.redact(detail.splitlines()[0] if detail else "")
        detail = detail if len(detail) <= _WIDEST else f"{detail[: _WIDEST - 3]}..."
        return str(self.step.line), self.step.verb, self.status.replace("-", " "), duration, detail


@dataclass
class _RowProgress:
    """Writes a step's progress into its row; what a command prints goes to the lines."""

    row: _Row
    lines: Lines
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, label: str, total: int | None = None) -> None:
        with self.lock:
            self.row.detail, self.row.received, self.row.total = label, 0, total

    def advance(self, amount: int) -> None:
        with self.lock:
            self.row.received += amount

    def end(self) -> None:
        with self.lock:
            self.row.detail, self.row.received, self.row.total = "", 0, None

    def say(self, text: str) -> None:
        self.lines.say(f"line {self.row.step.line}: {text}")

    def output(self, text: str) -> None:
        self.lines.output(text)


class LinesReport(Report):
    """A line when a step ends, for a terminal or a file.

    Parameters
    ----------
    lines : Lines
        What writes.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rows: dict[int, _Row] = {}

    def begin(self, steps: Sequence[Step]) -> None:
        """Take note of the steps."""
        self._rows = {step.line: _Row(step) for step in steps}

    def started(self, step: Step) -> None:
        """Announce a step whose own output follows; the others say enough when they end."""
        if core.verbs.get(step.verb).has_output:
            self._lines.say(f"line {step.line:>2}  {step.text}")

    def progress(self, step: Step) -> Progress:
        """Return what passes on what a command prints."""
        return _RowProgress(self._rows[step.line], self._lines)

    def ended(self, _step: Step, result: StepResult) -> None:
        """Write what the step came to; of a failure the error that ends the run says more."""
        self._lines.say(repr(result).splitlines()[0])


class TableReport(Report):
    """One table, a row a step, updated in place: HTML with the same as plain text in each message.

    Parameters
    ----------
    lines : Lines
        What writes what commands print.
    show : callable
        Shows a bundle of MIME types; replaces what the same table showed before when its second argument is true.
    """

    def __init__(self, lines: Lines, show: Callable[[dict[str, str], bool], None]) -> None:
        self._lines, self._show = lines, show
        self._rows: dict[int, _Row] = {}
        self._shown: dict[str, str] | None = None

    def begin(self, steps: Sequence[Step]) -> None:
        """Show every step as waiting."""
        self._rows = {step.line: _Row(step) for step in steps}
        self.tick()

    def started(self, step: Step) -> None:
        """Show it as running."""
        row = self._rows[step.line]
        row.status, row.began = "running", time.monotonic()

    def progress(self, step: Step) -> Progress:
        """Return what writes into the step's row."""
        return _RowProgress(self._rows[step.line], self._lines)

    def ended(self, step: Step, result: StepResult) -> None:
        """Show what it came to."""
        row = self._rows[step.line]
        row.status, row.seconds, row.detail = result.status, result.seconds, result.detail
        self.tick()

    def tick(self) -> None:
        """Show the table as it is now, unless it shows that already."""
        rows = [row.cells() for row in self._rows.values()]
        bundle = {"text/plain": plain_table(rows), "text/html": html_table(rows)}
        if bundle != self._shown:
            self._show(bundle, self._shown is not None)
            self._shown = bundle


_HEADER = ("line", "step", "state", "time", "")


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as aligned text."""
    table = [_HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    return "\n".join(
        f"{row[0]:>{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in table
    )


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a table; the state is a word, so that no colour is needed to read it."""
    head = "".join(f'<th scope="col" style="text-align:left">{html.escape(cell)}</th>' for cell in _HEADER)
    body = "".join(
        "<tr>" + "".join(_cell(cell, wraps=column == len(_HEADER) - 1) for column, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, *, wraps: bool) -> str:
    style = "text-align:left" if wraps else "text-align:left;white-space:nowrap"
    return f'<td style="{style}">{html.escape(text)}</td>'
