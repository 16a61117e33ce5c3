"""Work in other threads ends when the run is interrupted."""

from __future__ import annotations

import importlib
import io
import os
import socket
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_magics import sandbox
from colab_magics.core import bootstrap
from colab_magics.core.blocks import runner
from colab_magics.core.blocks.plan import Step
from colab_magics.core.blocks.runner import Report
from colab_magics.core.common import cancellation, mutex
from colab_magics.core.common.progress import Progress, Silent
from colab_magics.core.common.results import StepResult
from colab_magics.core.syncing import journal

sync = importlib.import_module("colab_magics.core.syncing.sync")  # the package has a function of that name


@pytest.mark.parametrize("silent_from", [0, 10])
def test_an_interrupt_ends_a_transfer_whose_server_is_silent(silent_from: int, box: sandbox.Sandbox) -> None:
    """No thread waits on for the next bytes, or for the first, and holds the folder's lock meanwhile."""
    (box.folder("data") / "a.txt").write_text("a" * 100_000)
    link, gate = box.folder_link("data"), threading.Event()
    box.fail(link, delay=gate, delay_at=silent_from)

    class Interrupt(Report):
        def tick(self) -> None:
            # The content has been asked for, and does not come.
            if any("zip_download_get" in str(request) for request in box.requests):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]
    assert not Path("data").exists()
    gate.set()
    box.heal(link)
    assert [step.status for step in bootstrap(f"dropbox_sync {link} data").steps] == ["done"]


def test_an_interrupt_ends_the_wait_for_a_retry(box: sandbox.Sandbox) -> None:
    """However long the server asks to be left alone."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")
    box.fail(link, status=429, retry_after=60)

    class Interrupt(Report, Silent):
        def progress(self, _step: Step) -> Progress:
            return self

        def say(self, text: str) -> None:
            self.said = text

        def tick(self) -> None:
            if hasattr(self, "said"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]


def test_an_interrupt_ends_the_wait_for_another_run(box: sandbox.Sandbox) -> None:
    """However long that one holds the folder."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")

    class Interrupt(Report, Silent):
        said = ""

        def progress(self, _step: Step) -> Progress:
            return self

        def say(self, text: str) -> None:
            self.said += text

        def tick(self) -> None:
            if "waiting for another sync" in self.said:
                raise KeyboardInterrupt

    with mutex.locked(Path("data")), pytest.raises(KeyboardInterrupt):
        bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]
    assert not Path("data").exists()
    assert [step.status for step in bootstrap(f"dropbox_sync {link} data").steps] == ["done"]


class Interrupt(Report):
    """Presses Ctrl-C once a step is where it is to be interrupted."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.results: list[StepResult] = []

    def tick(self) -> None:
        if self.is_there.is_set():
            raise KeyboardInterrupt

    def ended(self, _step: Step, result: StepResult) -> None:
        self.results.append(result)

    def at(self, call: Callable[..., object]) -> Callable[..., object]:
        """Let a stop come when `call` is made; the call is made all the same, as one that cannot be interrupted is."""

        def stopped(*args: object, **kwargs: object) -> object:
            run = cancellation._current.get()
            if run is not None:
                self.is_there.set()
                assert run.event.wait(60)
            return call(*args, **kwargs)

        return stopped


@pytest.mark.parametrize("dest", ["new", "old"])
@pytest.mark.parametrize("where", ["decision", "staging", "last look"])
def test_nothing_is_moved_in_after_an_interrupt(
    where: str, dest: str, box: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tar that was all there and being unpacked: DEST is as it was, and stays so; the next run completes it."""
    archive = box.folder("files") / "data.tar"
    with tarfile.open(archive, "w") as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = 3 << 20
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    block = f"dropbox_sync {box.file_link(archive)} data --unpack"
    if dest == "old":
        Path("data").mkdir()
        Path("data/mine.txt").write_text("mine")
    interrupt = Interrupt()
    with monkeypatch.context() as patched:
        if where == "decision":
            patched.setattr(sync, "decide", interrupt.at(sync.decide))
        elif where == "staging":
            patched.setattr(sync, "stage", interrupt.at(sync.stage))
        else:
            patched.setattr(sync, "bring_in", interrupt.at(sync.bring_in))
        with pytest.raises(KeyboardInterrupt, match=r"^interrupted; run it again to complete it$"):
            bootstrap(block, report=interrupt)
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]
    assert [(result.status, result.detail) for result in interrupt.results] == [
        ("interrupted", "9.4 MB of it are kept")
    ]
    assert [path.name for path in Path().glob("data/[!.]*")] == (["mine.txt"] if dest == "old" else [])
    assert Path("data").exists() == (dest == "old")
    assert [step.status for step in bootstrap(block).steps] == ["done"]
    assert Path("data/2.bin").stat().st_size == 3 << 20


