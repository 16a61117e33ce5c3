"""Packages with files in Git LFS: real git-lfs against a host that insists on its token for every object."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Venv
from installing import INSTALLERS, Place

from colab_magics.core.git import lfs
from colab_magics.sandbox import Large, Sandbox, package, start
from colab_magics.sandbox.repos import Content
from colab_magics.sandbox.watch import Watch, find_secret

needs_lfs = pytest.mark.skipif(not lfs.is_available(), reason="git-lfs is not installed")
CONTENT = Large(b"\0large" * 5000)
READS = "import pathlib\nsize = len((pathlib.Path(__file__).parent / 'data.bin').read_bytes())\n"


def with_large(name: str, content: Large = CONTENT) -> dict[str, Content]:
    """A package whose data.bin is in Git LFS."""
    return {
        **package(name, code=READS),
        ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        f"{name}/data.bin": content,
    }


@pytest.fixture(params=INSTALLERS)
def either(request: pytest.FixtureRequest, venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment, once for pip and once for uv."""
    return Place(venv, tmp_path / "temp", request.param)


@pytest.fixture
def without(tmp_path: Path) -> str:
    """A path on which there is git, and no git-lfs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in os.environ["PATH"].split(os.pathsep):
        for program in Path(name).glob("*") if Path(name).is_dir() else ():
            if program.name != "git-lfs" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return str(folder)


@needs_lfs
def test_large_files_arrive_with_the_token(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """Of a package, of its private dependency over ssh, and of a submodule; the token shows nowhere."""
    inner = box.private_repo("acme/innerlib", with_large("innerlib", Large(b"inner" * 1000)))
    data = box.private_repo(
        "acme/data", {k: v for k, v in with_large("data", Large(b"data" * 999)).items() if k != "pyproject.toml"}
    )
    files = with_large("biglib")
    needy = package("biglib", requires=[f"innerlib @ git+{inner.ssh_url}"])
    files |= {name: needy[name] for name in ("pyproject.toml", "_build.py")}
    repo = box.private_repo("acme/biglib", files, submodules={"biglib/sub": data})
    code = f"install({repo.spec!r})\nimport biglib, innerlib, biglib.sub.data as sub\n"
    child = either.start(code + "print(biglib.size, innerlib.size, sub.size)\n")
    with Watch(box.token, [child.pid]) as watch:
        out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err
    assert f"{len(CONTENT)} 5000 3996" in out
    assert "Git LFS" not in out + err
    assert watch.found == []
    assert box.token not in out + err
    assert find_secret(box.token, Path.home(), tmp_path, Path.cwd()) == []
    fetched = [request for request in box.requests if "/info/lfs/" in request.path]
    assert {request.path.partition(".git/")[0] for request in fetched} == {
        "/acme/biglib",
        "/acme/innerlib",
        "/acme/data",
    }
    assert {request.status for request in fetched if "authorization" not in request.headers} == {401}


@needs_lfs
def test_another_host_of_large_files_is_shown_nothing(either: Place, box: Sandbox) -> None:
    """A repository may name any address for them; the token is for its own host."""
    with start(activate=False) as elsewhere:
        elsewhere.private_repo("acme/biglib", with_large("biglib"))
        settings = f"[lfs]\n\turl = http://{elsewhere.git_host}/acme/biglib.git/info/lfs\n"
        repo = box.private_repo("acme/biglib", {**with_large("biglib"), ".lfsconfig": settings})
        ran = either.run(f"install({repo.spec!r})")
        assert ran["error"] == "TokenError"
        assert f"{elsewhere.git_host} wants a token" in ran.message
        assert elsewhere.requests
        assert not [request for request in elsewhere.requests if "authorization" in request.headers]


def test_without_git_lfs_one_line_says_so(either: Place, box: Sandbox, without: str) -> None:
    """What is installed are pointers, also where git was set up for a git-lfs that has gone; --force mends that."""
    subprocess.run(["git", "config", "--global", "filter.lfs.required", "true"], check=True)
    subprocess.run(["git", "config", "--global", "filter.lfs.process", "git-lfs filter-process"], check=True)
    repo = box.private_repo("acme/biglib", with_large("biglib"))
    if either.installer == "uv" and not (Path(without) / "uv").exists():
        (Path(without) / "uv").symlink_to(shutil.which("uv", path=either.environment()["PATH"]) or "")
    code = f"install({repo.spec!r})\nimport biglib\nprint('size', biglib.size)\n"
    ran = either.run(code, PATH=without)
    assert "size 20" not in ran.output
    [line] = ran["said"]
    assert "biglib has 1 file (biglib/data.bin) whose content lies in Git LFS" in line
    assert "git-lfs was not found: install it" in line
    if lfs.is_available():
        ran = either.run(code.replace(")\n", ", force=True)\n", 1))
        assert f"size {len(CONTENT)}" in ran.output
        assert ran["said"] == []


def test_pip_itself_brings_large_files_or_says_so(venv: Venv, tmp_path: Path, box: Sandbox, without: str) -> None:
    """As the step of a block does that is a ``pip install``."""
    repo = box.private_repo("acme/biglib", with_large("biglib"))
    place = Place(venv, tmp_path / "temp")
    code = (
        "from colab_magics.core.packages import install\ntold = Told()\n"
        f"install.pip_install(['git+{repo.url}'], progress=told)\nanswers.append({{'said': told.said}})\n"
        "import biglib\nprint('size', biglib.size)\n"
    )
    if lfs.is_available():
        ran = place.run(code)
        assert f"size {len(CONTENT)}" in ran.output
        assert ran["said"] == []
        subprocess.run(["rm", "-r", *map(str, venv.site_packages.glob("biglib*"))], check=True)
    said = place.run(code, PATH=without, PIP_NO_CACHE_DIR="1")["said"]
    assert [text.partition(" (")[0] for text in said] == ["biglib has 1 file"]


@needs_lfs
def test_a_build_that_needs_its_large_files_has_them(either: Place, box: Sandbox) -> None:
    """uv leaves pointers there at first; a build that fails for it is done again."""
    files = with_large("biglib")
    files["_build.py"] = f"{files['_build.py']}\nassert len(open('biglib/data.bin', 'rb').read()) > 1000\n"  # type: ignore[str-bytes-safe]
    repo = box.private_repo("acme/biglib", files)
    assert either.run(f"install({repo.spec!r})")["status"] == "installed"


@needs_lfs
def test_a_clone_to_develop_in_has_its_large_files(either: Place, box: Sandbox, without: str) -> None:
    """Nothing in it counts as changed for its owner's own git, which was never told of git-lfs."""
    repo = box.private_repo("acme/biglib", with_large("biglib"))
    ran = either.run(f"install({repo.spec!r}, editable=True, src='src')\nimport biglib\nprint('size', biglib.size)\n")
    assert f"size {len(CONTENT)}" in ran.output
    status = ["git", "-C", "src/biglib", "status", "--porcelain", "--untracked-files=no"]
    assert subprocess.run(status, check=True, capture_output=True).stdout == b""
    assert find_secret(box.token, Path("src")) == []
