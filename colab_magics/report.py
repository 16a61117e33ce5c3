"""How a bootstrap block is shown while it runs: a table in a notebook, lines everywhere else."""

from __future__ import annotations

import html
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from colab_magics import core, masking
from colab_magics.core import HostResult, HostsReport, Progress, Report, Step, StepResult, seconds_text, size_text
from colab_magics.display import Lines, Stretch

__all__ = ["HostsLines", "HostsTable", "LinesReport", "TableReport"]

_SYMBOLS = {
    "waiting": "·",
    "running": "▸",
    "done": "✓",
    "up-to-date": "=",
    "planned": "→",
    "failed": "✗",
    "skipped": "-",
    "interrupted": "!",
}


@dataclass
class _Row:
    """A step as it stands; as a `Progress` it hears how far it is, and what a command prints goes to the lines."""

    step: Step
    lines: Lines
    status: str = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    detail: str = ""
    work: Stretch | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shows_output(self) -> bool:
        return self.lines.shows_output

    def begin(self, label: str, total: int | None = None) -> None:
        self.work = Stretch(label, total, time.monotonic())

    def advance(self, amount: int) -> None:
        with self.lock:
            if self.work:
                self.work.received += amount

    def end(self) -> None:
        self.work = None

    def say(self, text: str) -> None:
        self.lines.say(f"line {self.step.line}: {text}")

    def output(self, text: str) -> None:
        self.lines.output(text)

    def cells(self) -> tuple[str, str, str, str, str]:
        seconds = time.monotonic() - self.began if self.status == "running" else self.seconds
        detail = str(self.work or "") if self.status == "running" else self.detail
        typed = self.step.text.lstrip("%! ").removeprefix(self.step.verb).strip() or self.step.text
        detail = masking.redact((detail or typed).splitlines()[0])
        state = f"{_SYMBOLS[self.status]} {self.status.replace('-', ' ')}"
        return str(self.step.line), self.step.verb, state, seconds_text(seconds) if seconds else "", detail


class _Rows(Report):
    """Keeps a row a step.

    Parameters
    ----------
    lines : Lines
        What writes.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rows: dict[int, _Row] = {}
        self._began = time.monotonic()

    def begin(self, steps: Sequence[Step]) -> None:
        """Take note of the steps."""
        self._rows = {step.line: _Row(step, self._lines) for step in steps}
        self.tick()

    def started(self, step: Step) -> None:
        """Take note that a step runs."""
        row = self._rows[step.line]
        row.status, row.began = "running", time.monotonic()

    def progress(self, step: Step) -> Progress:
        """Return what writes into the step's row."""
        return self._rows[step.line]

    def ended(self, step: Step, result: StepResult) -> None:
        """Take note of what it came to."""
        row = self._rows[step.line]
        row.status, row.seconds, row.detail = result.status, result.seconds, result.detail
        self.tick()

    def say(self, text: str) -> None:
        """Write it."""
        self._lines.say(text)

    def _overall(self) -> str:
        """Return the line about the block as a whole; empty before the first step begins and once all have ended."""
        rows = self._rows.values()
        left = sum(row.status in {"waiting", "running"} for row in rows)
        if not left or all(row.status == "waiting" for row in rows):
            return ""
        rate = sum(row.work.rate for row in rows if row.status == "running" and row.work)
        parts = [f"{len(rows) - left} of {len(rows)} steps", seconds_text(time.monotonic() - self._began)]
        return ", ".join([*parts, *([f"{size_text(rate)}/s"] if rate >= 1 else [])])


