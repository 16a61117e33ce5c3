"""Whether requirements hold, compared with what pip itself would do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import Venv
from dists import COMMIT, git_url, put
from installing import wheelhouse

from colab_magics.core.packages import pip_args, requirements, satisfied


def holds(text: str) -> bool:
    """Tell whether ``pip install`` of one thing has nothing to do."""
    return satisfied.arguments_hold([text])


def test_requirements_hold_when_all_of_the_tree_does(site: Path) -> None:
    """Versions, extras, markers, circles, and what is not there."""
    put(site, "top", requires=("mid>=1", "never; python_version < '3'", "gone; extra == 'more'"))
    put(site, "mid", version="2.0rc1", requires=("top", "leaf[x]"))
    put(site, "leaf", requires=("deep; python_version > '3' and extra == 'x'", "none; extra == 'y' and extra == 'x'"))
    put(site, "deep")
    put(site, "torn", requires=("missing",))
    put(site, "either", requires=("missing; extra == 'a' or python_version > '3'",))
    for text in ("top", "TOP>=1", "mid<3", "leaf[x]", "absent; python_version < '3'", "deep==1.*", "mid==2.0rc1"):
        assert holds(text), text
    for text in ("top[more]", "top>1", "torn", "either", "absent", "mid>=2", "./deep", "-e deep", "",
                 "deep @ https://x.org/d.whl"):  # fmt: skip
        assert not holds(text), text
    assert satisfied.dependencies_hold("leaf")
    assert not satisfied.dependencies_hold("top", ["more"])
    assert not satisfied.dependencies_hold("nobody")


def test_what_is_installed_meanwhile_is_seen_at_once(site: Path) -> None:
    """Metadata is read once, and again when it changed."""
    info = put(site, "top", requires=("mid",))
    assert not holds("top")
    put(site, "mid")
    assert holds("top")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: top\nVersion: 1.0\nRequires-Dist: gone>1\n\nreadme\n")
    assert not holds("top")
    (info / "METADATA").unlink()
    assert not holds("top")


def test_a_readme_is_no_requirement(site: Path) -> None:
    """It stands behind the metadata's head; a long requirement may go over two lines of it."""
    info = put(site, "top")
    put(site, "mid")
    head = "Metadata-Version: 2.1\r\nName: top\r\nVersion: 1.0\r\nRequires-Dist: mid\r\n >=1\r\n\r\n"
    (info / "METADATA").write_bytes((head + "Requires-Dist: gone\r\n").encode())
    assert holds("top")
    (info / "METADATA").write_bytes(head.replace(">=1", ">=2").encode())
    assert not holds("top")


