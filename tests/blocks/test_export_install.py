"""Packages, failures and the rest of what an exported script does on a machine."""

from __future__ import annotations

import functools
import http.server
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Venv
from installing import installed, wheelhouse
from scripts import SHELLS, play, programs, watched

from colab_magics import sandbox
from colab_magics.core.blocks.export.script import export


@pytest.fixture
def repos(box: sandbox.Sandbox) -> sandbox.Sandbox:
    """Two private packages, one of which needs the other over ssh, and one with an extra."""
    base = box.private_repo("acme/secretcore", code="def add(a, b):\n    return a + b\n", tag="v1.0")
    box.private_repo("acme/extra-part", code="x = 1\n")
    box.private_repo("acme/own", code="x = 1\n")
    box.private_repo(
        "acme/secretlib",
        code="import secretcore\ndef total(n):\n    return secretcore.add(*n)\n",
        requires=[f"secretcore @ git+{base.ssh_url}@v1.0"],
        extras={"more": [f"extra-part @ git+{base.ssh_url.replace('secretcore', 'extra-part')}"]},
        tag="v1.2",
        annotated=True,
    )
    return box


@pytest.mark.parametrize("shell", SHELLS)
def test_private_packages_install(shell: str, repos: sandbox.Sandbox, venv: Venv, tmp_path: Path) -> None:
    """As from the block, at the same commits; nobody is shown the token; the second run installs nothing."""
    work = tmp_path / "w"
    work.mkdir()
    (work / "more needs.txt").write_text(f"extra-part @ git+ssh://git@{repos.git_host}/acme/extra-part\n")
    text = f"private_pip {repos.git_host}/acme/secretlib@v1.2\n"
    if shell == "dash":
        text = "pip install --no-index 'pip>=20'\n" + text.replace("@v1.2", "[more]@v1.2 own -r 'more needs.txt'")
    text += "run python -c 'import secretlib; print(\"total\", secretlib.total((1, 2)))'\n"
    environ = {"PYTHON": str(venv.python), "GIT_TRACE_CURL": str(tmp_path / "trace")}
    secrets = [repos.token] if shell == "bash" else []
    with watched(*secrets, script="w script.sh") as leaks:
        done = play(text, work, shell=shell, **environ)
    assert done.status == 0, done.output
    assert leaks == []
    assert "total 3" in done.output
    assert repos.token not in done.output
    assert not (tmp_path / "trace").exists()
    assert not [path for path in venv.site_packages.rglob("direct_url.json") if repos.token in path.read_text()]
    if shell == "bash":
        again = play(text, work, shell=shell, again=True, **environ)
        assert "private_pip: up to date" in again.output
        return
    other = Venv(tmp_path / "other")
    block = text.replace("run python", "run true")
    other.run(f"import os\nos.chdir({str(work)!r})\nfrom colab_magics.core import bootstrap\nbootstrap({block!r})\n")
    assert installed(venv) == installed(other)


def test_a_token_from_the_environment_reaches_git_alone(box: sandbox.Sandbox, venv: Venv, tmp_path: Path) -> None:
    """A build script finds it in no variable, while a command of the block has the environment that it was given."""
    spy = (
        "import os, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'seen')!r}).write_text(repr(dict(os.environ)))\n"
        "from _build_real import *\n"
    )
    files = sandbox.package("spied")
    files["_build_real.py"], files["_build.py"] = files["_build.py"], spy
    box.private_repo("acme/spied", files)
    environ = {
        "COLAB_MAGICS_SECRET_THE_TOKEN": box.token,
        "GITHUB_TOKEN": box.token,
        "COLAB_MAGICS_TOKEN_FILE": str(tmp_path / "none.json"),
        "PYTHON": str(venv.python),
        "token": "exported by chance",
    }
    (tmp_path / "none.json").write_text("{}")
    text = f"private_pip --token secret:THE_TOKEN {box.git_host}/acme/spied\nrun sh -c 'echo $token $GITHUB_TOKEN'\n"
    with watched(box.token, script="w script.sh") as leaks:
        done = play(text.splitlines()[0], tmp_path / "w", **environ)
    assert done.status == 0, done.output
    assert leaks == []
    assert box.token not in (tmp_path / "seen").read_text()
    assert "spied" in installed(venv)
    done = play(text, tmp_path / "w", **environ)
    assert f"exported by chance {box.token}" in done.output


