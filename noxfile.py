"""The sessions of `.ci/run`, each of which runs alone too: ``nox -s lint``, ``nox -s oldest -- tests/git -k refs``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
ROOT = Path(__file__).parent
# What the tests in a browser have seen, for whoever wants to look at it after a run.
os.environ.setdefault("PYTEST_SCREENSHOTS", str(ROOT / "build" / "screenshots"))
SHOWING = ("tabulate", "prettytable", "pyyaml", "markupsafe", "plotly", "matplotlib", "anywidget")
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def find_python(*versions: str) -> str:
    """Return an interpreter of the first of these versions that this machine has, wherever it was put."""
    for version in versions:
        lying = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for candidate in (f"python{version}", *map(str, lying), f"/opt/python/{version}/bin/python"):
            if found := shutil.which(candidate):
                command = [found, "-c", "import sys; print(*sys.version_info[:2], sep='.'); print(sys.executable)"]
                said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
                if said[:1] == [version]:
                    return said[1]
    return versions[0]  # nox says that it is missing


NEWEST, COLABS, OLDEST = find_python("3.12", "3.13", "3.11", "3.10"), find_python("3.13"), find_python(*VERSIONS)


def install(session: nox.Session, *what: str) -> None:
    """Install by uv, which is many times as fast; by pip where uv cannot, which does not read pip's settings."""
    try:
        session.run("uv", "pip", "install", "-q", "--compile-bytecode", *what, external=True)
    except CommandFailed:
        session.run("python", "-m", "pip", "install", "-q", *what)


def as_written(session: nox.Session, beginning: str, **environ: str) -> None:
    """Run the command of the README that begins so."""
    [command] = re.findall(rf"^{re.escape(beginning)}.*", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    session.run("bash", "-c", command, external=True, env=environ)


def pytest(session: nox.Session, *where: str, **environ: str) -> None:
    """Run the tests, or those that are named behind ``--``."""
    session.run("python", "-m", "pytest", "-q", *(session.posargs or where), env=environ)


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Look at the style, of Python and of the shell."""
    install(session, "ruff>=0.11")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("bash", "-n", ".ci/run", external=True)
    if shutil.which("shellcheck"):
        session.run("shellcheck", ".ci/run", external=True)


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Check the types, strictly."""
    install(session, "-e", ".[dev]")
    session.run("mypy")


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Run the tests as the README does, with a browser to drive and libraries that display in ways of their own."""
    install(session, "-e", ".[test,browser,dask,ipyparallel]", "rich", "pandas", "pip", *SHOWING)
    if session.posargs:
        pytest(session)
    else:
        as_written(session, "pip install -e '.[test]' && pytest", PIP_ROOT_USER_ACTION="ignore")


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """Run all tests on the oldest Python, on a machine whose settings would break them if they were heeded."""
    install(session, "-e", ".[test]")
    pytest(session, **hostile(Path(session.create_tmp())))


@nox.session(python=COLABS)
def colab(session: nox.Session) -> None:
    """Install the wheel over Colab's versions, which changes none of them, and run all tests with it."""
    wheels = Path(session.create_tmp(), "wheels").resolve()
    shutil.rmtree(wheels, ignore_errors=True)
    install(session, "-r", "tests/colab-pins.txt")
    before = set(str(session.run("pip", "freeze", "--all", silent=True)).splitlines())
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(wheels), ".")
    [wheel] = map(str, wheels.glob("*.whl"))
    session.run("pip", "install", "-q", wheel)
    after = set(str(session.run("pip", "freeze", "--all", silent=True)).splitlines())
    if before - after:
        session.error(f"installing over Colab changed {sorted(before - after)}")
    session.log(f"added: {', '.join(sorted(line.partition(' @')[0] for line in after - before))}")
    install(session, "-c", "tests/colab-pins.txt", f"{wheel}[test,classic]")
    # From elsewhere, so that what is tested is the wheel and not this folder.
    session.chdir(wheels)
    where = [str(ROOT / word) if (ROOT / word).exists() else word for word in session.posargs or ["tests"]]
    session.run("python", "-m", "pytest", "-q", "-c", f"{ROOT}/pyproject.toml", "--rootdir", str(ROOT), *where)


@nox.session(python=NEWEST)
def demo(session: nox.Session) -> None:
    """Run the demo as the README runs it, in an environment of its own."""
    quiet = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_QUIET": "1"}
    as_written(session, "pip install '.[demo]' && jupyter execute demo.ipynb", **quiet)


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the pages, where a warning is an error, and run the examples in docstrings."""
    install(session, "-e", ".[test,docs]")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "docs", "build/site")
    session.run("python", "-m", "pytest", "-q", "-n0", "tests/test_docs.py")


def hostile(home: Path) -> dict[str, str]:
    """Return the environment of a machine on which each setting that pip, uv, git and HTTP clients know is wrong."""
    dead = "http://127.0.0.1:9"
    files = {
        ".config/pip/pip.conf": f"[global]\ncert = /nowhere.pem\nindex-url = {dead}/simple\nrequire-virtualenv = true\n"
        "no-index = true\nuser = true\n[install]\nconstraint = /nowhere.txt\n",
        ".config/uv/uv.toml": f'index-url = "{dead}/simple"\noffline = true\nno-build = true\n',
        ".gitconfig": f'[url "https://someone:ghp_notoken@{dead[7:]}/"]\n\tinsteadOf = http://127.0.0.1\n'
        f"[http]\n\tproxy = {dead}\n\textraHeader = Authorization: Basic bm90b2tlbg==\n[credential]\n\thelper = store\n"
        "[init]\n\tdefaultBranch = trunk\n[commit]\n\tgpgsign = true\n[core]\n\tautocrlf = true\n",
        ".git-credentials": "http://someone:ghp_notoken@127.0.0.1\n",
        ".netrc": "default login someone password ghp_notoken\n",
        ".curlrc": f"proxy = {dead}\n",
        ".wgetrc": f"use_proxy = on\nhttp_proxy = {dead}\n",
    }
    for name, text in files.items():
        path = home.resolve() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o600)
    proxies = {f"{scheme}_proxy": dead for scheme in ("http", "https", "all")}
    bundles = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")
    options = {"INDEX_URL": f"{dead}/simple", "REQUIRE_VIRTUALENV": "1", "USER": "1", "CONSTRAINT": "/nowhere.txt"}
    return {
        "HOME": str(home.resolve()),
        "XDG_CONFIG_HOME": str(home.resolve() / ".config"),
        "LANG": "C",
        "LC_ALL": "C",
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
        "no_proxy": "example.org",
        **dict.fromkeys(bundles, "/nowhere.pem"),
        **{f"PIP_{name}": value for name, value in options.items()},
        **{f"UV_{name}": value for name, value in options.items() if name in {"INDEX_URL", "CONSTRAINT"}},
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.proxy",
        "GIT_CONFIG_VALUE_0": dead,
        "GIT_CONFIG_PARAMETERS": "'credential.helper=store'",
        "GIT_TERMINAL_PROMPT": "1",
        "GITHUB_TOKEN": "ghp_notoken",
        "COLAB_MAGICS_DROPBOX_URL": "https://example.org",
        "COLAB_MAGICS_JOBS": "no number",
    }
