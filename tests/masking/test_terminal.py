"""masking/ipython/terminal.py: IPython without a kernel."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from masks import known

from colab_magics.masking.ipython.terminal import TerminalMask

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up


def ipython(tmp_path: Path, script: str) -> str:
    """Type a script into a real terminal IPython; return all it shows."""
    (tmp_path / "secret").write_text(TOKEN)
    env = os.environ | {"IPYTHONDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"}
    command = [sys.executable, "-W", "ignore", "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor",
               "--no-confirm-exit"]  # fmt: skip
    done = subprocess.run(command, input=script, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120)
    return done.stdout + done.stderr


SCRIPT = """
import logging, sys, threading, warnings
S = open('secret').read()
print('one', S)
S
1/0 if S else ValueError
raise ValueError(S)
print('two', S, file=sys.stderr)
logging.warning('three %s', S)
print(S[:20], end=''); print(S[20:])
t = threading.Thread(target=int, args=(S,)); t.start(); t.join()
get_ipython().history_manager.store_inputs(90, 'four = ' + S)
%history
%whos
"""


def test_a_terminal_shows_no_secret(tmp_path: Path) -> None:
    """Prints, results, tracebacks, threads' errors, logging and history are masked; without the mask, all show it."""
    arm = "from colab_magics import masking; masking.arm(get_ipython()); masking.register(open('secret').read())\n"
    bare, armed = ipython(tmp_path, SCRIPT), ipython(tmp_path, arm + SCRIPT)
    for mark in ("one ", "two ", "three ", "four = ", "ValueError: ", "literal for int() with base 10: '"):
        assert mark + TOKEN in bare
        assert mark + "***" in armed
    assert TOKEN not in armed
    assert TOKEN[4:20] not in armed


def test_disarming_a_terminal(tmp_path: Path) -> None:
    """After disarming, the streams are the original objects."""
    said = ipython(
        tmp_path,
        "import sys; a = sys.stdout, sys.stderr\nfrom colab_magics import masking; masking.arm(get_ipython())\n"
        "b = sys.stdout, sys.stderr\nmasking.disarm(get_ipython()); c = sys.stdout, sys.stderr\n"
        "print('same', all(x is y for x, y in zip(a, c)), 'masked', any(x is y for x, y in zip(a, b)))\n",
    )
    assert "same True masked False" in said


class Watched(io.StringIO):
    """A stream that says when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        if text:
            self.written.set()
        return super().write(text)


def test_a_prompt_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """What might begin a secret is shown after a moment, or when somebody flushes."""
    out = Watched()
    monkeypatch.setattr(sys, "stdout", out)
    mask = TerminalMask()
    with known(TOKEN):
        mask.install()
        try:
            sys.stdout.write("ghp_")
            assert out.written.wait(20)
            assert out.getvalue() == "ghp_"
            for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
                timer.join()  # it ends by itself: none goes on ticking
            sys.stdout.write("x ghp_a")
            sys.stdout.flush()
            assert out.getvalue() == "ghp_x ghp_a"
        finally:
            mask.remove()
        assert sys.stdout is out


def test_somebody_elses_stream_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that was put over ours is not thrown away by removing the mask."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    mask = TerminalMask()
    mask.install()
    theirs = io.StringIO()
    sys.stdout = theirs
    mask.remove()
    assert sys.stdout is theirs
