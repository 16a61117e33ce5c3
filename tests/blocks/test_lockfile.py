"""What a block used, and running it with exactly that."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Venv

from colab_magics import sandbox
from colab_magics.core import bootstrap
from colab_magics.core.blocks.lockfile import Lock
from colab_magics.core.blocks.plan import read_plan
from colab_magics.errors import PlanError, StepError


def test_a_lock_names_contents_and_versions_and_no_link(box: sandbox.Sandbox) -> None:
    """It can be shared: neither a link, its key nor a token is in it."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")
    bootstrap(f"dropbox_sync {link} data\nrun true", lock=Path("block.lock"))
    text = Path("block.lock").read_text()
    lock = json.loads(text)
    assert [held["files"] for held in lock["syncs"]["data"]] == [1]
    assert lock["packages"]["pytest"] == pytest.__version__
    assert "dropbox.com" not in text
    assert link.partition("rlkey=")[2].partition("&")[0] not in text
    assert box.token not in text


def test_a_frozen_run_takes_the_same_content_and_refuses_another(box: sandbox.Sandbox) -> None:
    """While the link holds what it held, the run is as usual; then it fails and says what differs."""
    (box.folder("data") / "a.txt").write_text("a")
    block = f"dropbox_sync {box.folder_link('data')} data"
    bootstrap(block, lock=Path("block.lock"))
    again = bootstrap(block.replace(" data", " ./data"), lock=Path("other.lock"))
    assert again.steps[0].status == "up-to-date"
    assert [step.status for step in bootstrap(block, frozen=Path("block.lock")).steps] == ["up-to-date"]
    (box.folder("data") / "b.txt").write_text("b")
    with pytest.raises(StepError, match="line 1: dropbox_sync: the link of data does not hold what is locked: 2 files"):
        bootstrap(block, frozen=Path("block.lock"))
    assert not Path("data/b.txt").exists(), "it is found out before anything is written"


def test_a_frozen_run_elsewhere_writes_nothing_of_another_content(box: sandbox.Sandbox) -> None:
    """Neither a new folder nor a file; every line that differs is told, and the rest is done."""
    (box.folder("data") / "a.txt").write_text("a")
    (box.folder("same") / "a.txt").write_text("a")
    one = box.file_link("one.txt", "1")
    block = (
        f"dropbox_sync {box.folder_link('data')} data\ndropbox_sync {one} one.txt\n"
        f"dropbox_sync {box.folder_link('same')} same"
    )
    bootstrap(block, lock=Path("block.lock"))
    (box.folder("data") / "a.txt").write_text("b")
    (box.folder("data").parent / "one.txt").write_text("2")
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    with pytest.raises(StepError) as caught:
        bootstrap(block, frozen=Path("../block.lock"))
    assert [line.partition(": the link")[0] for line in str(caught.value).splitlines()] == [
        "line 1: dropbox_sync",
        "line 2: dropbox_sync",
    ]
    assert {path.name for path in Path().iterdir() if path.name[0] != "."} == {"same"}


def test_all_that_is_not_locked_is_told_before_anything_runs(box: sandbox.Sandbox) -> None:
    """A block that has grown since needs a new lock."""
    block = f"run touch here\ndropbox_sync {box.folder_link('data')} data\nprivate_pip acme/new"
    Lock().write(Path("empty.lock"))
    with pytest.raises(PlanError) as caught:
        bootstrap(block, frozen=Path("empty.lock"))
    assert [line.partition(";")[0] for line in str(caught.value).splitlines()] == [
        "line 2: data is not in the lock",
        "line 3: acme/new is not in the lock",
    ]
    assert not Path("here").exists()


