"""Which arguments of pip's uv is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Venv
from installing import find_uv, wheelhouse

from colab_magics.core.packages.uv_args import for_uv


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("colab_magics.core.packages.uv_args._SYSTEM", ())
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))


def ask(*words: str, **environ: str) -> list[str] | None:
    """Ask in an environment of its own."""
    return for_uv(words, {"HOME": str(Path.cwd()), **environ})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("six", "six"),
        ("-q six rich>=13 a[x]==1;python_version>'3'", "six rich>=13 a[x]==1;python_version>'3'"),
        ("-r base.txt", "-r base.txt"),
        ("--requirement=base.txt -c base.txt", "--requirement base.txt -c base.txt"),
        ("--no-index --find-links wheels six", "--no-index --find-links wheels six"),
        ("--no-deps six", "--no-deps six"),
    ],
)
def test_plain_names_and_files_of_them_are_for_uv(words: str, expected: str) -> None:
    """What only changes how pip talks is left out."""
    Path("base.txt").write_text("six\n-r more.txt # both\n")
    Path("more.txt").write_text("rich>=13\n")
    Path("wheels").mkdir()
    assert ask(*words.split()) == expected.split()


@pytest.mark.parametrize(
    "words",
    [
        "-U six",
        "--pre six",
        "--target here six",
        "--extra-index-url https://example.org/simple six",
        "--index-url=https://example.org/simple six",
        "--no-index --find-links https://example.org/wheels six",
        "./project",
        "project",
        "-e project",
        "git+https://github.com/a/b",
        "b @ git+https://github.com/a/b",
        "https://example.org/six.whl",
        "-r options.txt",
        "-r deep.txt",
        "-r itself.txt",
        "-r missing.txt",
        "-r",
        "-q",
        "",
    ],
)
def test_what_uv_may_take_otherwise_is_for_pip(words: str) -> None:
    """Other orders of indexes, other upgrades, folders and repositories; and what pip has its own words for."""
    Path("project").mkdir()
    Path("options.txt").write_text("--extra-index-url https://example.org/simple\nsix\n")
    Path("deep.txt").write_text("-r options.txt\n")
    Path("itself.txt").write_text("-r itself.txt\n")
    assert ask(*words.split()) is None


def test_a_configuration_of_pip_counts() -> None:
    """uv does not read it: where it decides what is installed, pip is asked."""
    assert ask("six", PIP_CONSTRAINT="limits.txt") is None
    assert ask("six", PIP_NO_INPUT="1") == ["six"]
    assert ask("six", PIP_INDEX_URL="https://example.org/simple") is None
    assert ask("--no-index", "six", PIP_INDEX_URL="https://example.org/simple") == ["--no-index", "six"]
    Path(".config/pip").mkdir(parents=True)
    Path(".config/pip/pip.conf").write_text("[global]\ntimeout = 60\n")
    assert ask("six") == ["six"]
    Path(".config/pip/pip.conf").write_text("[install]\nextra_index_url = https://example.org/simple\n")
    assert ask("six") is None
    assert ask("six", XDG_CONFIG_HOME="/nowhere") == ["six"]


@pytest.mark.skipif(find_uv() is None, reason="uv is not installed")
@pytest.mark.parametrize(
    ("arguments", "installer", "by"),
    [
        ("--no-index --find-links wheels one", "auto", "uv"),
        ("--no-index --find-links wheels one", "pip", "pip"),
        ("--no-index --find-links wheels --upgrade one", "auto", "pip"),
        ("--no-index --find-links wheels one", "broken", "pip"),
    ],
)
def test_pip_install_is_done_by_whom_it_says(
    arguments: str, installer: str, by: str, venv: Venv, tmp_path: Path
) -> None:
    """uv where it does the same; pip where that is asked for or uv might differ, and also when uv could not."""
    wheelhouse(Path.cwd() / "wheels", ("one", "1.0"))
    tools = tmp_path / "tools"
    tools.mkdir()
    if installer == "broken":
        (tools / "uv").write_text("#!/bin/sh\nexit 2\n")
        (tools / "uv").chmod(0o755)
    else:
        (tools / "uv").symlink_to(find_uv() or "")
    code = (
        "from colab_magics.core import Settings\nfrom colab_magics.core.packages import install\n"
        f"settings = Settings(installer={'auto' if installer == 'broken' else installer!r})\n"
        f"install.pip_install({arguments.split()!r}, settings=settings)\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    venv.run(code, env={**environ, "PATH": f"{tools}:/usr/bin:/bin"})
    [written] = venv.site_packages.glob("one-1.0.dist-info/INSTALLER")
    assert written.read_text().strip() == by
