"""The private git host, asked by real git."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_magics import sandbox
from colab_magics.sandbox import Large, Repo, Sandbox


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A running sandbox that leaves the environment alone."""
    with sandbox.start(activate=False) as started:
        yield started


@pytest.fixture
def repo(box: Sandbox) -> Repo:
    """A private repository with a package in it."""
    return box.private_repo("acme/secretlib", code="answer = 42\n", tag="v1.0")


class Git:
    """A git client that knows one user name and password, and nothing of this machine's configuration."""

    def __init__(self, box: Sandbox, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "LC_ALL": "C",
            "no_proxy": "*",
        }
        self.box = box

    def __call__(self, *args: str, password: str | None = None, username: str = "anyone", fails: bool = False) -> str:
        environment = dict(self.environment)
        if password is not None:
            helper = self.home / "helper.sh"
            helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho username={username}\necho password={password}\n")
            helper.chmod(0o700)
            environment |= {"GIT_CONFIG_COUNT": "2"}
            environment |= {"GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": str(helper)}
            environment |= {
                "GIT_CONFIG_KEY_1": f"url.http://{self.box.git_host}/.insteadOf",
                "GIT_CONFIG_VALUE_1": f"ssh://git@{self.box.git_host}/",
            }
        done = subprocess.run(
            ["git", *args], env=environment, cwd=self.home, capture_output=True, text=True, check=False
        )
        assert bool(done.returncode) == fails, done.stderr
        return done.stderr if fails else done.stdout


@pytest.fixture
def git(box: Sandbox, tmp_path: Path) -> Git:
    """A client for the sandbox's git host."""
    return Git(box, tmp_path)


def test_the_token_opens_a_private_repository(box: Sandbox, repo: Repo, git: Git, tmp_path: Path) -> None:
    """A clone with the token, with and without ``.git``, has the files, and keeps the token nowhere."""
    for number, url in enumerate((repo.url, f"{repo.url}.git")):
        git("clone", "--quiet", url, str(number), password=box.token)
        assert "answer = 42" in (tmp_path / str(number) / "secretlib" / "__init__.py").read_text()
        assert box.token not in (tmp_path / str(number) / ".git" / "config").read_text()
    assert box.token not in repr(box.requests)
    assert {request.headers.get("authorization") for request in box.requests} == {None, "Basic"}


def test_without_a_token_nothing_is_told(box: Sandbox, repo: Repo, git: Git) -> None:
    """No credentials, and wrong ones, fail authentication, for existing and unknown repositories alike."""
    for url in (repo.url, f"http://{box.git_host}/acme/unknown"):
        assert "Authentication failed" in git("ls-remote", url, fails=True)
        error = git("ls-remote", url, password="wrong-password", fails=True)
        assert "Authentication failed" in error
        assert box.token not in error
    assert {request.status for request in box.requests} == {401}


def test_a_good_token_learns_what_is_the_matter(box: Sandbox, repo: Repo, git: Git) -> None:
    """An unknown repository is not found, and one that the token may not read says so."""
    unknown = git("ls-remote", f"http://{box.git_host}/acme/unknown", password=box.token, fails=True)
    assert "not found" in unknown
    box.deny(repo)
    denied = git("ls-remote", repo.url, password=box.token, fails=True)
    assert "403" in denied
    box.deny("acme/secretlib", denied=False)
    assert repo.head in git("ls-remote", repo.url, password=box.token)
    assert box.token not in unknown + denied


def test_a_user_name_can_be_insisted_on(box: Sandbox, repo: Repo, git: Git) -> None:
    """With `require_username` the token is refused under another name."""
    box.require_username("oauth2")
    assert "Authentication failed" in git("ls-remote", repo.url, password=box.token, fails=True)
    assert repo.head in git("ls-remote", repo.url, password=box.token, username="oauth2")
    box.require_username(None)
    assert repo.head in git("ls-remote", repo.url, password=box.token)


def test_a_public_repository_needs_no_token(box: Sandbox, git: Git) -> None:
    """`public` opens one repository and no other."""
    public = box.private_repo("acme/open", {"README": "hello"}, public=True)
    assert public.head in git("ls-remote", public.url)
    assert {request.headers.get("authorization") for request in box.requests} == {None}