def test_what_is_past_the_last_look_is_finished(box: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt waits for moves that have begun, and the step counts as done."""
    (box.folder("data") / "a.txt").write_text("a")
    Path("data").mkdir()
    interrupt = Interrupt()
    monkeypatch.setattr(journal, "write_whole", interrupt.at(journal.write_whole))
    with pytest.raises(KeyboardInterrupt, match=r"complete it \(1 of 2 steps are done\)$") as caught:
        bootstrap(f"dropbox_sync {box.folder_link('data')} data\nsymlink data link", report=interrupt)
    assert [step.status for step in caught.value.result.steps] == ["done", "interrupted"]
    assert Path("data/a.txt").read_text() == "a"


def test_a_thread_that_cannot_end_is_named(box: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops is told of it, and it moves nothing into DEST when it wakes up."""
    (box.folder("data") / "a.txt").write_text("a")
    interrupt, hold, tried = Interrupt(), threading.Event(), threading.Event()

    def stuck(*args: object, **kwargs: object) -> object:
        interrupt.is_there.set()
        assert hold.wait(60)
        tried.set()
        return decide(*args, **kwargs)

    decide = sync.decide
    monkeypatch.setattr(sync, "decide", stuck)
    monkeypatch.setattr(runner, "_PATIENCE", 0.1)
    Path("data").mkdir()
    with pytest.raises(KeyboardInterrupt, match=r"\(line 1 has not ended yet, and changes nothing any more\)"):
        bootstrap(f"dropbox_sync {box.folder_link('data')} data", report=interrupt)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "line 1"]
    hold.set()
    thread.join(20)
    assert tried.is_set()
    assert list(Path("data").iterdir()) == []


@pytest.mark.parametrize(
    "block",
    [
        "run exec 3<>/dev/tcp/127.0.0.1/PORT; exec sleep 600 > log.txt 2>&1",
        "private_pip 127.0.0.1:PORT/acme/lib",
        "pip install --index-url http://127.0.0.1:PORT/simple --retries 0 acme-lib",
    ],
)
def test_an_interrupt_ends_the_commands_of_every_verb(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has closed its output, git that waits for a host, and pip that waits for an index."""
    interrupt, ended = Interrupt(), threading.Event()
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def serve() -> None:
            line, _ = silent.accept()
            with line:
                interrupt.is_there.set()
                line.settimeout(60)
                while line.recv(4096):
                    pass
                ended.set()

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(KeyboardInterrupt, match=r"^interrupted; run it again to complete it$"):
            bootstrap(block.replace("PORT", str(silent.getsockname()[1])), report=interrupt)
        assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]
        server.join(60)
    assert ended.is_set()
    assert [result.status for result in interrupt.results] == ["interrupted"]


def test_an_interrupt_while_a_step_is_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread runs already, and whoever started it has not come back from that: it is waited for all the same."""
    start, numbers = threading.Thread.start, list[int]()
    os.mkfifo("pid")

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "line 1":
            numbers.append(int(Path("pid").read_text()))
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bootstrap("run sh -c 'echo $$ > pid; exec sleep 600'")
    with pytest.raises(ProcessLookupError):
        os.kill(numbers[0], 0)


def test_each_item_is_worked_on_once_in_several_threads() -> None:
    """By no more threads than there are items, or were allowed."""
    done: list[tuple[int, str]] = []
    both = threading.Barrier(3)

    def work(item: int) -> None:
        if item < 3:
            both.wait(60)
        done.append((item, threading.current_thread().name))

    cancellation.for_each(work, range(50), at_once=3, name="test")
    assert sorted(item for item, _ in done) == list(range(50))
    assert {name for _, name in done} <= {"test-0", "test-1", "test-2"}
    cancellation.for_each(work, [], at_once=3, name="test")


@pytest.mark.parametrize("reason", ["failure", "stop"])
def test_a_failure_or_a_stop_ends_all_that_wait(reason: str) -> None:
    """Those that wait on a connection too; the first failure is the one that is raised, and nothing new begins."""
    near, far = socket.socketpair()
    waiting, begun = threading.Event(), []
    outer = cancellation.Cancellation(lambda call: call())

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            cancellation.note(near)
            waiting.set()
            near.recv(1)
            cancellation.check()
        elif reason == "failure":
            assert waiting.wait(60)
            raise ValueError(str(item))
        else:
            assert waiting.wait(60)
            outer.cancel()
            while True:
                cancellation.sleep(60)

    caught: list[BaseException] = []

    def run() -> None:
        try:
            cancellation.for_each(work, range(50), at_once=2, name="test")
        except BaseException as error:  # noqa: BLE001 - Stopped is one
            caught.append(error)

    with near, far:
        thread = outer.thread(run, name="outer")
        thread.start()
        thread.join(60)
    assert not thread.is_alive()
    assert begun == [0, 1]
    [error] = caught
    assert isinstance(error, ValueError if reason == "failure" else cancellation.Stopped)
