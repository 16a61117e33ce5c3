"""Installing from private repositories: real git, real pip and uv, into real virtual environments."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

import pytest
from conftest import Venv
from installing import INSTALLERS, Place
from watching import wrap_git

from colab_magics.core.common.settings import Settings
from colab_magics.core.packages import install
from colab_magics.errors import InstallError, TokenError
from colab_magics.sandbox import Sandbox, package
from colab_magics.sandbox.watch import Watch, find_secret, spying_package


@pytest.fixture
def place(venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment that pip installs into."""
    return Place(venv, tmp_path / "temp")


@pytest.fixture(params=INSTALLERS)
def either(request: pytest.FixtureRequest, venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment, once for pip and once for uv."""
    return Place(venv, tmp_path / "temp", request.param)


def test_a_tree_of_private_packages(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """Several at once, with an extra, a submodule, and dependencies over ssh and https, are importable at once.

    The token, and one in the environment that is for another host, are nowhere but where they were read: not in an
    argument, an environment, an output, a file, an address. A second run asks for the refs once, and installs
    nothing.
    """
    spied, calls = tmp_path / "spied", tmp_path / "calls"
    inner = box.private_repo("acme/innerlib", spying_package("innerlib", spied, version="0.3", code="answer = 42\n"))
    extra = box.private_repo("acme/extralib")
    data = box.private_repo("acme/data", {"__init__.py": "rows = 3\n"})
    lib = box.private_repo(
        "acme/secretlib",
        spying_package(
            "secretlib",
            spied,
            code="from innerlib import answer\nfrom secretlib.data import rows\n",
            requires=[f"innerlib @ git+{inner.ssh_url}"],
            extras={"more": [f"extralib @ git+{extra.url}@main"]},
        ),
        tag="v1.0",
        annotated=True,
        submodules={"secretlib/data": data},
    )
    other = box.private_repo("acme/otherlib")
    wrap_git(either.venv.python.parent, calls)
    foreign = f"ghp_{secrets.token_hex(18)}"  # another test, at work at the same time, has another
    code = f"install({lib.spec + '[more]@v1.0'!r}, {other.spec!r})\nimport secretlib, extralib, otherlib\n"
    child = either.start(code + "print(secretlib.answer, secretlib.rows)", GITHUB_TOKEN=foreign)
    with Watch(box.token, [child.pid]) as watch, Watch(foreign, [child.pid]) as second:
        out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err
    assert "42 3" in out
    assert f"secretlib 1.0.0 from {lib.spec}@v1.0 ({lib.head[:7]})" in out
    assert watch.found == second.found == []
    assert any(either.installer in seen for seen in watch.seen)
    assert "remote-http" in "".join(watch.seen) + calls.read_text()
    everywhere = (Path.home(), tmp_path, Path.cwd())
    for secret in (box.token, foreign):
        assert secret not in out + err
        assert find_secret(secret, *everywhere) == []
    assert b"GIT_CONFIG_COUNT" in spied.read_bytes()
    recorded = either.direct_url("secretlib")
    assert recorded["url"].removesuffix(".git") == lib.url
    assert recorded["vcs_info"]["commit_id"] == lib.head
    assert list(either.temp.iterdir()) == []

    box.clear_requests()
    calls.unlink()
    again = either.run(code)
    assert again["status"] == "up-to-date"
    assert again["packages"][0]["changed"] is False
    assert f"secretlib 1.0.0 ({lib.head[:7]}): up to date" in again["repr"]
    assert {request.path.partition(".git")[0] for request in box.requests} == {"/acme/secretlib", "/acme/otherlib"}
    # What is configured is read on this machine alone.
    asked = [line for line in calls.read_text().splitlines() if "'config'" not in line]
    assert [line.split(",")[1] for line in asked] == [" 'ls-remote'"] * 2


def test_a_new_commit_is_installed_though_its_version_is_the_old_one(either: Place, box: Sandbox) -> None:
    """Imported modules that changed are named; a forced reinstallation of the same content names none."""
    lib = box.private_repo("acme/secretlib", code="answer = 1\n")
    same = box.private_repo("acme/samelib")
    either.run(f"install({lib.spec!r}, {same.spec!r})")
    lib.commit({"secretlib/__init__.py": "answer = 22\n"})
    ran = either.run(
        f"import secretlib, samelib\ninstall({lib.spec!r}, {same.spec!r})\n"
        "importlib.reload(secretlib); print('now', secretlib.answer)\n"
        f"install({lib.spec!r}, force=True)"
    )
    first, forced = ran.answers
    assert "now 22" in ran.output
    assert [entry["changed"] for entry in first["packages"]] == [True, False]
    assert (first["restart_needed"], first["stale"]) == (True, ["secretlib"])
    assert "secretlib was imported before" in first["repr"]
    assert "restart the kernel" in first["repr"]
    assert (forced["status"], forced["restart_needed"], forced["stale"]) == ("installed", False, [])


def test_every_kind_of_ref(place: Place, box: Sandbox, settings: Settings) -> None:
    """A branch, tags, commits whole and abbreviated, and a pull request's head install the commit that they mean."""
    lib = box.private_repo("acme/secretlib", version="1.0", tag="v1.0")
    first = lib.head
    second = lib.commit(package("secretlib", version="1.1"), tag="v1.1", annotated=True)
    third = lib.commit(package("secretlib", version="1.2"))
    branch = lib.commit(package("secretlib", version="2.0"), branch="feature/two")
    pull = lib.commit(package("secretlib", version="3.0"), branch="tmp")
    for command in (["update-ref", "refs/pull/7/head", pull], ["branch", "-D", "tmp"]):
        subprocess.run(["git", *command], cwd=lib.folder, check=True, capture_output=True)

    def resolved(ref: str) -> str | None:
        [found] = install.install([lib.spec + ref], dry_run=True, settings=settings).packages
        return found.commit

    assert resolved("") == resolved("@main") == resolved("@HEAD") == resolved("@heads/main") == third
    assert (resolved("@v1.0"), resolved("@v1.1"), resolved("@refs/tags/v1.1")) == (first, second, second)
    assert resolved("@feature/two") == branch
    assert resolved(f"@{third[:7]}") == third
    assert resolved("@refs/pull/7/head") == pull
    box.clear_requests()
    assert resolved(f"@{first}") == first
    assert box.requests == []
    # That no ref points to: only a clone can complete it.
    ran = place.run(
        f"install({lib.spec + '@' + second[:9]!r})\ninstall({lib.spec + '@' + second[:9]!r})\n"
        f"install({lib.spec + '@refs/pull/7/head'!r})\n"
    )
    assert [answer["packages"][0]["version"] for answer in ran.answers] == ["1.1", "1.1", "3.0"]
    assert [answer["packages"][0]["commit"] for answer in ran.answers] == [second, second, pull]
    assert [answer["status"] for answer in ran.answers] == ["installed", "up-to-date", "installed"]


def test_a_folder_and_a_part_of_a_repository(place: Place, box: Sandbox, tmp_path: Path) -> None:
    """./folder, drive:folder and #subdirectory install; -e develops a folder where it lies, and again does nothing."""
    files = {f"pkg/core/{name}": text for name, text in package("partlib", extras={"x": []}).items()}
    lib = box.private_repo("acme/mono", files)
    for folder, name in ((tmp_path / "drive" / "code", "drivelib"), (Path("pkg"), "herelib")):
        for path, text in package(name, code="answer = 1\n").items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    ran = place.run(
        f"install('drive:code', {lib.spec + '[x]#subdirectory=pkg/core'!r})\n"
        "import drivelib, partlib\n"
        "install('./pkg', editable=True)\nimport herelib\n"
        "open('r.txt', 'w').write('-e ./pkg')\ninstall(requirements=['r.txt'])\n"
        "open('pkg/herelib/__init__.py', 'w').write('answer = 4242')\nimportlib.reload(herelib)\n"
        "print(herelib.answer)\ninstall('./pkg', editable=True)\n"
        f"install({lib.spec + '#subdirectory=pkg/core'!r})\n",
        COLAB_MAGICS_DRIVE_ROOT=str(tmp_path / "drive"),
    )
    assert "4242" in ran.output
    assert [answer["status"] for answer in ran.answers] == [
        "installed",
        "installed",
        "up-to-date",
        "up-to-date",
        "up-to-date",
    ]
    assert [entry["name"] for entry in ran.answers[0]["packages"]] == ["drivelib", "partlib"]
    assert place.direct_url("partlib")["subdirectory"] == "pkg/core"
    assert place.direct_url("herelib")["dir_info"] == {"editable": True}


def test_a_clone_to_develop_in(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """-e clones beside the notebook, with submodules; the clone follows its branch, and work in it is never lost."""
    data = box.private_repo("acme/data", {"__init__.py": "rows = 3\n"})
    lib = box.private_repo("acme/secretlib", code="answer = 1\n", submodules={"secretlib/data": data}, tag="v1")
    old = lib.head
    install = f"install({lib.spec!r}, editable=True, src='src')\n"
    ran = either.run(install + "import secretlib.data\nprint(secretlib.__file__, secretlib.data.rows)\n" + install)
    clone = Path.cwd() / "src" / "secretlib"
    assert f"{clone}/secretlib/__init__.py 3" in ran.output
    assert [answer["status"] for answer in ran.answers] == ["installed", "up-to-date"]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=clone, check=True, capture_output=True, text=True).stdout.strip()

    assert git("remote", "get-url", "origin") == f"{lib.url}.git"
    assert git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert git("status", "--porcelain", "--untracked-files=no") == ""
    assert find_secret(box.token, clone) == []

    new = lib.commit({"secretlib/__init__.py": "answer = 22\n"})
    (clone / "secretlib" / "__init__.py").write_text("answer = 'mine'\n")
    assert "changes that are not committed" in either.run(install).message
    git("-c", "user.name=me", "-c", "user.email=me@localhost", "stash")
    ran = either.run("import secretlib\n" + install)
    assert (ran["stale"], git("rev-parse", "HEAD")) == (["secretlib"], new)

    # A commit on no branch would be lost by moving away from it.
    either.run(f"install({lib.spec + '@v1'!r}, editable=True, src='src')")
    assert git("rev-parse", "HEAD") == old
    git("-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--allow-empty", "-m", "mine")
    assert "commits that are on no branch" in either.run(install).message
    git("branch", "mine")
    assert either.run(install)["status"] == "installed"
    assert git("rev-parse", "HEAD") == new

    namesake = box.private_repo("other/secretlib")
    message = either.run(f"install({namesake.spec!r}, editable=True, src='src')").message
    assert "is a clone of" in message
    assert "--src DIR" in message
    (Path.cwd() / "src" / "plain").mkdir()
    (Path.cwd() / "src" / "plain" / "file").write_text("x")
    plain = box.private_repo("acme/plain")
    assert "is no clone of" in either.run(f"install({plain.spec!r}, editable=True, src='src')").message
    assert sorted(path.name for path in (Path.cwd() / "src").iterdir()) == ["plain", "secretlib"]


def test_a_repository_alone_is_its_owners(place: Place, box: Sandbox) -> None:
    """The token file's user name is the owner, on the host that it is for."""
    lib = box.private_repo("acme/secretlib")
    assert place.run("install('secretlib')")["packages"][0]["url"] == f"{lib.url}.git"


def test_a_project_called_otherwise_than_its_repository(either: Place, box: Sandbox) -> None:
    """Extras need the project's own name; the guess is corrected from what the installer says."""
    lib = box.private_repo("acme/repo-name", package("realname", extras={"more": ["extralib"]}))
    extra = box.private_repo("acme/extralib")
    ran = either.run(f"install({lib.spec + '[more]'!r}, {extra.spec!r})\nimport realname, extralib")
    assert [entry["name"] for entry in ran["packages"]] == ["realname", "extralib"]
    assert either.run(f"install({lib.spec + '[more]'!r})")["status"] == "up-to-date"


def test_a_dry_run_changes_nothing(place: Place, box: Sandbox) -> None:
    """It says what would be installed at which commit, for specs, clones and files."""
    lib = box.private_repo("acme/secretlib")
    Path("r.txt").write_text(f"git+{lib.url}\n")
    ran = place.run(
        f"install({lib.spec!r}, dry_run=True)\ninstall({lib.spec!r}, editable=True, dry_run=True)\n"
        "install(requirements=['r.txt'], dry_run=True)"
    )
    assert {answer["status"] for answer in ran.answers} == {"planned"}
    assert all(f"would install secretlib from {lib.spec} ({lib.head[:7]})" in answer["repr"] for answer in ran.answers)
    assert place.versions() == {}
    assert sorted(os.listdir()) == ["r.txt"]


def test_pip_itself_can_be_run(place: Place, box: Sandbox) -> None:
    """A plain pip install takes private addresses too, those with a ``${TOKEN}`` of old among them."""
    lib, other = box.private_repo("acme/secretlib"), box.private_repo("acme/otherlib")
    Path("r.txt").write_text(f"git+{other.url.replace('://', '://${GITHUB_TOKEN}@')}\n")
    place.run(
        "from colab_magics.core.packages import install\n"
        f"install.pip_install(['secretlib @ git+{lib.ssh_url}', '-r', 'r.txt'])\nimport secretlib, otherlib",
        GITHUB_TOKEN="a-token-of-another-host",
    )
    assert place.versions() == {"otherlib": "1.0.0", "secretlib": "1.0.0"}


@pytest.mark.parametrize(
    ("specs", "options", "error", "message"),
    [
        ([], {}, InstallError, "nothing to install"),
        ([], {"requirements": ["nothing.txt"]}, InstallError, "'nothing.txt' does not exist"),
        (["./nothing"], {}, InstallError, "folder './nothing' does not exist"),
        (["acme/x"], {"token": "GITHUB_TOKEN"}, TokenError, "secret:GITHUB_TOKEN"),
        (["acme/x"], {"token": "hunter2hunter2"}, TokenError, "revoke"),
        (["acme/x"], {"token": "secret:NOWHERE"}, TokenError, "NOWHERE was not found"),
        (["acme/x@glpat-0123456789abcdefghij"], {}, TokenError, "revoke"),
        (["x"], {}, InstallError, "whose 'x'"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    specs: list[str], options: dict[str, object], error: type[Exception], message: str
) -> None:
    """Nothing is asked of a host for it."""
    with pytest.raises(error, match=message) as caught:
        install.install(specs, settings=Settings(installer="pip"), **options)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_a_file_with_a_token_in_it_is_refused() -> None:
    """The message names the file and says to revoke the token; it is not shown."""
    token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    Path("r.txt").write_text(f"git+https://{token}@github.com/acme/x\n")
    with pytest.raises(TokenError, match=r"stands in 'r.txt': revoke") as caught:
        install.install([], requirements=["r.txt"], settings=Settings(installer="pip"))
    assert token not in repr(caught.value)


def test_a_missing_installer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv that was asked for and is not there."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(InstallError, match="pip install uv"):
        install.install(["acme/x"], settings=Settings(installer="uv"))
