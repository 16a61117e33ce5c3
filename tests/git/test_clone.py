"""A repository as a working tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kernels import running
from scripts import play

from colab_magics import cli
from colab_magics.core import bootstrap, git_clone, read_plan
from colab_magics.errors import InstallError, PlanError, TokenError
from colab_magics.sandbox import Large, Repo, Sandbox
from colab_magics.sandbox.watch import find_secret


@pytest.fixture
def repo(box: Sandbox) -> Repo:
    """A repository with two files, a submodule that is private too, and a tag."""
    inner = box.private_repo("acme/inner", {"i.txt": "inner"})
    return box.private_repo("acme/site", {"a.txt": "1\n", "b.txt": "1\n"}, tag="v1", submodules={"sub": inner})


def git(*words: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    return subprocess.run(["git", *who, *words], cwd="site", check=True, capture_output=True, text=True).stdout.strip()


def test_a_clone_and_what_a_second_run_does(box: Sandbox, repo: Repo) -> None:
    """Whole at first; then up to date, and brought forward with one's own changes kept and named."""
    assert git_clone(repo.spec, dry_run=True).status == "planned"
    assert not Path("site").exists()
    made = git_clone(repo.spec)
    assert (made.status, str(made.path), made.commit) == ("cloned", "site", repo.head)
    assert Path("site/sub/i.txt").read_text() == "inner"
    assert git_clone(repo.spec).status == "up-to-date"
    assert git_clone(repo.spec, dry_run=True).status == "up-to-date"
    Path("site/b.txt").write_text("mine\n")
    repo.commit({"a.txt": "2\n"})
    again = git_clone(repo.spec)
    assert (again.status, again.kept, again.commit) == ("updated", ["b.txt"], repo.head)
    assert repr(again).endswith("; your changes are kept in b.txt")
    assert [Path("site", name).read_text() for name in ("a.txt", "b.txt")] == ["2\n", "mine\n"]
    repo.commit({"b.txt": "3\n"})
    with pytest.raises(InstallError, match=r"changes that are not committed, in b\.txt.*commit or stash them"):
        git_clone(repo.spec)
    assert find_secret(box.token, Path("site")) == []


def test_a_branch_of_ones_own_is_not_left(box: Sandbox, repo: Repo) -> None:
    """Unless a ref is asked for."""
    git_clone(repo.spec)
    git("checkout", "--quiet", "-b", "mine")
    repo.commit({"a.txt": "2\n"})
    assert git_clone(repo.spec).status == "up-to-date"
    assert git("branch", "--show-current") == "mine"
    assert git_clone(f"{repo.spec}@main").status == "updated"
    assert git("branch", "--show-current") == "main"


def test_a_shallow_one(box: Sandbox, repo: Repo) -> None:
    """It has as many commits as were asked for, goes forward, and takes a tag too."""
    for number in range(3):
        repo.commit({"a.txt": f"{number}\n"})
    git_clone(repo.spec, depth=1)
    assert git("rev-list", "--count", "HEAD") == "1"
    repo.commit({"a.txt": "new\n"})
    assert git_clone(repo.spec, depth=1).status == "updated"
    assert Path("site/a.txt").read_text() == "new\n"
    tagged = git_clone(f"{repo.spec}@v1", "old", depth=1)
    assert Path(tagged, "a.txt").read_text() == "1\n"


def test_large_files_come_with_it(box: Sandbox) -> None:
    """With git-lfs, in the tree and with a later git pull."""
    if not shutil.which("git-lfs"):
        pytest.skip("git-lfs is not installed")
    attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
    large = box.private_repo("acme/site", {".gitattributes": attributes, "w.bin": Large(b"x" * 5000)})
    git_clone(large.spec)
    assert Path("site/w.bin").read_bytes() == b"x" * 5000
    assert git("status", "--porcelain") == ""
    large.commit({"w.bin": Large(b"y" * 5000)})
    git("pull", "--quiet")
    assert Path("site/w.bin").read_bytes() == b"y" * 5000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("git_clone", "missing: SPEC"),
        ("git_clone acme/x[extra]", "is no whole repository"),
        ("git_clone ./folder", "is no whole repository"),
        ("git_clone acme/x --depth 0", "'0' is no number from 1 on"),
    ],
)
def test_mistakes_are_told_before_anything_runs(line: str, message: str) -> None:
    """One line each."""
    with pytest.raises(PlanError) as caught:
        read_plan(line)
    assert message in str(caught.value)
    with pytest.raises(TokenError):
        read_plan("git_clone acme/x --token hunter2hunter2")


def test_in_a_block_what_reads_the_tree_waits_for_it(box: Sandbox, repo: Repo, tmp_path: Path) -> None:
    """And a lock holds its commit."""
    first = repo.head
    block = f"git_clone {repo.spec} tree\nsymlink tree/a.txt link\nrun cat link"
    assert [step.status for step in bootstrap(block, lock=tmp_path / "lock").steps] == ["done"] * 3
    repo.commit({"a.txt": "2\n"})
    shutil.rmtree("tree")
    bootstrap(block, frozen=tmp_path / "lock")
    assert Path("tree/a.txt").read_text() == "1\n"
    assert subprocess.check_output(["git", "-C", "tree", "rev-parse", "HEAD"], text=True).strip() == first


def test_the_script_and_the_command_line_do_the_same(box: Sandbox, repo: Repo, tmp_path: Path) -> None:
    """The host may be a variable; a second run brings it forward."""
    block = "git_clone $GIT_HOST/acme/site tree --depth 1\n"
    done = play(block, tmp_path / "x", GIT_HOST=box.git_host)
    assert (done.status, done.last) == (0, f"line 1: git_clone: at {repo.head[:7]}"), done.output
    assert (tmp_path / "x/tree/sub/i.txt").read_text() == "inner"
    repo.commit({"a.txt": "2\n"})
    assert play(block, tmp_path / "x", again=True, GIT_HOST=box.git_host).status == 0
    assert (tmp_path / "x/tree/a.txt").read_text() == "2\n"
    assert cli.main(["clone", repo.spec, "other"]) == 0
    assert Path("other/a.txt").read_text() == "2\n"


def test_git_pull_works_in_the_notebook(box: Sandbox, repo: Repo, tmp_path: Path) -> None:
    """With a token that only this kernel knows, as one from a prompt, and that nothing shows."""
    with running(tmp_path, COLAB_MAGICS_TOKEN_FILE="", COLAB_MAGICS_SECRET_MINE=box.token) as kernel:
        kernel.run("%load_ext colab_magics")
        said = kernel.run(f"x = %git_clone {repo.spec} --token secret:MINE\nprint(x.status)")
        assert "cloned" in said.stream("stdout"), said.text
        kernel.run("import os; del os.environ['COLAB_MAGICS_SECRET_MINE']")
        repo.commit({"a.txt": "2\n"})
        said = kernel.run("!cd site && git pull && cat a.txt && env")
        assert "\n2\n" in said.stream("stdout").replace("\r", ""), said.text
        assert box.token not in said.text