def test_a_project_in_the_working_folder_is_not_installed(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build leaves metadata there, which Python finds and pip does not; an old form elsewhere counts."""
    for folder in (Path.cwd(), site):
        info = folder / "mine.egg-info" if folder != site else folder / "old-1.0-py3.egg-info"
        info.mkdir()
        (info / "PKG-INFO").write_text(f"Metadata-Version: 1.0\nName: {info.name[:4].rstrip('-')}\nVersion: 1.0\n")
    put(Path.cwd(), "dist")
    monkeypatch.syspath_prepend("")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert holds("old")
    assert not holds("mine")
    assert not holds("dist")


def test_an_address_holds_at_its_whole_commit_only(site: Path) -> None:
    """A branch or a tag may have moved since; another part of a repository is another project."""
    put(site, "lib", url=git_url("https://github.com/acme/lib.git"), requires=("gone; extra == 'x'",))
    put(site, "part", url=git_url("https://github.com/acme/mono", subdirectory="pkg"))
    for text in (
        f"lib @ git+ssh://git@github.com/acme/lib@{COMMIT}",
        f"git+https://github.com/acme/lib@{COMMIT}",
        f"git+https://${{TOKEN}}@github.com/Acme/lib.git@{COMMIT}#egg=lib",
        f"git+https://github.com/acme/mono@{COMMIT}#subdirectory=pkg",
        f"lib @ git+https://github.com/acme/lib@{'2' * 40} ; python_version < '3'",
    ):
        assert holds(text), text
    for tail in ("", "@main", f"@{COMMIT[:7]}", f"@{'2' * 40}", f"@{COMMIT}#subdirectory=pkg"):
        for head in ("lib @ ", ""):
            assert not holds(f"{head}git+https://github.com/acme/lib{tail}"), tail
    for text in (
        f"lib @ git+https://github.com/other/lib@{COMMIT}",
        f"lib[x] @ git+https://github.com/acme/lib@{COMMIT}",
        f"git+https://github.com/acme/mono@{COMMIT}",
        f"git+https://github.com/acme/lib@{COMMIT}#egg=part",
    ):
        assert not holds(text), text


def test_an_archive_holds_by_its_address_and_digest(site: Path) -> None:
    """A user name in the address does not count, a digest does."""
    put(site, "wheel", url={"url": "https://example.org/wheel.whl", "archive_info": {"hash": "sha256=ab"}})
    for text in ("wheel @ https://example.org/wheel.whl", "https://example.org/wheel.whl",
                 "https://me@example.org/wheel.whl#sha256=AB", "wheel @ https://example.org/wheel.whl"):  # fmt: skip
        assert holds(text), text
    for text in ("https://example.org/other.whl", "https://example.org/wheel.whl#sha256=cd",
                 "wheel @ https://x.org/wheel.whl", "wheel @ https://example.org/wheel.whl#sha512=ab"):  # fmt: skip
        assert not holds(text), text


def test_the_arguments_of_pip_hold_when_nothing_is_left_to_do(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, files, nested files, constraints; anything that cannot be proved does not hold."""
    put(site, "one")
    put(site, "two", version="2.0")
    put(site, "torn", requires=("missing",))
    Path("sub").mkdir()
    Path("r.txt").write_text(
        "one\n--index-url https://x.org/simple\n-r sub/r.txt\ntwo==2.0 --hash=sha256:aa\n--no-binary :all:\n-f sub\n"
    )
    Path("sub/r.txt").write_text("-c limits.txt\ntwo\n")
    Path("sub/limits.txt").write_text("two<3\nabsent==1\none==5; python_version < '3'\n-c more.txt\n")
    Path("sub/more.txt").write_text("one==1.0\n")
    Path("circle.txt").write_text("one\n-r circle.txt\n")
    Path("odd.txt").write_text("one\n--pre --no-such\n")
    for words in (["one"], ["one", "two>1"], ["-r", "r.txt"], ["-rr.txt"], ["--requirement=r.txt", "one"],
                  ["-q", "one"], ["one", "-c", "sub/limits.txt"], ["--no-deps", "torn"], ["-qq", "--no-index", "one"],
                  ["-f", "sub", "--index-url=https://x.org", "one"], ["one", "--no-cache-dir"]):  # fmt: skip
        assert satisfied.arguments_hold(words), words
    assert satisfied.arguments_hold(["-r", "r.txt"], folder=Path.cwd() / "sub")
    for words in ([], ["-q"], ["three"], ["-U", "one"], ["./one"], ["-r", "none.txt"], ["-r"], ["-r", "circle.txt"],
                  ["--force-reinstall", "one"], ["one", "three"], ["-c", "sub/limits.txt"], ["torn"], ["one", "-f"],
                  ["-r", "odd.txt"], ["--quiet=1", "one"], ["-r", "https://x.org/r.txt"]):  # fmt: skip
        assert not satisfied.arguments_hold(words), words
    Path("sub/more.txt").write_text("one==1.1\n")
    assert not satisfied.arguments_hold(["-r", "r.txt"])
    assert not satisfied.lines_hold(requirements.read(Path("r.txt")).others)
    Path("sub/more.txt").write_text("one\n")
    assert satisfied.lines_hold(requirements.read(Path("r.txt")).others)
    for name, value in (("PIP_UPGRADE", "1"), ("PIP_TARGET", "there"), ("PIP_CONSTRAINT", "sub/none.txt")):
        monkeypatch.setenv(name, value)
        assert not satisfied.arguments_hold(["one"]), name
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONSTRAINT", "sub/more.txt")
    assert satisfied.arguments_hold(["one"])


def test_a_folder_in_place_holds_until_it_says_otherwise(site: Path, tmp_path: Path) -> None:
    """Not with new requirements, not when something in it is compiled, and not what was installed as a copy."""
    project = tmp_path / "my pkg"
    project.mkdir()
    (project / "pyproject.toml").write_text("")
    info = put(
        site, "lib", requires=("gone; extra == 'x'",), url={"url": project.as_uri(), "dir_info": {"editable": True}}
    )
    Path("r.txt").write_text(f"-e {project}\n")
    calls = (["-e", str(project)], [f"--editable={project}"], ["-r", "r.txt"])
    assert all(map(satisfied.arguments_hold, calls))
    assert not satisfied.arguments_hold(["-e", f"{project}[x]"])
    assert satisfied.arguments_hold(["--no-deps", "-e", f"{project}[x]"])
    assert not satisfied.arguments_hold([str(project)])
    (info / "WHEEL").write_text("Root-Is-Purelib: false\n")
    assert not any(map(satisfied.arguments_hold, calls))
    (info / "WHEEL").write_text("Root-Is-Purelib: true\n")
    assert all(map(satisfied.arguments_hold, calls))
    later = (project / "pyproject.toml").stat().st_mtime_ns + 10**12
    os.utime(project / "pyproject.toml", ns=(later, later))
    assert not any(map(satisfied.arguments_hold, calls))


_VALUES = {
    "--cert": "x.pem", "--client-cert": "x.pem", "--exists-action": "i", "--keyring-provider": "disabled",
    "--no-binary": "two", "--only-binary": "one", "--progress-bar": "off", "--proxy": "http://127.0.0.1:9",
    "--root-user-action": "ignore", "--upgrade-strategy": "only-if-needed", "--use-feature": "fast-deps",
    "-C": "k=v", "--config-settings": "k=v", "--cache-dir": "cache", "--trusted-host": "127.0.0.1",
    "-i": "http://127.0.0.1:9", "--index-url": "http://127.0.0.1:9", "--extra-index-url": "http://127.0.0.1:9",
    "--retries": "0", "--timeout": "1",
}  # fmt: skip


def test_pip_itself_is_of_the_same_mind(venv: Venv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every option that is taken to change nothing at once pip installs nothing, though newer versions are there.

    With one that is taken to decide it would.
    """
    wheels = wheelhouse(tmp_path / "wheels", ("one", "1.0"), ("one", "2.0"), ("one", "3.0rc1"))
    pip = [str(venv.python), "-m", "pip", "install"]
    subprocess.run([*pip, "-q", "--no-index", "--no-deps", str(wheels / "one-1.0-py3-none-any.whl")], check=True)
    known = subprocess.run([*pip, "--help"], check=True, capture_output=True, text=True).stdout
    words = ["--no-index", "-f", str(wheels), "one"]
    for option in sorted(
        {f"--{name}" for name in pip_args.FLAGS}
        - {"--user", "--isolated", "--quiet", "--no-use-pep517", "--no-compile"}
    ):
        words += [option] if re.search(rf"{option}\b", known) else []
    for option, value in _VALUES.items():
        words += [option, value] if option in known else []
    monkeypatch.syspath_prepend(str(venv.site_packages))
    assert satisfied.arguments_hold(words), words
    assert len(words) > 50
    done = subprocess.run([*pip, "--dry-run", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout
    assert "already satisfied: one" in done.stdout
    for more in (["-U"], ["--force-reinstall"], ["-I"], ["--target", "there"]):
        asked = ["--no-index", "-f", str(wheels), "one", *more]
        done = subprocess.run([*pip, "--dry-run", *asked], check=True, capture_output=True, text=True)
        assert "Would install one-2.0" in done.stdout
        assert not satisfied.arguments_hold(asked)
