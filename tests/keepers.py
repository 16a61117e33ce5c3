"""Keepers, in the tests' own process and in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from colab_magics.core.common import progress
from colab_magics.core.keeping import keep as keeping
from colab_magics.core.keeping.keeper import Keeper
from colab_magics.core.keeping.state import Config, State, process

KERNEL = """
import sys, time
from colab_magics import core
print(core.keep(sys.argv[1], sys.argv[2], every=float(sys.argv[3])), flush=True)
sys.stdin.read()
"""


class Heard(progress.Silent):
    """Takes down what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def keeper(source: str = "work", dest: str = "dest", *, last: Sequence[tuple[int, str]] = (), **more: object) -> Keeper:
    """Return a keeper that pushes when it is told to; it holds no mutex, and nothing is started."""
    Path(source).mkdir(exist_ok=True)
    state = State.of(source)
    config = Config(os.path.abspath(source), os.path.abspath(dest), dest, last=list(last), watch=[process()], **more)  # type: ignore[arg-type]
    state.write_config(config)
    made = Keeper(state, {})
    made.reconcile()
    return made


def tree(folder: str = "dest") -> dict[str, str]:
    """Return the files below a folder, without our own."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and ".colab_magics" not in path.parts)
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def until(holds: Callable[[], object], patience: float = 60.0) -> None:
    """Wait until something holds that another process brings about."""
    ends = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < ends, "it did not come"
        os.sched_yield()
        time.sleep(0.02)


@contextmanager
def kernel(
    source: str = "work", dest: str = "dest", every: float = 300, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps a folder and then waits, as a kernel does."""
    command = [sys.executable, "-c", KERNEL, source, dest, str(every)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **environ}, **pipes) as made:  # type: ignore[call-overload]
        try:
            assert made.stdout.readline()
            yield made
        finally:
            made.kill()


def stop_all() -> None:
    """End what tests have started."""
    keeping._mine.clear()
    for state in State.every():
        if state.config() and state.progress().is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.progress().keeper[0], signal.SIGKILL)
            until(lambda state=state: not state.progress().is_running)  # a kill is heard a moment later
