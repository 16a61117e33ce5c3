"""Steps -> done, each as early as what it needs is there, and only as far as something is left to do."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.dry_run import foresee
from colab_magics.core.blocks.plan import Plan, Step, read_plan
from colab_magics.core.blocks.schedule import Schedule
from colab_magics.core.blocks.verb import Call
from colab_magics.core.common import cancellation, environment, hooks
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.results import BootstrapResult, StepResult
from colab_magics.core.common.settings import Settings
from colab_magics.errors import ColabMagicsError, Interrupted, PlanError, StepError

if TYPE_CHECKING:
    from colab_magics.core.blocks.lockfile import Lock

__all__ = ["Report", "bootstrap"]

_JOBS = 4  # by default: transfers wait for the network, and installations are one at a time anyway
_TICK = 0.2  # seconds between two looks at how far the steps are
_PATIENCE = 10.0  # seconds that interrupted steps have to end: an answer of the system, say to a DNS query, takes long


class Report:
    """What a face can be told of a block that runs; this one listens to nothing."""

    def begin(self, steps: Sequence[Step]) -> None:
        """Hear which steps there are."""

    def started(self, step: Step) -> None:
        """Hear that a step begins."""

    def progress(self, _step: Step) -> Progress:
        """Return what hears how far a step is; called from other threads."""
        return SILENT

    def ended(self, step: Step, result: StepResult) -> None:
        """Hear that a step has ended, or was passed over."""

    def say(self, text: str) -> None:
        """Hear what a person is told of the block as a whole."""

    def tick(self) -> None:
        """Show how far the steps are; called a few times a second while some run."""


def bootstrap(
    block: str | Plan,
    *,
    variables: Mapping[str, object] | None = None,
    dry_run: bool = False,
    lock: Path | None = None,
    frozen: Path | None = None,
    settings: Settings | None = None,
    report: Report | None = None,
    rank: int = 0,
) -> BootstrapResult:
    r"""Run a bootstrap block; the outcome is that of running its lines from top to bottom.

    Parameters
    ----------
    block : str or Plan
        The block's text, or what `read_plan` made of it.
    variables : mapping, optional
        What ``$NAME`` stands for, before the environment.
    dry_run : bool, optional
        Say which steps would run and what each waits for, and run none.
    lock : Path, optional
        A file to write what was used to: the digest of each sync, the commit of each repository, the version of each
        package.
    frozen : Path, optional
        Such a file: use exactly that, and fail when it cannot be had.
    settings : Settings, optional
        By default read from the environment.
    report : Report, optional
        Hears of each step's beginning, progress and end.
    rank : int, optional
        The place of this host among those that run the block, from 0: what is for the first one runs there alone.

    Returns
    -------
    BootstrapResult

    Raises
    ------
    PlanError
        When the block is wrong; nothing has run then.
    StepError
        When a step failed. What depends on it was not run, the rest was; has the results in its `result`.
    Interrupted
        When it was interrupted, as a KeyboardInterrupt; every command that was started has ended, and running it again
        goes on. Has the results in its `result`.

    Examples
    --------
    >>> from colab_magics import core
    >>> result = core.bootstrap("run mkdir made\nsymlink made link")
    >>> [(step.verb, step.status) for step in result.steps]
    [('run', 'done'), ('symlink', 'done')]
    """
    settings = settings or Settings.load()
    known = {**os.environ, **(variables or {})}
    plan = block if isinstance(block, Plan) else read_plan(block, known, settings=settings)
    used, held = _locks(lock if not dry_run else None, frozen)
    runner = _Runner(plan.steps, settings, report or Report(), used, held, rank)
    result = runner.all(dry_run=dry_run)
    if used and lock:
        used.block = hashlib.sha256(plan.text.encode()).hexdigest()
        used.note_packages()
        used.write(lock)
        runner.report.say(f"wrote the lock to {lock}")
    return result


def _locks(lock: Path | None, frozen: Path | None) -> tuple[Lock | None, Lock | None]:
    """Return the lock to be made and the one to be held to; most blocks have neither and do without that room."""
    if not lock and not frozen:
        return None, None
    from colab_magics.core.blocks.lockfile import Lock

    return Lock() if lock else None, Lock.read(frozen) if frozen else None


class _Runner:
    def __init__(
        self,
        steps: Sequence[Step],
        settings: Settings,
        report: Report,
        used: Lock | None,
        frozen: Lock | None,
        rank: int,
    ) -> None:
        self.settings, self.report, self.used, self.frozen = settings, report, used, frozen
        self.here = environment.detect(override=settings.env)
        self.steps = steps
        mine = [
            index
            for index, step in enumerate(steps)
            if not (self._elsewhere(step) or (rank and getattr(step.args, "rank0", False)))
        ]
        if frozen and (lacks := frozen.lacks(steps[index] for index in mine)):
            raise PlanError("\n".join(lacks))
        self.schedule = Schedule(steps, mine, settings)
        if problems := self.schedule.problems():
            raise PlanError("\n".join(problems))
        self.results: dict[int, StepResult] = {}
        self.events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.cancellation = cancellation.Cancellation(self._in_main_thread)
        self.threads: dict[int, threading.Thread] = {}
        self.began: dict[int, float] = {}
        self.kept: dict[int, str] = {}

    def all(self, *, dry_run: bool) -> BootstrapResult:
        began = time.monotonic()
        try:
            self._all(dry_run=dry_run)
        except KeyboardInterrupt:
            kept = self._halt()
            raise Interrupted(kept, self._result(began)) from None
        except BaseException:
            self._halt()
            raise
        result = self._result(began)
        failed = [step for step in result.steps if step.status == "failed"]
        if failed:
            raise StepError("\n".join(f"line {step.line}: {step.verb}: {step.detail}" for step in failed), result)
        return result

    def _all(self, *, dry_run: bool) -> None:
        self.report.begin(self.steps)
        for index, step in enumerate(self.steps):
            if index not in self.schedule.waits:
                reason = self._elsewhere(step) or "only on the first host"
                self._end(index, StepResult(step.line, step.verb, "skipped", detail=reason))
        if dry_run:
            for index, foreseen in foresee(self.steps, self.schedule, self.settings).items():
                self._end(index, foreseen)
            return
        for name in {self.steps[index].verb for index in self.schedule.waits}:
            for module in verbs.get(name).loads:  # here, so that no step's time has that in it
                importlib.import_module(f"colab_magics.core.{module}")
        self._loop()

    def _elsewhere(self, step: Step) -> str:
        """Say where a step is for that is not for this environment; empty for one that is."""
        return f"only on {', '.join(step.on)}, this is {self.here}" if step.on and self.here not in step.on else ""

    def _result(self, began: float) -> BootstrapResult:
        ordered = [self.results[index] for index in range(len(self.steps))]
        return BootstrapResult(ordered, time.monotonic() - began)

    def _loop(self) -> None:
        """Start what can start, and do what other threads need done here, until every step has ended."""
        while len(self.results) < len(self.steps):
            self._start_ready()
            if not self.threads:
                continue
            try:
                self.events.get(timeout=_TICK)()
            except queue.Empty:
                self.report.tick()

    def _start_ready(self) -> None:
        for index, before in self.schedule.waits.items():
            if index in self.results or index in self.threads:
                continue
            ended = [self.results[other] for other in before if other in self.results]
            broken = next((step for step in ended if step.status in {"failed", "skipped"}), None)
            step = self.steps[index]
            if broken is not None and (len(ended) == len(before) or not self.schedule.may_relax(index)):
                why = f"line {broken.line} {broken.status if broken.status == 'failed' else 'was skipped'}"
                self._end(index, StepResult(step.line, step.verb, "skipped", detail=why))
            elif len(ended) == len(before) and len(self.threads) < (self.settings.jobs or _JOBS):
                self.report.started(step)
                self.began[index] = time.monotonic()
                if verbs.get(step.verb).in_main_thread:
                    self._end(index, self._timed(step, self.settings))
                else:
                    self.threads[index] = self.cancellation.thread(self._work, index, name=f"line {step.line}")
                    self.threads[index].start()

    def _work(self, index: int) -> None:
        try:
            result = self._timed(self.steps[index], self.settings)
        except cancellation.Stopped as stopped:
            self.kept[index] = stopped.kept
            return
        except BaseException as error:  # noqa: BLE001 - a mistake of ours must end the cell, not only this thread
            self._tell(functools.partial(_raise, error))
            return
        if result.status != "failed" or not self.cancellation.event.is_set():  # else it failed because it was stopped
            self._tell(lambda: self._end(index, result))

    def _tell(self, call: Callable[[], None]) -> None:
        self.events.put(call)

    def _in_main_thread(self, call: Callable[[], Any]) -> Any:
        """Have the main thread do something, and wait for what comes of it."""
        answer: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def run() -> None:
            if self.cancellation.event.is_set():
                return
            try:
                answer.put((call(), None))
            except Exception as error:  # noqa: BLE001 - it is raised in the thread that asked
                answer.put((None, error))

        self._tell(run)
        while True:
            cancellation.check()
            try:
                value, error = answer.get(timeout=_TICK)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            return value

    def _timed(self, step: Step, settings: Settings) -> StepResult:
        began = time.monotonic()
        try:
            result = self._do(step, settings, self.report.progress(step))
        except ColabMagicsError as error:
            result = StepResult(step.line, step.verb, "failed", detail=str(error))
        result.seconds = time.monotonic() - began
        return result

    def _do(self, step: Step, settings: Settings, progress: Progress) -> StepResult:
        verb = verbs.get(step.verb)
        try:
            result = verb.run(step, Call(settings, progress, frozen=self.frozen))
        finally:
            for call in list(hooks.after_run.values()) if verb.has_output else ():
                call(progress)
        if self.used:
            verb.note(step, result, self.used, settings)
        if isinstance(result, StepResult):
            return result
        status = "up-to-date" if getattr(result, "status", "") == "up-to-date" else "done"
        return StepResult(
            step.line, step.verb, status, detail=str(result) if isinstance(result, Path) else repr(result)
        )

    def _end(self, index: int, result: StepResult) -> None:
        self.results[index] = result
        self.threads.pop(index, None)
        self.report.ended(self.steps[index], result)
        done = [other for other, ended in self.results.items() if ended.status in {"done", "up-to-date"}]
        self.schedule.look_again([*self.results, *self.threads], done)

    def _halt(self) -> str:
        """Stop what runs and wait until it has ended; return what is kept, and what has not ended.

        A step that is moving its files in is waited for, as long as that takes: so nothing changes DEST afterwards.
        """
        self.cancellation.cancel()
        ends = time.monotonic() + _PATIENCE
        try:
            for thread in self.threads.values():
                while thread.is_alive() and (self.cancellation.is_committing or time.monotonic() < ends):
                    thread.join(_TICK)
        finally:  # also when a second interrupt ends the wait
            alive = self._interrupted()
        done = sum(step.status in {"done", "up-to-date"} for step in self.results.values())
        kept = f"{done} of {len(self.steps)} steps are done" if done else ""
        late = f"line {', '.join(map(str, alive))} has not ended yet, and changes nothing any more" if alive else ""
        return "; ".join(filter(None, (kept, late)))

    def _interrupted(self) -> list[int]:
        """Say of each step what it came to; return the lines of those whose threads have not ended."""
        with contextlib.suppress(queue.Empty):
            while True:
                call = self.events.get_nowait()
                with contextlib.suppress(Exception):  # a mistake of ours, when we are stopping anyway
                    call()
        alive = [self.steps[index].line for index, thread in self.threads.items() if thread.is_alive()]
        for index, step in enumerate(self.steps):
            if index not in self.results:
                seconds = time.monotonic() - self.began[index] if index in self.began else 0.0
                self.results[index] = StepResult(step.line, step.verb, "interrupted", seconds, self.kept.get(index, ""))
                self.report.ended(step, self.results[index])
        return alive


def _raise(error: BaseException) -> None:
    raise error
