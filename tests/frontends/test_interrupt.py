"""The stop button and Ctrl-C: one line, every row says what it came to, and nothing goes on behind it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from kernels import Kernel, Said, running

from colab_magics import sandbox

LINE = "interrupted; run it again to complete it"


class Gate(threading.Event):
    """What a server waits at; says when it does."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.reached.set()
        return super().wait(timeout)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.set()


@pytest.fixture
def kernel(box: sandbox.Sandbox, tmp_path: Path) -> Iterator[Kernel]:
    """A real kernel that has the extension."""
    with running(tmp_path / "kernel", PYTHONWARNINGS="ignore") as started:
        started.run("%load_ext colab_magics")
        yield started


@pytest.fixture
def silent(box: sandbox.Sandbox, gate: Gate) -> str:
    """A link whose server falls silent at the gate."""
    (box.folder("data") / "a.txt").write_text("a" * 100_000)
    link = box.folder_link("data")
    box.fail(link, delay=gate, delay_at=10)
    return link


def assert_one_line(said: Said, line: str = LINE) -> None:
    [error] = said.of("error")
    assert error["traceback"] == [line]
    assert error["evalue"] == line
    [reply] = said.of("execute_reply")
    assert reply["status"] == "error", "what comes after this cell must not run"
    assert said.stream("stderr") == ""


def test_the_stop_button_during_a_sync_gives_one_line(
    kernel: Kernel, box: sandbox.Sandbox, silent: str, gate: Gate
) -> None:
    """No stack, a cell that fails, and a DEST that is not there."""
    assert_one_line(kernel.run(f"%dropbox_sync {silent} data", interrupt_when=lambda _: gate.reached.is_set()))
    assert not (kernel.folder / "data").exists()
    box.heal(silent)
    assert "1 added" in kernel.run(f"%dropbox_sync {silent} data").stream("stdout")


def test_the_stop_button_during_a_block_ends_every_row(kernel: Kernel, silent: str, gate: Gate) -> None:
    """What ran, what waited and what was done: the table says so for good, also in the saved notebook."""
    block = f"%%bootstrap\nrun echo a\ndropbox_sync {silent} data\nsymlink data link"
    said = kernel.run(
        block,
        interrupt_when=lambda said: gate.reached.is_set() and "done" in str(said.of("update_display_data")),
    )
    assert_one_line(said, f"{LINE} (1 of 3 steps are done)")
    rows = said.of("update_display_data")[-1]["data"]["text/plain"].splitlines()[1:]
    assert [row.split()[2:4] for row in rows] == [["✓", "done"], ["!", "interrupted"], ["!", "interrupted"]]
    assert "interrupted" in said.of("update_display_data")[-1]["data"]["text/html"]
    assert not (kernel.folder / "data").exists()


def test_the_stop_button_at_a_secrets_prompt_gives_one_line(kernel: Kernel) -> None:
    """In a magic and in a block alike."""
    asked = "input_request"
    said = kernel.run("%dropbox_sync secret:NOWHERE data", interrupt_when=lambda said: asked in said.kinds)
    assert_one_line(said)
    said = kernel.run("%%bootstrap\ndropbox_sync secret:NOWHERE data", interrupt_when=lambda said: asked in said.kinds)
    assert_one_line(said)
    assert "interrupted" in said.of("update_display_data")[-1]["data"]["text/plain"]


def test_ctrl_c_in_a_terminal_gives_one_line(box: sandbox.Sandbox, silent: str, gate: Gate, tmp_path: Path) -> None:
    """IPython's own stack of frames does not come, and its next prompt does."""
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--ext=colab_magics"]
    shell = pexpect.spawn(sys.executable, arguments, env=environ, cwd=str(tmp_path), encoding="utf-8", timeout=60)
    try:
        shell.expect_exact("In [1]:")
        shell.sendline(f"%dropbox_sync {silent} data")
        assert gate.reached.wait(60)
        shell.sendintr()
        shell.expect_exact("In [2]:")
        said = shell.before.replace("\r", "").replace("^C", "")  # the terminal's echo
        assert [line for line in said.split("\n") if "interrupted" in line] == [LINE]
        assert "Traceback" not in said
        assert "socket" not in said
    finally:
        shell.close(force=True)
    assert not (tmp_path / "data").exists()
