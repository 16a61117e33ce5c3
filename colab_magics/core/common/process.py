"""Start a command, pass on what it prints with every secret masked, and never leave it running."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_magics import masking
from colab_magics.core.common import cancellation
from colab_magics.errors import StepError

__all__ = ["Finished", "capture", "describe", "run", "stop"]

_TAIL_LINES = 400
_GRACE = 1.0  # seconds between asking a command to end and killing it
_POLL = 0.2  # seconds after which a silent command is asked whether it has ended, and we whether we are to stop
_LOOK = 0.01  # seconds between two looks at whether all have ended


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    Attributes
    ----------
    status : int
        Its exit status; negative when a signal ended it.
    output : str
        The last lines that it printed, standard error among them, masked.
    """

    status: int
    output: str

    def tail(self, lines: int = 15) -> str:
        """Return the last `lines` non-empty lines, indented for a message."""
        kept = [line for line in self.output.splitlines() if line.strip()][-lines:]
        return "\n".join(f"    {line}" for line in kept)


def run(
    command: Sequence[str] | str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_output: Callable[[str], None] | None = None,
) -> Finished:
    """Run `command` to its end.

    Parameters
    ----------
    command : sequence of str or str
        An argument list, or a text for the shell.
    cwd : Path, optional
        The folder that it runs in.
    env : mapping, optional
        Its whole environment; by default this process's.
    on_output : callable, optional
        Called with each piece of text that it prints, masked, as soon as it comes.

    Returns
    -------
    Finished

    Raises
    ------
    StepError
        When the command or its folder does not exist.
    cancellation.Stopped
        When the run that this belongs to was interrupted; the command and all that it started have ended then.
    """
    argv = [_shell(), "-c", command] if isinstance(command, str) else list(command)
    try:
        # A session of its own: interrupting the notebook ends the whole family, not just the first child.
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _started.add(child)
    except (FileNotFoundError, NotADirectoryError):
        if cwd is not None and not cwd.is_dir():
            raise StepError(f"the folder {str(cwd)!r} does not exist; make it in an earlier step") from None
        raise StepError(f"the command {argv[0]!r} was not found; install it or correct its name") from None
    except PermissionError:
        raise StepError(f"{argv[0]!r} may not be run; make it executable, or name its interpreter") from None

    kept: deque[str] = deque(maxlen=_TAIL_LINES)
    mask, decoder = masking.StreamMask(), codecs.getincrementaldecoder("utf-8")("replace")

    def take(text: str) -> None:
        if text:
            kept.append(text)
            if on_output:
                on_output(text)

    try:
        with child.stdout or open(os.devnull, "rb") as stream, selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            is_open = True
            while is_open or child.poll() is None:
                cancellation.check()
                if not is_open:
                    # It closed its output and works on.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(_POLL)
                elif ready.select(_POLL):
                    data = os.read(stream.fileno(), 65536)
                    take(mask.feed(decoder.decode(data)))
                    is_open = bool(data)
                elif child.poll() is None:
                    take(mask.settle())  # a prompt or a progress line that pauses is not held back
                else:
                    is_open = False  # what the command left running in the background may hold the pipe for ever
    except BaseException:
        stop(child)
        raise
    finally:
        _started.discard(child)
        take(mask.feed(decoder.decode(b"", final=True)) + mask.flush())
    return Finished(child.returncode, "".join(kept))


def capture(
    commands: Sequence[Sequence[str]],
    *,
    env: Mapping[str, str],
    timeout: float,
    feed: str = "",
) -> list[tuple[int, str, str]]:
    """Run commands side by side, and return the status, the output and the errors of each, as they are.

    Parameters
    ----------
    commands : sequence of sequences of str
        Argument lists.
    env : mapping
        Their whole environment.
    timeout : float
        Seconds that each may take.
    feed : str, optional
        What each reads.

    Raises
    ------
    FileNotFoundError
        When there is no such command.
    subprocess.TimeoutExpired
        When one took longer.
    """
    children: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            children.append(
                subprocess.Popen(
                    command,
                    env=dict(env),
                    stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # with no terminal, nothing can stop to ask
                )
            )
            _started.add(children[-1])
        answers = [_answer(child, feed or None, timeout) for child in children]
    finally:
        for child in children:
            if child.poll() is None:
                stop(child)
            _started.discard(child)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
    return [(child.returncode, *answer) for child, answer in zip(children, answers, strict=True)]


def _answer(child: subprocess.Popen[str], feed: str | None, timeout: float) -> tuple[str, str]:
    ends = time.monotonic() + timeout
    while True:
        cancellation.check()
        try:
            return child.communicate(feed, timeout=_POLL)
        except subprocess.TimeoutExpired:
            feed = None
            if time.monotonic() > ends:
                raise


def describe(command: Sequence[str] | str) -> str:
    """Return `command` as one would type it, masked."""
    return masking.redact(command if isinstance(command, str) else shlex.join(command))


def _shell() -> str:
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


_Process = tuple[int, int]  # its number, and when it started, since numbers are used again
_started: set[subprocess.Popen[Any]] = set()  # and not seen to end


@atexit.register
def _kill_all() -> None:
    """End what threads could not, as whoever waited for them was interrupted once more: they die with the process."""
    for child in list(_started):
        with contextlib.suppress(ValueError):  # in a thread; only the main one hears of interrupts
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _signal(child, set(), signal.SIGKILL)


def stop(child: subprocess.Popen[Any]) -> None:
    """End a command that was started in a session of its own, and all that it started."""
    known: set[_Process] = set()
    try:
        _signal(child, known, signal.SIGTERM)
    finally:  # also when whoever waits is interrupted once more
        _signal(child, known, signal.SIGKILL)


def _signal(child: subprocess.Popen[Any], known: set[_Process], number: int) -> None:
    """Send a signal to a command and all that it started, and wait until they have ended, as long as the grace."""
    family = _family(child.pid, known)  # first: the child of one that has ended is nobody's
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
    for pid, _ in family:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    ends = time.monotonic() + _GRACE
    while (child.poll() is None or _family(child.pid, known)) and time.monotonic() < ends:
        time.sleep(_LOOK)


def _family(leader: int, known: set[_Process]) -> set[_Process]:
    """Return what lives of a session, of those `known` before, and of all below them; none where there is no ``/proc``.

    A group is not enough: ``timeout`` and shells with job control put what they start into another one.
    """
    parents: dict[_Process, int] = {}
    found: set[_Process] = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # proc_pid_stat(5), behind the name, in which any byte may stand.
                state, parent, _, session, *others = file.read().rpartition(b")")[2].split()
                if state not in {b"Z", b"X"}:
                    one = int(name), int(others[15])
                    parents[one] = int(parent)
                    if int(session) == leader or one in known:
                        found.add(one)
    while below := {one for one, parent in parents.items() if parent in {pid for pid, _ in found}} - found:
        found |= below
    known |= found
    return found