class LinesReport(_Rows):
    """A line when a step ends; in a terminal, below those, a row for each that has not, redrawn in place."""

    def started(self, step: Step) -> None:
        """Announce a step whose own output follows; the others say enough when they end."""
        super().started(step)
        if core.verbs.get(step.verb).has_output:
            self._lines.show([])
            self._lines.say(f"line {step.line:>2}  {step.text}")

    def ended(self, step: Step, result: StepResult) -> None:
        """Write what the step came to; of a failure the error that ends the run says more."""
        self._lines.say(repr(result).splitlines()[0])
        super().ended(step, result)

    def tick(self) -> None:
        """Show what has not ended, unless a command prints, which has the terminal for itself."""
        rows = [row for row in self._rows.values() if row.status in {"waiting", "running"}]
        if any(row.status == "running" and core.verbs.get(row.step.verb).has_output for row in rows):
            return
        if any(row.status == "running" for row in rows):
            # What runs stands first, and the overall line before what waits, where a small terminal has room.
            rows.sort(key=lambda row: row.status == "waiting")
            self._lines.show([self._overall(), *_folded(rows)])
        elif not rows:
            self._lines.show([])


def _folded(rows: Sequence[_Row]) -> list[str]:
    """Return a line a row; where the terminal is narrow, how far a step is stands below the line that it runs."""
    cells, folded = [row.cells() for row in rows], list[str]()
    for row, (*_, detail), text in zip(rows, cells, plain_table(cells).splitlines()[1:], strict=True):
        fits = row.status != "running" or len(text) < shutil.get_terminal_size().columns
        folded += [text] if fits else [text.removesuffix(detail).rstrip(), f"      {detail}"]
    return folded


class TableReport(_Rows):
    """One table, a row a step, updated in place: HTML with the same as plain text in each message.

    Parameters
    ----------
    lines : Lines
        What writes what commands print.
    show : callable
        Shows a bundle of MIME types; replaces what the same table showed before when its second argument is true.
    """

    def __init__(self, lines: Lines, show: Callable[[dict[str, str], bool], None]) -> None:
        super().__init__(lines)
        self._show = show
        self._shown: dict[str, str] | None = None

    def tick(self) -> None:
        """Show the table as it is now, unless it shows that already."""
        rows, overall = [row.cells() for row in self._rows.values()], self._overall()
        plain = "\n".join([plain_table(rows), *([overall] if overall else [])])
        bundle = {"text/plain": plain, "text/html": html_table(rows, overall)}
        if bundle != self._shown:
            self._show(bundle, self._shown is not None)
            self._shown = bundle


