"""One block as a magic, from the command line and as an exported script: the outcome is the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Venv
from installing import installed, wheelhouse
from scripts import play, programs, tree, watched
from trees import fill, key_of

from colab_magics import sandbox

BLOCK = """\
dropbox_sync secret:DATASET 'data set' --once
dropbox_sync secret:PROJECT 'my proj'
symlink 'data set' 'my proj/data/in put'
symlink 'drive:exp 1/working' 'my proj/working'
pip install --no-index --find-links 'WHEELS' -r 'my proj/needs.txt'
private_pip HOST/acme/secretlib@v1.2
run --in 'my proj' python -B main.py > working/out.txt
"""
MAIN = """\
import pathlib, first_wheel, secretlib
print(secretlib.value, sorted(path.name for path in pathlib.Path("data/in put").glob("[!.]*")))
"""
MAGIC = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "colab_magics")
shell.run_cell("%%bootstrap\\n" + open(sys.argv[1]).read()).raise_error()
"""
COMMAND = "import sys; from colab_magics.cli import main; sys.exit(main(['run', sys.argv[1]]))"


@dataclass
class Way:
    """A way of running the block, with a folder, a drive and an environment of its own."""

    base: Path
    venv: Venv
    start: Callable[[Way, dict[str, str]], str]

    def run(self) -> str:
        """Run it and return what it printed."""
        (self.base / "drive").mkdir(parents=True, exist_ok=True)
        (self.base / "w").mkdir(exist_ok=True)
        return self.start(self, {"COLAB_MAGICS_DRIVE_ROOT": str(self.base / "drive")})

    def outcome(self) -> tuple[dict[str, tuple[object, ...]], dict[str, list[str | None]]]:
        """Return what there is now; when a file was written counts only for what was fetched."""
        found = {name: what for name, what in tree(self.base).items() if name.startswith(("w/", "drive/"))}
        found["drive/exp 1/working/out.txt"] = found["drive/exp 1/working/out.txt"][:2]
        return found, installed(self.venv)


def python(code: str, **ways: str) -> Callable[[Way, dict[str, str]], str]:
    """Return what runs the block's file with our code in the way's own environment."""

    def start(way: Way, environ: dict[str, str]) -> str:
        command = [str(way.venv.python), "-c", code, str(way.base.parent / "block.txt")]
        done = subprocess.run(
            command,
            cwd=way.base / "w",
            env={**os.environ, **environ, **ways},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return start


def script(shell: str, *names: str) -> Callable[[Way, dict[str, str]], str]:
    """Return what exports the block and runs the script with few programs."""

    def start(way: Way, environ: dict[str, str]) -> str:
        again = (way.base / "bin").exists()
        path = str(way.base / "bin") if again else programs(way.base / "bin", "git", *names)
        text = (way.base.parent / "block.txt").read_text()
        python = str(way.venv.python)
        done = play(text, way.base / "w", shell=shell, again=again, PATH=path, PYTHON=python, **environ)
        assert done.status == 0, done.output
        return done.output

    return start


@pytest.fixture
def block(box: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The block, what it needs, and the token file that has its links; nothing of it in the environment."""
    fill(box.folder("data"), {"a.csv": "1,2\n", "b b.csv": "3\n", "empty/": ""})
    fill(box.folder("proj"), {"main.py": MAIN, "lib/x.py": "x = 1\n", "none/": ""})
    fill(box.folder("proj"), {"needs.txt": "first-wheel\n-r more.txt\n", "more.txt": "second-wheel==2.0\n"})
    box.private_repo("acme/secretlib", code="value = 'secret value'\n", tag="v1.2")
    wheels = wheelhouse(tmp_path / "the wheels", ("first-wheel", "1.0"), ("second-wheel", "2.0"))
    links = {"DATASET": box.folder_link("data"), "PROJECT": box.folder_link("proj")}
    tokens = {box.git_host: {"access_token": box.token}, "secrets": links}
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    monkeypatch.setenv("COLAB_MAGICS_TOKEN_FILE", str(tmp_path / "tokens.json"))
    text = BLOCK.replace("WHEELS", str(wheels)).replace("HOST", box.git_host)
    (tmp_path / "block.txt").write_text(text)
    return text


def test_every_way_ends_in_the_same(box: sandbox.Sandbox, block: str, tmp_path: Path) -> None:
    """The same files, links and packages, twice; and at no moment a link's key or a token in sight of ``ps``."""
    starts = {
        "magic": python(MAGIC),
        "command": python(COMMAND, COLAB_MAGICS_INSTALLER="pip"),
        "dash": script("dash", "curl", "unzip"),
        "bash": script("bash", "wget", "python3"),
    }
    ways = {name: Way(tmp_path / name, Venv(tmp_path / f"{name} venv"), start) for name, start in starts.items()}
    links = json.loads((tmp_path / "tokens.json").read_text())["secrets"]
    secrets = [box.token, *map(key_of, links.values())]
    with watched(*secrets, script="\0nothing\0") as leaks, ThreadPoolExecutor(2) as pool:
        told = "".join(pool.map(Way.run, ways.values()))
    assert leaks == []
    assert not [secret for secret in secrets if secret in told]
    expected = ways["command"].outcome()
    assert expected[0]["w/my proj/data/in put"] == ("link", "w/data set")
    assert expected[0]["drive/exp 1/working/out.txt"][1] == b"secret value ['a.csv', 'b b.csv', 'empty']\n"
    assert {name: found[0] for name, found in expected[1].items()} == {
        "first-wheel": "1.0",
        "second-wheel": "2.0",
        "secretlib": "1.0.0",
    }
    for name, way in ways.items():
        assert (name, way.outcome()) == (name, expected)
    assert "6 up to date" in ways["command"].run()
    ways["dash"].run()
    assert ways["dash"].outcome() == ways["command"].outcome() == expected
