"""A clone to develop in: brought up to date without a loss of its owner's work, and no prompt that nobody sees."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from colab_magics.core.common.settings import Settings
from colab_magics.core.git import refs
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.checkout import checkout, head, is_at, origin
from colab_magics.core.git.refs import Remote
from colab_magics.core.git.specs import parse_spec
from colab_magics.core.secrets import secrets
from colab_magics.errors import InstallError
from colab_magics.sandbox import Repo, Sandbox
from colab_magics.sandbox.watch import find_secret


@pytest.fixture
def repo(box: Sandbox) -> Repo:
    """A repository with two files."""
    return box.private_repo("acme/lib", {"a.txt": "1\n", "b.txt": "1\n"})


def update(repo: Repo, ref: str = "") -> Path:
    """What ``%private_pip -e`` does to the clone, without the installation."""
    spec = parse_spec(repo.spec + ref)
    with Broker({spec.host: secrets.host_token(spec.host, Settings.load())}) as broker:
        checkout(spec, refs.resolve([spec], broker)[0], Path("lib"), broker)
    return Path("lib")


def own(*words: str) -> str:
    """The owner's own git in the clone."""
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    return subprocess.run(["git", *who, *words], cwd="lib", check=True, capture_output=True, text=True).stdout.strip()


def test_changes_stay_where_nothing_is_in_their_way(box: Sandbox, repo: Repo) -> None:
    """A changed file stays as it is while another one is updated; one that both changed stops it, and is named."""
    clone = update(repo)
    assert (head(clone), origin(clone)) == (repo.head, f"{repo.url}.git")
    (clone / "b.txt").write_text("mine\n")
    (clone / "new.txt").write_text("mine\n")
    second = repo.commit({"a.txt": "2\n"})
    update(repo)
    assert head(clone) == second
    assert [(clone / name).read_text() for name in ("a.txt", "b.txt", "new.txt")] == ["2\n", "mine\n", "mine\n"]
    for change, named in (({"b.txt": "3\n"}, "b.txt"), ({"b.txt": "1\n", "new.txt": "theirs\n"}, "new.txt")):
        repo.commit(change)
        with pytest.raises(InstallError, match=r"not committed, in .*commit or stash them") as caught:
            update(repo)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
        assert head(clone) == second
        assert [(clone / name).read_text() for name in ("b.txt", "new.txt")] == ["mine\n", "mine\n"]


def test_commits_of_ones_own_stay(box: Sandbox, repo: Repo) -> None:
    """On top of the branch they are up to date; beside it one line says how to put them on top."""
    clone = update(repo)
    (clone / "b.txt").write_text("mine\n")
    own("commit", "-qam", "mine")
    mine = head(clone)
    assert is_at(clone, Remote(repo.head, "main"))
    update(repo)
    assert head(clone) == mine
    theirs = repo.commit({"a.txt": "2\n"})
    assert not is_at(clone, Remote(theirs, "main"))
    with pytest.raises(InstallError, match="commits of its own") as caught:
        update(repo)
    assert head(clone) == mine
    command = str(caught.value).rpartition("on top with: git -C lib ")[2]
    own(*command.split())
    update(repo)
    assert is_at(clone, Remote(theirs, "main"))
    assert (clone / "b.txt").read_text() == "mine\n"


def test_a_branch_that_was_rewritten_is_followed(box: Sandbox, repo: Repo) -> None:
    """Where its owner committed nothing to it; what is not committed stays."""
    clone = update(repo)
    first = repo.head
    repo.commit({"a.txt": "2\n"})
    update(repo)
    subprocess.run(["git", "update-ref", "refs/heads/main", first], cwd=repo.folder, check=True)
    rewritten = repo.commit({"a.txt": "3\n"})
    (clone / "b.txt").write_text("mine\n")
    update(repo)
    assert (head(clone), (clone / "b.txt").read_text()) == (rewritten, "mine\n")


def pull(*more: str) -> tuple[int, str]:
    """``git pull`` by the owner, on a terminal, as a notebook's ! gives it: git would ask there."""
    printed = []

    def read(handle: int) -> bytes:
        printed.append(piece := os.read(handle, 1024))
        return piece

    command = ["timeout", "--foreground", "20", "git", "-C", "lib", *more, "pull", "--recurse-submodules"]
    return pty.spawn(command, read, lambda _: b""), b"".join(printed).decode()


def test_git_in_the_clone_finds_its_token(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the process that made it, and later from where tokens are; in submodules too, and it is written nowhere."""
    inner = box.private_repo("acme/inner", {"i.txt": "1\n"})
    repo = box.private_repo("acme/lib", {"a.txt": "1\n"}, submodules={"sub": inner})
    clone = update(repo)
    for _ in range(2):  # with the process that made it, and without
        repo.commit({"a.txt": str(_)})
        status, said = pull()
        assert status == 0, said
        assert head(clone) == repo.head
        assert box.token not in said
        monkeypatch.setenv("COLAB_MAGICS_CLONES", "/gone")
    assert find_secret(box.token, clone) == []
    inner_head = inner.commit({"i.txt": "2\n"})
    own("-C", "sub", "fetch", "--quiet", "origin", inner_head)


def test_git_in_the_clone_asks_nobody_in_a_notebook(box: Sandbox, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """There nobody hears its question: it stops and says what to do. With a token of the user's own it goes on."""
    clone = update(repo)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.delenv("COLAB_MAGICS_TOKEN_FILE")
    monkeypatch.setenv("COLAB_MAGICS_CLONES", "/gone")
    status, said = pull()
    assert status != 0
    assert "Username for" not in said
    assert f"no token for {box.git_host} is found here; run %git_clone on it again" in said
    monkeypatch.setenv("COLAB_MAGICS_TOKEN_FILE", "/gone.json")
    assert "the token file /gone.json does not exist" in pull()[1]
    store = f"!f() {{ echo username=x; echo password={box.token}; }}; f"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(Path.cwd() / "gitconfig"))
    subprocess.run(["git", "config", "--global", "credential.helper", store], check=True)
    repo.commit({"a.txt": "2\n"})
    own("pull", "--quiet")
    assert head(clone) == repo.head


def test_a_clone_whose_python_has_gone_asks_nobody_either(box: Sandbox, repo: Repo) -> None:
    """As one that lies on a drive, in the next runtime."""
    clone = update(repo)
    settings = clone / ".git" / "colab_magics"
    settings.write_text(settings.read_text().replace(sys.executable, "/gone/python"))
    status, said = pull()
    assert status != 0
    assert "Username for" not in said
    assert update(repo) == clone
    assert pull()[0] == 0
