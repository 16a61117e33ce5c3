"""Running a block."""

from __future__ import annotations

import os
import sys
import threading
import types
from pathlib import Path

import pytest
from conftest import Venv

import colab_magics
from colab_magics import core, sandbox
from colab_magics.core import StepResult, bootstrap
from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.plan import Step
from colab_magics.core.blocks.runner import Report
from colab_magics.core.common.progress import Progress, Silent
from colab_magics.errors import PlanError, StepError


class Heard(Report, Silent):
    """Remembers what commands printed."""

    def __init__(self) -> None:
        self.text = ""

    def progress(self, _step: Step) -> Progress:
        return self

    def output(self, text: str) -> None:
        self.text += text


class Log(Report):
    """Remembers the report."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, step: Step) -> None:
        self.lines.append(f"start {step.line}")

    def ended(self, step: Step, result: StepResult) -> None:
        self.lines.append(f"{result.status} {step.line}")


def test_steps_run_in_order_and_are_reported() -> None:
    """Each step is announced and its end told; the result has one entry a step."""
    log = Log()
    result = bootstrap("run mkdir a\nsymlink a b\nrun touch b/file", report=log)
    assert Path("a/file").exists()
    assert log.lines == ["start 1", "done 1", "start 2", "done 2", "start 3", "done 3"]
    assert [(step.line, step.verb, step.status) for step in result.steps] == [
        (1, "run", "done"),
        (2, "symlink", "done"),
        (3, "run", "done"),
    ]
    assert result.seconds >= sum(step.seconds for step in result.steps) * 0.99


def test_a_failure_stops_the_block() -> None:
    """What depends on a failed step is skipped, and the error has the whole result."""
    log = Log()
    with pytest.raises(StepError, match=r"line 2: symlink: .*does not exist") as caught:
        bootstrap("run true\nsymlink nowhere link\nrun touch here", report=log)
    result = caught.value.result
    assert isinstance(result, core.BootstrapResult)
    assert [step.status for step in result.steps] == ["done", "failed", "skipped"]
    assert "line 2 failed" in result.steps[2].detail
    assert not Path("here").exists()
    assert log.lines == ["start 1", "done 1", "start 2", "failed 2", "skipped 3"]


def test_independent_steps_run_side_by_side(box: sandbox.Sandbox) -> None:
    """A step that needs nothing of a slow one ends before it; one that needs both waits for both."""
    for name in ("slow", "fast"):
        (box.folder(name) / "a.txt").write_text(name)
    slow, fast = box.folder_link("slow"), box.folder_link("fast")
    go = threading.Event()
    box.fail(slow, delay=go, times=1)

    class Release(Log):
        def ended(self, step: Step, result: StepResult) -> None:
            super().ended(step, result)
            if step.line == 2:
                go.set()

    log = Release()
    result = bootstrap(f"dropbox_sync {slow} slow\ndropbox_sync {fast} fast\nsymlink slow fast/in", report=log)
    assert [line for line in log.lines if not line.startswith("start")] == ["done 2", "done 1", "done 3"]
    assert [step.line for step in result.steps] == [1, 2, 3]
    assert Path("fast/in/a.txt").read_text() == "slow"


def test_one_job_runs_one_step_at_a_time() -> None:
    """jobs=1 is the sequential run."""
    for name in "abc":
        Path(name).mkdir()
    log = Log()
    bootstrap("symlink a x\nsymlink b y\nsymlink c z", settings=core.Settings(jobs=1), report=log)
    assert log.lines == ["start 1", "done 1", "start 2", "done 2", "start 3", "done 3"]


def test_a_failure_stops_only_what_depends_on_it(box: sandbox.Sandbox) -> None:
    """The rest of the block is finished, so that the next run has less to do."""
    gone, good = box.folder_link("gone"), box.folder_link("good")
    for name in ("gone", "good"):
        (box.folder(name) / "a.txt").write_text("a")
    box.fail(gone, page="gone")
    block = f"dropbox_sync {gone} a\ndropbox_sync {good} b\nsymlink a link\nsymlink b other\nrun touch here"
    with pytest.raises(StepError, match=r"line 1: dropbox_sync: .* is gone") as caught:
        bootstrap(block)
    assert [step.status for step in caught.value.result.steps] == ["failed", "done", "skipped", "done", "skipped"]
    assert Path("other/a.txt").exists()
    assert not Path("link").is_symlink()
    box.heal(gone)
    again = bootstrap(block)
    assert [step.status for step in again.steps] == ["done", "up-to-date", "done", "up-to-date", "done"]


def test_an_interrupt_stops_every_step_and_the_next_run_goes_on(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A transfer and a command that were under way have ended when the interrupt is through."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")
    hold = threading.Event()
    box.fail(link, delay=hold, delay_at=20, times=1)

    class Interrupt(Log):
        def tick(self) -> None:
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    finally:
        hold.set()
    assert [path.name for path in Path().iterdir() if not path.name.startswith(".")] == []
    assert bootstrap(f"dropbox_sync {link} data").steps[0].status == "done"

    with pytest.raises(KeyboardInterrupt):
        bootstrap(f"run sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600'", report=Interrupt())
    if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_mistake_of_ours_ends_the_run_and_does_not_hang_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expected comes out of the call as it is, although it happened in another thread."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(verbs.get("symlink"), "run", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        bootstrap("symlink . b")


def test_a_prompt_is_answered_in_the_main_thread(box: sandbox.Sandbox) -> None:
    """A step that runs beside others and needs a secret has the main thread ask for it."""
    (box.folder("data") / "a.txt").write_text("a")
    link, asked = box.folder_link("data"), []

    def ask(prompt: str) -> str:
        asked.append((prompt, threading.current_thread() is threading.main_thread()))
        return link

    result = bootstrap("dropbox_sync secret:THE_LINK data", settings=core.Settings.load(ask=ask))
    assert [step.status for step in result.steps] == ["done"]
    assert [(prompt.splitlines()[-1], main) for prompt, main in asked] == [("THE_LINK: ", True)]
    assert link.partition("rlkey=")[2].partition("&")[0] not in repr(result.steps)


def test_colabs_secrets_are_asked_for_in_the_main_thread(box: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colab's page answers on the kernel's channel, which another thread must not read."""
    (box.folder("data") / "a.txt").write_text("a")
    link, asked = box.folder_link("data"), []

    def get(name: str) -> str:
        asked.append((name, threading.current_thread() is threading.main_thread()))
        return link

    google, colab, userdata = (types.ModuleType(name) for name in ("google", "google.colab", "google.colab.userdata"))
    userdata.get = get  # type: ignore[attr-defined]
    for module in (google, colab, userdata):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    result = bootstrap("dropbox_sync secret:THE_LINK data", settings=core.Settings.load(env="colab"))
    assert [step.status for step in result.steps] == ["done"]
    assert asked == [("THE_LINK", True)]