def test_editable_clones_and_folders(box: sandbox.Sandbox, venv: Venv, tmp_path: Path) -> None:
    """A clone lies beside the notebook, follows its branch, and keeps what was changed in it."""
    repo = box.private_repo("acme/devlib", code="x = 1\n")
    work = tmp_path / "w"
    folder = work / "my pkg"
    for name, content in sandbox.package("local-pkg").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    text = f"private_pip -e {box.git_host}/acme/devlib './my pkg' --src 'the clones'\n"
    environ = {"PYTHON": str(venv.python)}
    done = play(text, work, **environ)
    assert done.status == 0, done.output
    assert {"devlib", "local-pkg"} <= installed(venv).keys()
    assert "private_pip: up to date" in play(text, work, **environ).output
    clone = work / "the clones" / "devlib"
    assert (clone / "devlib" / "__init__.py").read_text().endswith("x = 1\n")
    assert box.token not in (clone / ".git" / "config").read_text()
    repo.commit({"devlib/__init__.py": "x = 2\n"})
    (clone / "devlib" / "__init__.py").write_text("x = 'mine'\n")
    done = play(text, work, **environ)
    assert (done.status, done.last) == (1, "line 1: private_pip failed")
    assert "changes that are not committed" in done.output
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone, check=True)
    assert play(text, work, **environ).status == 0
    assert (clone / "devlib" / "__init__.py").read_text() == "x = 2\n"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("text", "last", "status"),
    [
        ("run true\n\nrun sh -c 'exit 7'\nrun touch later", "line 3: run failed", 1),
        ("run no-such-command", "line 1: run failed", 1),
        ("run --in nowhere true", "line 1: run failed", 1),
        ("!false | false", "line 1: run failed", 1),
        ("symlink nowhere here\nrun touch later", "line 1: symlink failed", 1),
        ("mount_drive", "line 1: mount_drive failed", 1),
        ("symlink drive:x here", "line 1: symlink failed", 1),
        ("run touch later\nrun echo $NOT_SET", "line 2: unknown variable $NOT_SET; set it in the environment", 2),
        (
            "run touch later\nsymlink $DASHED x",
            "line 2: $DASHED begins with -, so it would be taken for an option",
            2,
        ),
        ("run touch later\ndropbox_sync secret:X d", "line 2: needs curl or wget; install it first", 2),
        ("run touch later\nprivate_pip a/b", "line 2: needs git; install it first", 2),
    ],
)
def test_a_failure_ends_with_its_line(text: str, last: str, status: int, shell: str, tmp_path: Path) -> None:
    """What went wrong names its line last; nothing after it has run, and nothing at all when something was missing."""
    path = programs(tmp_path / "bin", "python3")
    done = play(
        text, tmp_path / "w", shell=shell, PATH=path, PYTHON=sys.executable, DASHED="-x", COLAB_MAGICS_ENV="linux"
    )
    assert (done.last, done.status) == (last, status), done.output
    assert not (tmp_path / "w" / "later").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_has_the_environment_that_the_script_was_given(shell: str, tmp_path: Path) -> None:
    """Names that the script uses itself, and values with quotes and line breaks, arrive as they were."""
    odd = "a'b\"c$d\\e\nexport me=1"
    text = 'run --in \'a b\' sh -c \'printf "%s|" "$status" "$folder" "$name" "$work"; pwd\' \nrun echo $name $line'
    (tmp_path / "w" / "a b").mkdir(parents=True)
    done = play(text, tmp_path / "w", shell=shell, status="7", folder="f o", name=odd, work="/nowhere", line="x")
    assert done.status == 0, done.output
    assert f"7|f o|{odd}|/nowhere|{tmp_path / 'w' / 'a b'}\n" in done.output
    assert f"{odd} x\n" in done.output


