"""Progress and reports: lines that are rewritten in place, in a notebook and in a terminal; plain text first.

When output goes to a file there is no progress, only what stays.
"""

from __future__ import annotations

import getpass
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from colab_magics import core, masking
from colab_magics.core import seconds_text, size_text
from colab_magics.errors import Interrupted, PlanError

if TYPE_CHECKING:
    import argparse

__all__ = ["Lines", "Stretch", "ask_hidden", "described", "interrupts_in_one_line", "run_everywhere", "run_plan"]

_DELAY = 0.4  # seconds; what is over sooner shows no progress
_PAUSE = 0.1  # seconds between two looks of a line in place
_BELOW = 6  # lines of a screen for what stands around a list
_SETTLED = 1.0  # seconds after which a rate says how long the rest takes


@dataclass
class Stretch:
    """A stretch of work, as far as it is.

    Attributes
    ----------
    label : str
        What it is.
    total : int or None
        Its bytes, when that is known.
    received : int
        Those that have come.
    began : float
        When it began, of `time.monotonic`.
    """

    label: str
    total: int | None
    began: float
    received: int = 0

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.received / max(time.monotonic() - self.began, 0.001)

    def __str__(self) -> str:
        if not self.received:
            return self.label
        share = f" of {size_text(self.total)}" if self.total else ""
        parts = [f"{size_text(self.received)}{share}", f"{size_text(self.rate)}/s"]
        if self.total:
            parts.insert(0, f"{min(100 * self.received // self.total, 100)} %")
            if self.received < self.total and time.monotonic() - self.began > _SETTLED:
                parts.append(f"{seconds_text((self.total - self.received) / self.rate)} left")
        return f"{self.label}: {', '.join(parts)}"


class Lines:
    """Writes lines that stay, and below them lines in place that say how far the work is.

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

    Attributes
    ----------
    shows_output : bool
        Whether what a command prints is seen.
    """

    def __init__(self, *, live: bool, quiet: bool = False, stream: TextIO | None = None, flush: bool = True) -> None:
        self.shows_output, self._live, self._stream, self._flush = not quiet, live and not quiet, stream, flush
        self._work: Stretch | None = None
        self._shown: list[str] = []
        self._last = 0.0
        self._lock = threading.RLock()
        self._over: threading.Event | None = None  # set when the stretch that is shown has ended

    def begin(self, label: str, total: int | None = None) -> None:
        """Start a stretch of work, which takes the place of the one before."""
        with self._lock:
            self._work = Stretch(label, total, time.monotonic())
            self._last = self._last or self._work.began
            self.advance(0)
            if self._live and self._over is None:
                self._over = threading.Event()
                threading.Thread(target=self._tick, args=(self._over,), name="progress", daemon=True).start()

    def advance(self, amount: int) -> None:
        """Count bytes."""
        with self._lock:
            if self._work is None:
                return
            self._work.received += amount
            now = time.monotonic()
            if self._live and now - self._last >= (_PAUSE if self._shown else _DELAY):
                self._last = now
                self.show([str(self._work)])

    def end(self) -> None:
        """Clear the lines in place."""
        with self._lock:
            self._work, self._last = None, 0.0
            if self._over is not None:
                self._over.set()
                self._over = None
            self.show([])

    def _tick(self, over: threading.Event) -> None:
        """Show how far the work is also while nothing comes."""
        while not over.wait(_DELAY):
            with self._lock:
                if not over.is_set():
                    self.advance(0)

    def show(self, texts: Sequence[str]) -> None:
        """Put these lines in place of those that were shown last; of what is no terminal only the first counts."""
        with self._lock:
            stream = self._stream or sys.stdout
            width, height = shutil.get_terminal_size()
            room = height - 1 if stream.isatty() else 1
            # A terminal that is set to ASCII cannot be shown a state's symbol.
            code = getattr(stream, "encoding", None) or "utf-8"
            plain = [masking.redact(text).encode(code, "replace").decode(code) for text in texts[:room]]
            fitting = [text[: width - 1] for text in plain] if self._live else []
            if fitting != self._shown:
                stream.write(self._erased() + "\n".join(fitting))
                self._shown = fitting
                stream.flush()

    def _erased(self) -> str:
        """Return what takes the lines in place away; a single one by spaces, as a notebook's output knows no more."""
        if not self._shown:
            return ""
        above = f"\r\x1b[{len(self._shown) - 1}A\x1b[J" if len(self._shown) > 1 else ""
        return above or f"\r{' ' * len(self._shown[0])}\r"

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self.write(f"{text}\n")

    def output(self, text: str) -> None:
        """Pass on what a command printed."""
        self.write(text)

    def write(self, text: str) -> None:
        """Write text above the lines in place."""
        if not self.shows_output:
            return
        stream = self._stream or sys.stdout
        with self._lock:
            stream.write(self._erased() + masking.redact(text))
            self._shown = []
            if self._flush:
                stream.flush()


def ask_hidden(prompt: str) -> str:
    """Ask for a secret: all but the prompt's last line is shown above, as a notebook's page has room for one."""
    above, _, last = prompt.rpartition("\n")
    if above:
        Lines(live=False).say(above)
    return getpass.getpass(last)


@contextmanager
def interrupts_in_one_line() -> Iterator[None]:
    """Let an interrupt be one line for a person, wherever it came; as a context or a decorator."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted from None


def run_plan(
    plan: core.Plan, args: argparse.Namespace, settings: core.Settings, lines: Lines, report: core.Report
) -> core.BootstrapResult:
    """Do with a block what its arguments say; the block is as it was typed, and understood."""
    if args.send_secrets:
        raise PlanError("--send-secrets goes with --over")
    return core.bootstrap(plan, report=report, **_asked(plan.text, args, settings, lines))


def run_everywhere(
    client: object,
    text: str,
    variables: Mapping[str, object],
    args: argparse.Namespace,
    settings: core.Settings,
    lines: Lines,
    report: core.HostsReport,
) -> core.EverywhereResult:
    """Do with a block, on the hosts of a cluster, what its arguments say."""
    asked = _asked(text, args, settings, lines)
    return core.everywhere(client, text, variables=variables, send_secrets=args.send_secrets, report=report, **asked)


def _asked(text: str, args: argparse.Namespace, settings: core.Settings, lines: Lines) -> dict[str, Any]:
    """Write the files that a block's arguments ask for; return how they say that it is run."""
    for path, content in ((args.save, text), (args.export, args.export and core.export(text))):
        if path:
            lines.say(core.write(core.expand(path, settings), content))
    return {
        "dry_run": args.dry_run,
        "lock": args.lock and core.expand(args.lock, settings),
        "frozen": args.frozen and core.expand(args.frozen, settings),
        "settings": replace(settings, jobs=args.jobs) if args.jobs is not None else settings,
    }


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
    changes = result.changes() if result.status == "planned" else []
    room = max(shutil.get_terminal_size().lines - _BELOW, _BELOW)
    if len(changes) > room:
        more = f"  and {len(changes) - room + 1} more, which the result's changes() lists, and in a shell --json"
        changes = [*changes[: room - 1], more]
    return [*changes, repr(result), *result.kept()]