def test_a_dry_run_draws_the_plan() -> None:
    """Each step says after which lines it could run, and what it needs that is not there yet."""
    Path("a").mkdir()
    result = bootstrap("run make\nsymlink a x\nsymlink x/1 z\npip install -r r.txt\nrun --in dir ls", dry_run=True)
    details = [step.detail.partition("; ")[2] for step in result.steps]
    assert details == [
        "",
        "after line 1",
        "after line 1, 2; the source 'x/1' does not exist yet",
        "after line 1, 2, 3; the requirements file 'r.txt' does not exist yet",
        "after line 1, 2, 3, 4; the folder of --in 'dir' does not exist yet",
    ]
    assert repr(result) == "bootstrap: 5 planned"
    assert "0.00 s" not in "".join(map(repr, result.steps))


def test_nothing_runs_when_the_block_is_wrong() -> None:
    """The check comes before the first step."""
    with pytest.raises(PlanError):
        bootstrap("run touch here\nnonsense")
    assert not Path("here").exists()


def test_steps_for_another_place_are_skipped() -> None:
    """--on runs a step only in the environments that it names."""
    block = "run --on colab touch colab\nrun --on kaggle,linux touch linux"
    result = bootstrap(block, settings=core.Settings(env="linux"))
    assert [step.status for step in result.steps] == ["skipped", "done"]
    assert "only on colab" in result.steps[0].detail
    assert [path.name for path in Path().iterdir()] == ["linux"]


def test_a_dry_run_does_nothing_and_knows_what_is_done(box: sandbox.Sandbox) -> None:
    """What is complete is told apart from what would run, without a request."""
    (box.folder("data") / "a.txt").write_text("a")
    block = f"dropbox_sync {box.folder_link('data')} data --once\nsymlink data link\npip install pytest\nrun touch here"
    first = bootstrap(block, dry_run=True)
    assert [step.status for step in first.steps] == ["planned", "planned", "up-to-date", "planned"]
    assert list(Path().iterdir()) == []
    bootstrap(block)
    Path("here").unlink()
    box.clear_requests()
    again = bootstrap(block, dry_run=True)
    assert [step.status for step in again.steps] == ["up-to-date", "up-to-date", "up-to-date", "planned"]
    assert box.requests == []
    assert not Path("here").exists()


