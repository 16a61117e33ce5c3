"""Fixtures that every room's tests share."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import hypothesis
import pytest
from packaging.requirements import Requirement
from trees import fill

from colab_magics import sandbox
from colab_magics.core import Settings
from colab_magics.core.http import client
from colab_magics.masking import registry

# What the tests and all that they start see of the outside: where programs are, and what runs the tests. No token, no
# proxy, no certificates, no settings of pip, uv, git and curl, and messages in English.
_KEPT = re.compile(r"PATH|LD_LIBRARY_PATH|TMPDIR|USER|LOGNAME|SHELL|TERM|TZ|(PY|COV|HYPOTHESIS|XDIST)\w*")
_HOME = tempfile.mkdtemp(prefix="home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
Path(_HOME, "uv.toml").write_text("no-index = true\n")
for _name in [name for name in os.environ if not _KEPT.fullmatch(name)]:
    del os.environ[_name]
os.environ |= {
    "HOME": _HOME,
    "LANG": "C.UTF-8",
    # In place of /etc/pip.conf, /etc/uv/uv.toml, /etc/gitconfig and /etc/wgetrc. What is installed comes from folders,
    # and from indexes on loopback that a test names.
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
    "UV_CONFIG_FILE": f"{_HOME}/uv.toml",
    "GIT_CONFIG_NOSYSTEM": "1",
    "SYSTEM_WGETRC": os.devnull,
}

# How long an example takes says more about a shared machine than about the code.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# A shell that starts the tests in the background has Ctrl-C ignored, by them and by whatever they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one group stay together: pytest-xdist 3.8 writes the group where pytest 9.2 no longer reads it."""
    for item in items:
        named = vars(item).get("_nodeid")
        if named and named != item.nodeid:
            item._id = type(item._id).parse(named)


@pytest.fixture
def no_settings() -> Iterator[None]:
    """No test leaves settings to the next: undoing what it set in a sandbox brings back those of the sandbox."""
    yield
    for name in [name for name in os.environ if name.startswith("COLAB_MAGICS_")]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def clean_room(
    no_settings: None,  # first, so that it ends after monkeypatch
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every test has an empty working folder, and a home with caches of its own."""
    home, work = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("IPYTHONDIR", str(home / ".ipython"))
    monkeypatch.chdir(work)


@pytest.fixture
def box() -> Iterator[sandbox.Sandbox]:
    """The loopback stand-in for Dropbox and a git host, with the environment pointing at it."""
    with sandbox.start() as started:
        yield started


@pytest.fixture
def settings(box: sandbox.Sandbox) -> Settings:
    """The configuration that the sandbox asks for."""
    return Settings.load()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, and the mask knows only the secrets of this test, so that it is quick."""
    monkeypatch.setattr(client, "_BACKOFF", 0.0)
    monkeypatch.setattr(registry, "_secrets", frozenset())
    monkeypatch.setattr(registry, "_temporary", ())
    monkeypatch.setattr(registry, "_matcher", None)


@pytest.fixture
def proj(box: sandbox.Sandbox) -> Path:
    """A shared folder with a file, a folder with a file, and an empty folder."""
    folder = box.folder("proj")
    fill(folder, {"a.txt": "a", "sub/b.csv": "b" * 5000, "empty/": ""})
    return folder


@pytest.fixture
def link(box: sandbox.Sandbox, proj: Path) -> str:
    """The share link of `proj`."""
    return box.folder_link(proj)


class Venv:
    """A virtual environment that sees what we need of the tests' own, and takes installations itself.

    Parameters
    ----------
    folder : Path
        Where it is made.
    *more : str
        Distributions that it sees too, with what they need.

    Attributes
    ----------
    python : Path
        Its interpreter.
    site_packages : Path
        Where installations land.
    """

    def __init__(self, folder: Path, *more: str) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site_packages = folder / "lib" / version / "site-packages"
        seen = [str(_needed(*more)), str(Path(sandbox.__file__).parents[2])]
        (self.site_packages / "outer.pth").write_text("\n".join(seen) + "\n")

    def run(self, code: str, *arguments: str, check: bool = True, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run Python code in it; its output is captured as text."""
        command = [str(self.python), "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload]
        if check and done.returncode:
            raise AssertionError(f"status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


@cache
def _needed(*more: str) -> Path:
    """Return a folder of what our code, pip, uv, a kernel and `more` need, as links: pip reads all that it can see."""
    folder = Path(tempfile.mkdtemp(prefix="needed-"))
    atexit.register(shutil.rmtree, folder)
    known: set[str] = set()
    names = ["colab-magics", "pip", "uv", "ipykernel", *more]
    while names:
        name = names.pop()
        if name in known:
            continue
        known.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # needed on another system
            continue
        for top in {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
        wanted = map(Requirement, found.requires or [])
        names += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return folder


@pytest.fixture
def venv(tmp_path: Path) -> Venv:
    """A fresh virtual environment to install into."""
    return Venv(tmp_path / "venv")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions that comes first on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder
