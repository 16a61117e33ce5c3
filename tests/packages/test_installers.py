"""Which of pip and uv installs, and the same said to either."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Venv
from installing import find_uv, wheelhouse

from colab_magics.core import Settings
from colab_magics.core.packages import installers, pip_args
from colab_magics.core.packages.indexes import Indexes
from colab_magics.core.packages.installers import Installer, choose, for_uv
from colab_magics.core.packages.pip_args import configured, merged, parse
from colab_magics.errors import InstallError


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of pip or uv but a test's."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_CERT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").write_text("#!/bin/sh\n")
    (tmp_path / "bin/uv").chmod(0o755)
    monkeypatch.setattr(installers, "child_path", lambda: str(tmp_path / "bin"))
    monkeypatch.setattr(pip_args, "_files", lambda environ: [Path(environ["PIP_CONFIG_FILE"])])  # not /etc/pip.conf


def ask(words: str) -> list[str] | None:
    """Return what uv is told for the arguments of a ``pip install``; None where pip is asked."""
    asked = parse(words.split())
    chosen = choose("auto", Indexes(Settings()), asked)
    return [*chosen.options, *asked.targets] if chosen.uv and not asked.is_empty else None


def test_an_upgrade_is_said_in_each_ones_words() -> None:
    """uv's --upgrade would upgrade every dependency; pip's means what is named."""
    assert Installer().upgrade(["numpy"]) == ["--upgrade"]
    assert Installer("uv").upgrade(["numpy", "a"]) == ["--upgrade-package", "numpy", "--upgrade-package", "a"]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("six", "six"),
        ("-q six rich>=13 a[x]==1;python_version>'3'", "six rich>=13 a[x]==1;python_version>'3'"),
        ("-r base.txt", "--requirement base.txt"),
        ("--requirement=base.txt -c base.txt", "--constraint base.txt --requirement base.txt"),
        ("--no-index --find-links wheels -f missing six", "--find-links wheels --no-index six"),
        ("--no-deps six", "--no-deps six"),
        ("--index-url=https://example.org/simple six", "--index-url https://example.org/simple six"),
    ],
)
def test_plain_names_and_files_of_them_are_for_uv(words: str, expected: str) -> None:
    """What only changes how pip talks is left out."""
    Path("base.txt").write_text("six\n-r more.txt # both\n")
    Path("more.txt").write_text("rich>=13\n")
    Path("wheels").mkdir()
    assert ask(words) == expected.split()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    "words",
    [
        "-U six", "--pre six", "--target here six", "--user six", "./project", "project", "-e project",
        "git+https://github.com/a/b", "https://example.org/six.whl", "-r options.txt", "-r deep.txt", "-r itself.txt",
        "-r missing.txt", "-r", "-q", "",
    ],
)  # fmt: skip
def test_what_uv_may_take_otherwise_is_for_pip(words: str) -> None:
    """Other upgrades, folders and repositories; and what pip has its own words for."""
    Path("project").mkdir()
    Path("options.txt").write_text("--extra-index-url https://example.org/simple\nsix\n")
    Path("deep.txt").write_text("-r options.txt\n")
    Path("itself.txt").write_text("-r itself.txt\n")
    assert ask(words) is None


@pytest.mark.usefixtures("own")
def test_what_is_configured_for_pip_is_said_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that uv has a word for; else pip is asked. What uv has been told itself counts more for it."""
    Path("limits.txt").write_text("six<2\n")
    Path("pip.conf").write_text(
        "[global]\nindex-url = https://one.example.org/simple\nextra-index-url =\n  https://two.example.org/simple\n"
        "  https://me:a-long-password@three.example.org/simple\ncert = /etc/ca.pem\nconstraint = limits.txt\n"
        "timeout = 60\ntrusted-host = one.example.org\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", "pip.conf")
    told = (
        "--constraint limits.txt --extra-index-url https://two.example.org/simple "
        "--extra-index-url https://three.example.org/simple --index-url https://one.example.org/simple "
        "--allow-insecure-host one.example.org --index-strategy unsafe-best-match six"
    )
    assert ask("six") == told.split()
    indexes = Indexes(Settings())
    assert choose("auto", indexes, parse(["six"])).env["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert indexes.credentials["three.example.org"].token.reveal() == "a-long-password"
    assert ask("--no-index six") == [
        "--constraint",
        "limits.txt",
        "--no-index",
        "--index-strategy",
        "unsafe-best-match",
        "six",
    ]
    named = merged(configured(), parse(["-i", "https://mine/", "--extra-index-url", "https://more/", "six"]).options)
    assert (named["index-url"], named["extra-index-url"][-1]) == (["https://mine/"], "https://more/")
    assert len(named["extra-index-url"]) == 3
    monkeypatch.setenv("UV_INDEX_URL", "https://uv.example.org/simple")
    assert "--index-url" not in (ask("six") or [])
    for line in ("only-binary = :all:", "proxy = http://proxy", "user = yes", "require-virtualenv = 1", "upgrade = 1"):
        Path("pip.conf").write_text(f"[install]\n{line}\n")
        assert ask("six") is None, line
    Path("pip.conf").write_text("[install]\nno-input = 1\nupgrade = false\n[list]\nformat = json\n")
    assert ask("six") == ["six"]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("wanted", ["auto", "uv", "pip"])
@pytest.mark.parametrize(
    "name",
    ["UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "pip.conf"],
)
def test_a_constraints_file_that_is_not_there(name: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named with the variable; one of uv's own only where uv must install, since pip does without."""
    if name == "pip.conf":
        Path(name).write_text("[global]\nconstraint = gone.txt\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", name)
    else:
        monkeypatch.setenv(name, "gone.txt")
    if name.startswith("UV_") and wanted != "uv":
        assert choose(wanted, Indexes(Settings()), parse(["six"])) == Installer()
        return
    shown = "pip configuration (constraint)" if name == "pip.conf" else f"environment variable {name}"
    with pytest.raises(InstallError) as caught:
        choose(wanted, Indexes(Settings()), parse(["six"]))
    assert str(caught.value).startswith(f"the {shown} names 'gone.txt', which does not exist")


def test_uv_is_not_told_what_it_would_do_otherwise() -> None:
    """An option without an equal of uv's."""
    assert for_uv({"prefer-binary": [""]}, Indexes(Settings())) is None
    assert for_uv({"quiet": [""], "retries": ["3"]}, Indexes(Settings())) == ((), {})


HOSTILE = "[global]\ntimeout = 60\ncert = {cert}\nextra-index-url = file:///nowhere/simple\nconstraint = {limits}\n"


@pytest.mark.skipif(find_uv() is None, reason="uv is not installed")
@pytest.mark.parametrize("configuration", ["", HOSTILE], ids=["none", "hostile"])
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
    arguments: str, installer: str, by: str, configuration: str, venv: Venv, tmp_path: Path
) -> None:
    """uv where it does the same; pip where that is asked for or uv might differ, and also when uv could not."""
    wheelhouse(Path.cwd() / "wheels", ("one", "1.0"), ("one", "2.0"))
    limits, conf, tools = tmp_path / "limits.txt", tmp_path / "pip.conf", tmp_path / "tools"
    limits.write_text("one<2\n" if configuration else "")
    conf.write_text(configuration.format(cert="/etc/ssl/certs/ca-certificates.crt", limits=limits))
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
    venv.run(code, env={**environ, "PATH": f"{tools}:/usr/bin:/bin", "PIP_CONFIG_FILE": str(conf)})
    [written] = venv.site_packages.glob("one-*.dist-info/INSTALLER")
    assert written.parent.name.startswith("one-1.0" if configuration else "one-2.0")
    assert written.read_text().strip() == by