@pytest.mark.parametrize("verb", ["pip install", "private_pip"])
def test_the_lines_of_a_requirements_file_are_pinned(verb: str) -> None:
    """A repository in it, or in one that it names, is taken at its locked commit, the rest at its version."""
    Path("deep").mkdir()
    Path("requirements.txt").write_text("-r deep/more.txt\nsix\n")
    Path("deep/more.txt").write_text("lib[x] @ git+https://github.com/acme/lib.git@main\n")
    (step,) = read_plan(f"{verb} -r requirements.txt").steps
    lock = Lock(repositories={"github.com/acme/lib": "c" * 40}, packages={"six": "1.16"})
    with lock.held(step) as held:
        files = held.args.requirement if step.verb == "private_pip" else [held.command[1]]
        limits = held.args.constraint[0] if step.verb == "private_pip" else held.command[3]
        assert Path(files[0]).read_text() == f"six\nlib[x] @ git+https://github.com/acme/lib.git@{'c' * 40}\n"
        assert Path(limits).read_text() == "six==1.16\n"
    assert not Path(limits).exists()
    with pytest.raises(StepError, match="is not in the lock"), Lock().held(step):
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acme/lib", "acme/lib@{0}"),
        ("acme/lib@v1", "acme/lib@{0}"),
        ("acme/lib[x]@feature/y#subdirectory=z", "acme/lib[x]@{0}#subdirectory=z"),
        ("lib", "lib@{0}"),
        ("https://github.com/acme/lib.git@v2", "https://github.com/acme/lib.git@{0}"),
        ("./folder", "./folder"),
    ],
)
def test_specs_are_pinned(text: str, expected: str) -> None:
    """Whatever ref a spec asks for, a frozen run installs the commit of the lock."""
    lock = Lock(repositories={"github.com/acme/lib": "c" * 40})
    assert lock.pinned(text) == expected.format("c" * 40)


def test_a_repository_that_is_not_locked_is_refused() -> None:
    """A new line needs a new lock."""
    with pytest.raises(StepError, match="acme/new is not in the lock"):
        Lock().pinned("acme/new")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 99}'])
def test_what_is_no_lock_is_refused_before_anything_runs(text: str) -> None:
    """The file is read first."""
    Path("bad.lock").write_text(text)
    with pytest.raises(PlanError, match=r"bad\.lock"):
        bootstrap("run touch here", frozen=Path("bad.lock"))
    with pytest.raises(PlanError, match=r"missing\.lock"):
        bootstrap("run touch here", frozen=Path("missing.lock"))
    assert not Path("here").exists()


def test_a_frozen_install_is_the_commit_of_the_lock(box: sandbox.Sandbox, venv: Venv) -> None:
    """After the branch has moved on, a frozen run elsewhere still installs what was locked."""
    repo = box.private_repo("acme/lib", code="value = 1\n")
    first = repo.head
    code = "import sys; from colab_magics.cli import main; sys.exit(main(sys.argv[1:]))"
    Path("block.txt").write_text(
        f"private_pip --installer pip {repo.spec}\nrun python -c 'import lib; print(\"value\", lib.value)'\n"
    )
    assert "value 1" in venv.run(code, "run", "block.txt", "--lock", "block.lock", env=dict(os.environ)).stdout
    repo.commit({"lib/__init__.py": "value = 2\n"})
    assert "value 2" in venv.run(code, "run", "block.txt", env=dict(os.environ)).stdout
    assert "value 1" in venv.run(code, "run", "block.txt", "--frozen", "block.lock", env=dict(os.environ)).stdout
    assert first in Path("block.lock").read_text()


def test_two_links_into_one_folder_are_locked_each(box: sandbox.Sandbox) -> None:
    """What each held is in the lock; a run with it is as usual, and what differs in one of them is found."""
    (box.folder("one") / "a.txt").write_text("a")
    (box.folder("two") / "b.txt").write_text("b")
    block = f"dropbox_sync {box.folder_link('one')} data\ndropbox_sync {box.folder_link('two')} data"
    bootstrap(block, lock=Path("block.lock"))
    assert [step.status for step in bootstrap(block, frozen=Path("block.lock")).steps] == ["up-to-date"] * 2
    anew = "\n".join(reversed(block.replace("&dl=0", "").splitlines()))
    assert len(bootstrap(anew, frozen=Path("block.lock")).steps) == 2
    (box.folder("two") / "b.txt").write_text("changed")
    with pytest.raises(StepError, match="line 2: dropbox_sync: the link of data does not hold what is locked"):
        bootstrap(block, frozen=Path("block.lock"))
    assert Path("data/b.txt").read_text() == "b"