def test_a_repository_names_itself(box: Sandbox, repo: Repo) -> None:
    """Spec and addresses are of this host, and the spec is the repository's text."""
    assert str(repo) == repo.spec == f"{box.git_host}/acme/secretlib"
    assert repo.url == f"http://{repo.spec}"
    assert repo.ssh_url == f"ssh://git@{repo.spec}"
    assert box.token not in repr(repo)


def test_commits_tags_and_branches_arrive(box: Sandbox, repo: Repo, git: Git, tmp_path: Path) -> None:
    """A commit adds, replaces and deletes; tags move; a new branch starts at the default branch."""
    first = repo.head
    second = repo.commit({"data/a b.txt": "text", "raw": b"\x00\xff", "_build.py": None}, tag="v1.1", annotated=True)
    other = repo.commit({"only-here": "x"}, branch="dev")
    assert repo.head == second
    refs = dict(line.split("\t")[::-1] for line in git("ls-remote", repo.url, password=box.token).splitlines())
    assert refs["refs/heads/dev"] == other
    assert (refs["HEAD"], refs["refs/tags/v1.0"]) == (second, first)
    assert refs["refs/tags/v1.1"] != refs["refs/tags/v1.1^{}"] == second
    repo.commit({}, tag="v1.0")
    git("clone", "--quiet", "--branch", "dev", repo.url, "work", password=box.token)
    work = tmp_path / "work"
    assert (work / "data" / "a b.txt").read_text() == "text"
    assert (work / "raw").read_bytes() == b"\x00\xff"
    assert (work / "only-here").exists()
    assert not (work / "_build.py").exists()
    assert git("-C", "work", "log", "-1", "--format=%an <%ae>").strip() == "Sandbox <sandbox@localhost>"
    assert git("-C", "work", "rev-list", "-1", "v1.0", "--not", second).strip() == repo.head


def test_the_same_content_is_the_same_commit(box: Sandbox) -> None:
    """Dates and author are fixed, so that a commit's id depends on its content only."""
    files = {"a": "1"}
    assert box.private_repo("a/x", files).head == box.private_repo("b/x", files).head


def test_partial_and_shallow_clones_work(box: Sandbox, repo: Repo, git: Git) -> None:
    """Filters and any commit by its id are served, as the well-known hosts do."""
    old = repo.head
    repo.commit({"new": "x"})
    git("clone", "--quiet", "--filter=blob:none", "--no-checkout", repo.url, "partial", password=box.token)
    git("init", "--quiet", "one")
    git("-C", "one", "fetch", "--quiet", "--depth=1", repo.url, old, password=box.token)
    assert git("-C", "one", "rev-parse", "FETCH_HEAD").strip() == old


def test_submodules_are_recorded_with_their_ssh_address(box: Sandbox, repo: Repo, git: Git, tmp_path: Path) -> None:
    """A recursive clone that rewrites ``ssh://`` to ``http://`` gets the submodule at the recorded commit."""
    top = box.private_repo("acme/top", {"README": "x"}, submodules={"vendor/lib": repo})
    other = box.private_repo("acme/other", {"o": "o"})
    top.commit({}, submodules={"other": (other.url, other.head)})
    git("clone", "--quiet", "--recurse-submodules", top.url, "top", password=box.token)
    assert (tmp_path / "top" / "vendor" / "lib" / "secretlib" / "__init__.py").exists()
    assert (tmp_path / "top" / "other" / "o").exists()
    assert repo.ssh_url in (tmp_path / "top" / ".gitmodules").read_text()
    assert not [path for path in (tmp_path / "top").rglob("config") if box.token in path.read_text()]


def test_pushing_is_refused(box: Sandbox, repo: Repo, git: Git) -> None:
    """The host is read-only."""
    git("clone", "--quiet", repo.url, "work", password=box.token)
    assert "403" in git("-C", "work", "push", repo.url, "HEAD:refs/heads/new", password=box.token, fails=True)


