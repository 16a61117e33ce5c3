"""Start a command, pass on what it prints with every secret masked, and never leave it running."""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_magics import masking
from colab_magics.core.common import cancellation
from colab_magics.errors import StepError

__all__ = ["Finished", "run", "stop"]

_TAIL_LINES = 400
_GRACE = 1.0  # seconds between asking a command to end and killing it
_POLL = 0.2  # seconds after which a silent pipe's command is asked whether it has ended


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
            while True:
                cancellation.check()
                # What the command left running in the background may hold the pipe open for ever.
                if ready.select(_POLL):
                    if not (data := os.read(stream.fileno(), 65536)):
                        break
                    take(mask.feed(decoder.decode(data)))
                elif child.poll() is not None:
                    break
                else:
                    take(mask.settle())  # a prompt or a progress line that pauses is not held back
        child.wait()
    except BaseException:
        stop(child)
        raise
    finally:
        take(mask.feed(decoder.decode(b"", final=True)) + mask.flush())
    return Finished(child.returncode, "".join(kept))


def describe(command: Sequence[str] | str) -> str:
    """Return `command` as one would type it, masked."""
    return masking.redact(command if isinstance(command, str) else shlex.join(command))


def _shell() -> str:
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


def stop(child: subprocess.Popen[Any]) -> None:
    """End a command that was started in a session of its own, and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)
            if number == signal.SIGKILL:
                return