class _Hosts(HostsReport):
    """Keeps a row a host, and shows those that matter when there are many.

    Parameters
    ----------
    lines : Lines
        What writes.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rows: list[HostResult] = []
        self._began = time.monotonic()
        self._parts: dict[int, str] = {}  # the beginning of a line that a host has not ended yet

    def begin(self, rows: Sequence[HostResult]) -> None:
        """Take note of the hosts."""
        self._rows = list(rows)
        self.tick()

    def output(self, row: HostResult, text: str) -> None:
        """Write what a command printed, each line with its host's name; of many hosts only the first one's."""
        if len(self._rows) > _MANY and row is not self._rows[0]:
            return
        *whole, rest = (self._parts.pop(id(row), "") + text).split("\n")
        self._parts[id(row)] = rest
        if whole:
            self._lines.write("".join(f"{row.host}: {line}\n" for line in whole))

    def ended(self, row: HostResult) -> None:
        """Write the rest of what it printed."""
        if rest := self._parts.pop(id(row), ""):
            self._lines.write(f"{row.host}: {rest}\n")
        self.tick()

    def say(self, text: str) -> None:
        """Write it."""
        self._lines.say(text)

    def _shown(self) -> list[tuple[str, str, str, str, str]]:
        """Return the cells of each host; of many those that failed and the slowest, and what the others are."""
        rows, others = self._rows, Counter[str]()
        if len(rows) > _MANY:
            # First what failed, then what still runs, then what took longest; each kind in its own order.
            ranked = sorted(rows, key=lambda row: (row.status in _GOOD, row.status != "running", -row.seconds))
            rows, others = ranked[: _MANY - 1], Counter(row.status for row in ranked[_MANY - 1 :])
        cells = [self._cells(row) for row in rows]
        if others:
            told = ", ".join(f"{count} {status.replace('-', ' ')}" for status, count in others.items())
            cells.append((f"and {sum(others.values())} more", "", "", "", told))
        return cells

    def _cells(self, row: HostResult) -> tuple[str, str, str, str, str]:
        seconds = time.monotonic() - self._began if row.status == "running" else row.seconds
        state = f"{_SYMBOLS[row.status]} {row.status.replace('-', ' ')}"
        detail = masking.redact(row.detail.splitlines()[0] if row.detail else "")
        return row.host, str(len(row.workers)), state, seconds_text(seconds) if seconds else "", detail

    def _overall(self) -> str:
        left = sum(row.status == "running" for row in self._rows)
        count = len(self._rows)
        return f"{count - left} of {count} hosts, {seconds_text(time.monotonic() - self._began)}" if left else ""


class HostsLines(_Hosts):
    """A line when a host ends; in a terminal, below those, a row for each that has not."""

    def ended(self, row: HostResult) -> None:
        """Write what the host came to; of a failure the error that ends the call says more."""
        super().ended(row)
        if len(self._rows) <= _MANY or row.status not in _GOOD:
            self._lines.say(repr(row))

    def tick(self) -> None:
        """Show what has not ended."""
        if any(row.status == "running" for row in self._rows):
            self._lines.show([self._overall(), *plain_table(self._shown(), _HOSTS).splitlines()[1:]])
        else:
            self._lines.show([])


class HostsTable(_Hosts):
    """One table, a row a host, updated in place.

    Parameters
    ----------
    lines : Lines
        What writes what commands print.
    show : callable
        As of `TableReport`.
    """

    def __init__(self, lines: Lines, show: Callable[[dict[str, str], bool], None]) -> None:
        super().__init__(lines)
        self._show = show
        self._last: dict[str, str] | None = None

    def tick(self) -> None:
        """Show the table as it is now, unless it shows that already."""
        rows, overall = self._shown(), self._overall()
        plain = "\n".join([plain_table(rows, _HOSTS), *([overall] if overall else [])])
        bundle = {"text/plain": plain, "text/html": html_table(rows, overall, _HOSTS)}
        if self._rows and bundle != self._last:
            self._show(bundle, self._last is not None)
            self._last = bundle


_HEADER = ("line", "step", "state", "time", "")
_HOSTS = ("host", "workers", "state", "time", "")
_NUMBERS = {"line", "workers", "time"}  # the columns of these names stand to the right
_MANY = 8  # hosts that a table shows one by one
_GOOD = {"done", "up-to-date", "planned", "running"}


def plain_table(rows: Sequence[Sequence[str]], header: Sequence[str] = _HEADER) -> str:
    """Return rows of cells as aligned text."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    aligned = [f"{'>' if name in _NUMBERS else '<'}{width}" for name, width in zip(header, widths, strict=False)]
    return "\n".join(
        "  ".join([*(f"{row[column]:{aligned[column]}}" for column in range(4)), row[4]]).rstrip() for row in table
    )


def html_table(rows: Sequence[Sequence[str]], overall: str = "", header: Sequence[str] = _HEADER) -> str:
    """Return rows of cells as a table; the state is a word, so that no colour is needed to read it."""
    head = "".join(f'<th scope="col" style="text-align:left">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(_cell(cell, wraps=column == len(header) - 1) for column, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    body += f'<tr><td colspan="5" style="text-align:left">{html.escape(overall)}</td></tr>' if overall else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, *, wraps: bool) -> str:
    # A link is one long word: it breaks anywhere, and a narrow page leaves it something to break.
    style = "text-align:left;" + ("overflow-wrap:anywhere;min-width:12em" if wraps else "white-space:nowrap")
    return f'<td style="{style}">{html.escape(text)}</td>'