def test_run_uses_this_interpreter_and_the_folder_it_is_given() -> None:
    """`python` is the one that the packages were installed for, wherever PATH leads."""
    Path("sub dir").mkdir()
    heard = Heard()
    bootstrap("run --in 'sub dir' python -c 'import os, sys; print(sys.executable, os.getcwd())'", report=heard)
    executable, folder = heard.text.split(maxsplit=1)
    assert Path(executable).parent == Path(sys.executable).parent
    assert folder.strip() == str(Path("sub dir").resolve())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run ./no-such-command", "'./no-such-command' was not found"),
        ("run sh -c 'kill -9 $$'", "ended by signal 9"),
        ("run sh -c 'echo last words >&2; exit 7'", "failed with status 7"),
    ],
)
def test_a_command_that_fails_says_how(line: str, message: str) -> None:
    """A missing command or folder, a status and a signal each have their words."""
    with pytest.raises(StepError) as caught:
        bootstrap(line)
    assert message in str(caught.value)
    if "words" in line:
        assert "last words" in str(caught.value)


def test_what_a_command_prints_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that a command prints reaches neither the output nor the error."""
    monkeypatch.setenv("COLAB_MAGICS_SECRET_KEY", "s3cret-value-of-a-key")
    value = colab_magics.secret("KEY")
    heard = Heard()
    with pytest.raises(StepError) as caught:
        bootstrap("run sh -c 'echo before $COLAB_MAGICS_SECRET_KEY after; exit 1'", report=heard)
    assert value not in heard.text
    assert "before *** after" in heard.text
    assert value not in str(caught.value)
    assert value not in repr(caught.value.result)


def test_pip_install_is_skipped_when_it_is_proved_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A requirements file whose every line holds starts no installer."""
    Path("requirements.txt").write_text("# comment\npytest>=1  # fine\npackaging ; python_version > '3'\n-r more.txt\n")
    Path("more.txt").write_text("nowhere-to-be-found ; python_version < '3'\n")
    from colab_magics.core.packages import install

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an installer was started")

    monkeypatch.setattr(install, "pip_install", refuse)
    result = bootstrap("pip install -r requirements.txt")
    assert result.steps[0].status == "up-to-date"


def test_the_recipe_end_to_end(box: sandbox.Sandbox, venv: Venv) -> None:
    """Dataset, project, layout, private package with a private dependency, training: then nothing is left to do."""
    (box.folder("dataset") / "numbers.txt").write_text("1 2 3")
    project = box.folder("project")
    (project / "train.py").write_text(
        "import secretlib, pathlib\n"
        "numbers = pathlib.Path('data/input/numbers.txt').read_text().split()\n"
        "print('total', secretlib.total(numbers))\n"
    )
    base = box.private_repo("acme/secretcore", code="def add(a, b):\n    return a + b\n", tag="v1.0")
    box.private_repo(
        "acme/secretlib",
        code="import functools, secretcore\ndef total(n):\n    return functools.reduce(secretcore.add, map(int, n))\n",
        requires=[f"secretcore @ git+{base.ssh_url}@v1.0"],
        tag="v1.2",
    )
    block = (
        "dropbox_sync $DATASET dataset --once\n"
        "dropbox_sync $PROJECT proj\n"
        "symlink dataset proj/data/input\n"
        f"private_pip {box.git_host}/acme/secretlib@v1.2\n"
        "run --in proj python train.py\n"
    )
    Path("setup.txt").write_text(block)
    code = "import sys\nfrom colab_magics.cli import main\nsys.exit(main(['run', 'setup.txt']))\n"
    env = {**os.environ, "DATASET": box.folder_link("dataset"), "PROJECT": box.folder_link("project")}
    first = venv.run(code, env=env)
    assert "total 6" in first.stdout
    assert "5 done" in first.stdout
    again = venv.run(code, env=env)
    assert "1 done, 4 up to date" in again.stdout
    assert "total 6" in again.stdout
    for done in (first, again):
        shown = done.stdout + done.stderr
        assert box.token not in shown
        assert env["DATASET"].partition("rlkey=")[2].partition("&")[0] not in shown