def test_steps_for_another_place_are_passed_over(tmp_path: Path) -> None:
    """--on is decided where the script runs, and what a step needs is only asked for where it runs."""
    text = "mount_drive --on colab\nprivate_pip --on kaggle a/b\nrun --on linux,colab touch here\n"
    path = programs(tmp_path / "bin")
    done = play(text, tmp_path / "w", PATH=path, COLAB_MAGICS_ENV="linux")
    assert done.status == 0, done.output
    assert "line 1: mount_drive: skipped, only on colab, this is linux" in done.output
    assert (tmp_path / "w" / "here").exists()
    done = play(text, tmp_path / "w", PATH=path, COLAB_RELEASE_TAG="x")
    assert (done.status, done.last) == (1, "line 1: mount_drive failed")
    assert "only a notebook can mount it" in done.output
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    mounted = f"mount_drive {tmp_path / 'drive'}\nsymlink drive:a/b link\n"
    done = play(mounted, tmp_path / "w", PATH=path, COLAB_MAGICS_ENV="colab")
    assert done.status == 0, done.output
    assert os.readlink(tmp_path / "w" / "link") == str(tmp_path / "drive" / "MyDrive" / "a" / "b")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_link_takes_its_place(shell: str, tmp_path: Path) -> None:
    """Stale links, empty folders and a link's text give way; content does not; it never lands inside a folder."""
    work = tmp_path / "w"
    (work / "data").mkdir(parents=True)
    (work / "empty").mkdir()
    (work / "stale").symlink_to("nowhere")
    (work / "text").write_text("/content/drive/MyDrive/data")
    (work / "script").write_text("./train.sh --fast")
    (work / "full").mkdir()
    (work / "full" / "file").write_text("x")
    text = "symlink data empty\nsymlink data stale\nsymlink data/ text\nsymlink data 'a b/c/link/'\n"
    text += "symlink data full --force\n"
    done = play(text, work, shell=shell)
    assert done.status == 0, done.output
    for name in ("empty", "stale", "text", "a b/c/link", "full"):
        assert os.readlink(work / name) == str(work / "data")
    assert (work / "full.backup" / "file").read_text() == "x"
    assert list((work / "data").iterdir()) == []
    again = play(text, work, shell=shell)
    assert again.output.count("symlink: up to date") == 5
    for line in (
        "symlink data script",
        "symlink data 'a b'",
        "symlink data data",
        "symlink data/x/.. ./data",
        "symlink 'a b/c' 'a b'",
    ):
        assert play(line, work, shell=shell).last == "line 1: symlink failed"


@pytest.mark.parametrize("shell", SHELLS)
def test_of_two_runs_at_once_the_second_waits(shell: str, tmp_path: Path) -> None:
    """It says so, and goes on when the first has ended; one that was killed is waited for by nobody."""
    (tmp_path / "tmp").mkdir()
    script = export("run sh -c 'echo begin >> log; until [ -e go ]; do sleep 0.05; done; echo end >> log'")
    (tmp_path / "script.sh").write_text(script)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [shell, "script.sh"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    killed = start()
    while not (tmp_path / "log").exists():
        assert killed.poll() is None
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    (tmp_path / "log").unlink()
    first = start()
    while not (tmp_path / "log").exists():
        assert first.poll() is None
    second = start()
    assert second.stdout
    assert select.select([second.stdout], [], [], 30)[0], "it runs beside the first"
    assert second.stdout.readline().startswith(f"waiting for process {first.pid}, ")
    (tmp_path / "go").touch()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "log").read_text() == "begin\nend\nbegin\nend\n"
    assert not list((tmp_path / "tmp").glob("*.lock"))


def test_constraints_and_an_index_are_pips(box: sandbox.Sandbox, venv: Venv, tmp_path: Path) -> None:
    """A dependency has the version that the file allows, from the index that is named, and not from another."""
    box.private_repo("acme/needy", code="x = 1\n", requires=["part"])
    (tmp_path / "index").mkdir()
    index = wheelhouse(tmp_path / "index" / "part", ("part", "1.0"), ("part", "2.0")).parent
    work = tmp_path / "w"
    work.mkdir()
    (work / "the limits.txt").write_text("part<2\n")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(index))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    text = f"private_pip {box.git_host}/acme/needy -c 'the limits.txt' --index-url {address}\n"
    environ = {"PYTHON": str(venv.python), "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": ""}
    try:
        done = play(text, work, **environ)
        assert done.status == 0, done.output
        assert {name: found[0] for name, found in installed(venv).items()} == {"needy": "1.0.0", "part": "1.0"}
        assert "private_pip: up to date" in play(text, work, again=True, **environ).output
    finally:
        server.shutdown()
        server.server_close()


def test_an_interrupt_leaves_nothing_behind(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A script that is interrupted in a download says so by its status, and its folders are gone."""
    (box.folder("p") / "file").write_text("x" * 100_000)
    link, gate = box.folder_link("p"), threading.Event()
    box.fail(link, delay=gate, delay_at=10)
    (tmp_path / "script.sh").write_text(export("dropbox_sync $LINK dest"))
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        ["dash", "script.sh"],
        cwd=tmp_path,
        env={**os.environ, "LINK": link, "TMPDIR": str(tmp_path / "tmp")},
        start_new_session=True,
    )
    while not any("zip_download_get" in str(request) for request in box.requests):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    gate.set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.sh", "tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []
