"""Starting commands."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from colab_magics import masking
from colab_magics.core.common import cancellation, process
from colab_magics.errors import StepError


def has_ended(pid: int) -> bool:
    """Wait until a process that is no child of ours has ended, as long as a signal may take to arrive."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle, "rb", buffering=0):
        return bool(select.select([handle], [], [], 10)[0])


def test_output_comes_while_the_command_runs(tmp_path: Path) -> None:
    """What is printed is passed on at once, not when the command ends."""
    os.mkfifo(tmp_path / "go")
    heard: list[str] = []

    def listen(text: str) -> None:
        heard.append(text)
        if "first" in text:
            (tmp_path / "go").write_text("on")

    done = process.run(
        ["sh", "-c", f"echo first line of output; cat {tmp_path}/go; echo; echo second"], on_output=listen
    )
    assert done.status == 0
    assert "".join(heard) == "first line of output\non\nsecond\n"
    assert done.output == "".join(heard)


def test_a_secret_cut_between_two_writes_is_masked(tmp_path: Path) -> None:
    """However a command cuts its output, a secret in it does not come through."""
    masking.register("cut-secret-0123456789")
    script = "import os, time\nfor character in 'a cut-secret-0123456789 b':\n    os.write(1, character.encode())\n"
    heard: list[str] = []
    done = process.run([sys.executable, "-c", script], on_output=heard.append)
    shown = "".join(heard)
    assert done.output == shown
    assert shown.startswith("a ")
    assert shown.endswith("*** b")
    # Less than four characters are no secret yet: they are let through rather than held back.
    assert "cut-" not in shown
    assert "0123" not in shown


def test_characters_cut_between_two_writes_survive() -> None:
    """A character of several bytes that arrives in parts is one character."""
    script = "import sys, os\nfor byte in 'ä€𝄞'.encode():\n    os.write(1, bytes([byte]))\n"
    assert process.run([sys.executable, "-c", script]).output == "ä€𝄞"


def test_a_child_left_in_the_background_does_not_hold_the_step() -> None:
    """The step ends when its command ends, even if something it started keeps the output open."""
    done = process.run("sleep 600 & echo $!")
    assert done.status == 0
    os.kill(int(done.output), signal.SIGKILL)


def test_an_interrupt_ends_the_whole_family(tmp_path: Path) -> None:
    """Grandchildren end too when the run is interrupted."""
    said = ""

    def stop(text: str) -> None:
        nonlocal said
        said += text  # it may come in pieces, and the last of them after the interrupt
        if "\n" in said:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run("sleep 600 & sleep 600 & echo $! $$; wait", on_output=stop)
    pids = [int(word) for word in said.split()]
    assert len(pids) == 2
    for pid in pids:
        assert has_ended(pid)


# Each leaves what a signal to the child's own group does not reach, or what does not end by itself.
FAMILIES = {
    "closed its output": "echo $$; exec sleep 600 >/dev/null 2>&1",
    "a group of its own": "timeout 600 sleep 601 & echo $! $$; wait",
    "a session of its own": "setsid -w sleep 600 & echo $! $$; wait",
    "hears no request": "trap '' TERM; sleep 600 & echo $! $$; wait",
}


@pytest.mark.parametrize("script", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_stop_in_another_thread_ends_the_whole_family(script: str) -> None:
    """Whatever it did with its output, its group or its session."""
    run, said, caught = cancellation.Cancellation(lambda call: call()), "", list[BaseException]()
    begun = threading.Event()

    def listen(text: str) -> None:
        nonlocal said
        said += text
        if "\n" in said:
            begun.set()

    def work() -> None:
        try:
            process.run(script, on_output=listen)
        except BaseException as error:  # noqa: BLE001 - Stopped is no Exception
            caught.append(error)

    thread = run.thread(work, name="command")

    thread.start()
    assert begun.wait(20)
    run.cancel()
    thread.join(20)
    assert [type(error) for error in caught] == [cancellation.Stopped]
    for pid in map(int, said.split()):
        assert has_ended(pid)


def test_a_second_interrupt_does_not_save_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who presses Ctrl-C again while a command is being ended gets it killed at once."""
    said = ""

    def listen(text: str) -> None:
        nonlocal said
        said += text
        if "\n" in said:
            raise KeyboardInterrupt

    def again(_: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(process.time, "sleep", again)
    with pytest.raises(KeyboardInterrupt):
        process.run("trap '' TERM; echo $$; sleep 600", on_output=listen)
    assert has_ended(int(said))


def test_a_second_interrupt_leaves_no_step_running(tmp_path: Path) -> None:
    """A step's command is ended by a thread, which ends with the process; the command does so too."""
    heard, step = tmp_path / "heard", tmp_path / "step.py"
    os.mkfifo(heard)
    step.write_text(
        "import os, pathlib, signal\n"
        "heard = pathlib.Path('heard')\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "heard.write_text(str(os.getpid()))\n"
        "signal.sigwait({signal.SIGTERM})\n"
        "heard.write_text('asked to end')\n"
        "signal.pause()\n"
    )
    (tmp_path / "block.txt").write_text("run python step.py\n")
    command = [sys.executable, "-m", "colab_magics", "run", "block.txt"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        pid = int(heard.read_text())
        child.send_signal(signal.SIGINT)
        assert heard.read_text() == "asked to end"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert has_ended(pid)
    assert (child.returncode, errors) == (130, "interrupted; run it again to complete it\n")


def test_what_is_captured_ends_too() -> None:
    """git asked in another thread: a stop ends it, and so does its time."""
    run, caught, beside = cancellation.Cancellation(lambda call: call()), list[BaseException](), Path("pid")
    os.mkfifo(beside)

    def work() -> None:
        try:
            process.capture([["sh", "-c", f"echo $$ > {beside}; exec sleep 600"]], env=os.environ, timeout=600)
        except BaseException as error:  # noqa: BLE001 - Stopped is no Exception
            caught.append(error)

    thread = run.thread(work, name="command")

    thread.start()
    pid = int(beside.read_text())
    run.cancel()
    thread.join(20)
    assert [type(error) for error in caught] == [cancellation.Stopped]
    assert has_ended(pid)
    with pytest.raises(subprocess.TimeoutExpired):
        process.capture([["sleep", "600"]], env=os.environ, timeout=0)
    command = ["sh", "-c", "cat; echo b >&2; exit 3"]
    assert process.capture([command], env=os.environ, timeout=9, feed="a") == [(3, "a", "b\n")]


def test_a_missing_command_or_folder_is_one_line() -> None:
    """Nothing is started, and the message names what is missing."""
    with pytest.raises(StepError, match=r"command 'no-such-thing' was not found"):
        process.run(["no-such-thing"])
    with pytest.raises(StepError, match=r"folder 'nowhere' does not exist"):
        process.run(["ls"], cwd=Path("nowhere"))
    Path("plain.txt").write_text("x")
    with pytest.raises(StepError, match=r"may not be run"):
        process.run(["./plain.txt"])


def test_the_tail_is_the_end_of_the_output() -> None:
    """A message quotes the last lines that are not empty."""
    done = process.run("for i in 1 2 3; do echo line $i; echo; done; exit 4")
    assert done.status == 4
    assert done.tail(2) == "    line 2\n    line 3"