def _ask(box: Sandbox, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes, str | None]:
    value = base64.b64encode(f"u:{box.token}".encode()).decode()
    connection = http.client.HTTPConnection(box.git_host, timeout=20)
    connection.request(
        method,
        path,
        body,  # type: ignore[arg-type]
        {"Authorization": f"Basic {value}", **{name.replace("_", "-"): text for name, text in headers.items()}},
        encode_chunked="Transfer_Encoding" in headers,
    )
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.getheader("Content-Type")


def test_protocol_v2_bodies_may_be_compressed_or_chunked(box: Sandbox, repo: Repo) -> None:
    """The same ls-refs command is understood plain, gzipped, and in chunks; so is the Git-Protocol header."""
    status, answer, kind = _ask(
        box, "GET", "/acme/secretlib/info/refs?service=git-upload-pack", Git_Protocol="version=2"
    )
    assert (status, kind) == (200, "application/x-git-upload-pack-advertisement")
    assert b"version 2" in answer
    command = b"0014command=ls-refs\n00010000"
    common = {"Git_Protocol": "version=2", "Content_Type": "application/x-git-upload-pack-request"}
    path = "/acme/secretlib.git/git-upload-pack"
    packed = gzip.compress(command)
    for status, answer, _ in (
        _ask(box, "POST", path, command, **common),
        _ask(box, "POST", path, packed, Content_Encoding="gzip", **common),
        _ask(box, "POST", path, iter([command[:5], command[5:]]), Transfer_Encoding="chunked", **common),
    ):
        assert status == 200
        assert repo.head.encode() in answer


def test_nothing_but_repositories_is_served(box: Sandbox, repo: Repo) -> None:
    """A path out of the repositories' folder, or to a file inside one, is not found."""
    assert _ask(box, "GET", "/../tokens.json")[0] == 404
    assert _ask(box, "GET", "/acme/secretlib.git/config")[0] == 404
    assert _ask(box, "GET", "/acme/../acme/secretlib/info/refs?service=git-upload-pack")[0] == 404
    assert _ask(box, "GET", "/acme/secretlib")[0] == 200
    for wrong in ("Basic !!!", "Bearer x", "Basic"):
        assert _ask(box, "GET", "/acme/secretlib", Authorization=wrong)[0] == 401


def test_wrong_names_and_paths_are_refused(box: Sandbox, repo: Repo) -> None:
    """A repository needs an owner and a free name, and a file a path inside."""
    for name in ("secretlib", "../x/y", "a//b"):
        with pytest.raises(ValueError, match="OWNER/NAME"):
            box.private_repo(name)
    with pytest.raises(ValueError, match="already"):
        box.private_repo("acme/secretlib")
    for path in ("/etc/passwd", "../x", "a/../../x", ""):
        with pytest.raises(ValueError, match="not a path inside"):
            repo.commit({path: "x"})
    with pytest.raises(RuntimeError, match="fast-import failed"):
        repo.commit({"a": "b"}, branch="bad..name")


def test_large_files_are_told_of_and_handed_out_for_downloads_only(box: Sandbox) -> None:
    """An object that is not there is an error of its own, and strangers learn nothing."""
    content = Large(b"large")
    repo = box.private_repo("acme/big", {"data.bin": content})
    oid = hashlib.sha256(content).hexdigest()

    def batch(operation: str, *oids: str) -> tuple[int, bytes]:
        body = json.dumps({"operation": operation, "objects": [{"oid": each, "size": 5} for each in oids]}).encode()
        return _ask(box, "POST", "/acme/big.git/info/lfs/objects/batch", body)[:2]

    status, answer = batch("download", oid, "0" * 64, "../config")
    first, *others = json.loads(answer)["objects"]
    assert (status, first["size"]) == (200, 5)
    assert [each["error"]["code"] for each in others] == [404, 404]
    place = first["actions"]["download"]["href"].removeprefix(repo.url.removesuffix("/acme/big"))
    assert _ask(box, "GET", place)[:2] == (200, b"large")
    assert _ask(box, "GET", place, Authorization="Basic")[0] == 401
    assert _ask(box, "GET", place[:-64] + "0" * 64)[0] == 404
    assert batch("upload", oid)[0] == 403
    for body in (b"x", b"[]", b"{}"):
        assert _ask(box, "POST", "/acme/big.git/info/lfs/objects/batch", body)[0] == 400
