"""The command line, as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import colab_magics
from colab_magics import sandbox
from colab_magics.cli import main

LINK = "https://www.dropbox.com/scl/fo/abc/h?rlkey=k0123456789abcdef"


def cli(*arguments: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "colab_magics", *arguments], capture_output=True, text=True, check=False, **kwargs
    )


def key_of(link: str) -> str:
    return link.partition("rlkey=")[2].partition("&")[0]


def test_help_and_version() -> None:
    """The command says what it can do; without a command it says so too, but as a mistake."""
    assert "sync LINK [DEST]" in cli("--help").stdout
    assert cli("--version").stdout == f"colab-magics {colab_magics.__version__}\n"
    bare = cli()
    assert bare.returncode == 2
    assert "usage:" in bare.stdout


@pytest.mark.parametrize("command", ["sync", "pip", "mount-drive", "symlink", "run", "export", "sandbox"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """-h shows a command's options under the name it was called by."""
    assert main([command, "-h"]) == 0
    assert f"colab-magics {command}" in capsys.readouterr().out


def test_the_command_needs_no_ipython() -> None:
    """A plain server pays for no notebook: neither IPython nor the kernel is imported."""
    code = "import sys; from colab_magics.cli import main; main(['sync', '-h']); assert 'IPython' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_sync_writes_the_folder_and_one_line(box: sandbox.Sandbox) -> None:
    """Output that goes to a file has no progress line, only what stays, and no key."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")
    done = cli("sync", link, "proj")
    assert done.returncode == 0
    assert re.fullmatch(r"proj: 1 added \(.* in .* s\)\n", done.stdout)
    assert done.stderr == ""
    assert Path("proj/a.txt").read_text() == "a"
    assert cli("sync", "-q", link, "proj").stdout == ""
    assert key_of(link) not in done.stdout


TOKEN = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["snyc"], 2, "did you mean 'sync'"),
        (["sync"], 2, "missing: LINK"),
        (["sync", "x", "--bogus"], 2, "unknown option '--bogus'"),
        (["sync", "no-link"], 2, "is not a link"),
        (["sync", "secret:"], 2, "given by its name"),
        (["sync", "secret:A", ""], 2, "an argument is empty"),
        (["sync", "secret:A", "--names", "klingon"], 2, "is no encoding"),
        (["symlink", "", "link"], 2, "an argument is empty"),
        (["pip", "a/b", "--token-file", TOKEN], 2, "a token was typed"),
        (["run", "missing.txt"], 2, "cannot be read: No such file"),
        (["run", "good.txt", "--jobs", "0"], 2, "argument --jobs: '0' is no number from 1 on"),
        (["run", "wrong.txt"], 2, "line 1: unknown step 'nope'"),
        (["run", "failing.txt"], 1, "line 1: run: "),
        (["symlink", "nowhere", "link"], 1, "does not exist"),
    ],
)
def test_exit_status(arguments: list[str], status: int, words: str) -> None:
    """1 means that a step failed, 2 that the call or the plan is wrong; each is said in a line, without a stack."""
    Path("wrong.txt").write_text("nope\n")
    Path("failing.txt").write_text("run false\n")
    Path("token.txt").write_text(f"run echo {TOKEN}\n")
    Path("drive.txt").write_text("symlink drive:x y\n")
    done = cli(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr


def test_run_takes_a_block_from_standard_input(box: sandbox.Sandbox) -> None:
    """A block runs as in the notebook; its variables come from the environment."""
    (box.folder("data") / "a.txt").write_text("content of a")
    env = {**os.environ, "DATA_LINK": box.folder_link("data")}
    done = cli("run", "-", input="dropbox_sync $DATA_LINK data\nrun cat data/a.txt\n", env=env)
    assert done.returncode == 0, done.stderr
    assert "content of a" in done.stdout
    assert "2 done" in done.stdout
    assert key_of(env["DATA_LINK"]) not in done.stdout


def test_an_exported_block_runs_without_us(box: sandbox.Sandbox) -> None:
    """The script does what the block says, and only its owner may read it, since a link may stand in it."""
    (box.folder("data") / "a.txt").write_text("a")
    Path("block.txt").write_text(
        f"dropbox_sync {box.folder_link('data')} data\nsymlink data proj/in\nrun cat proj/in/a.txt\n"
    )
    assert cli("export", "block.txt", "-o", "out/setup.sh").returncode == 0
    assert stat.S_IMODE(Path("out/setup.sh").stat().st_mode) == 0o700
    assert cli("export", "block.txt").stdout == Path("out/setup.sh").read_text()
    done = subprocess.run(["sh", "out/setup.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "line 3: run: done" in done.stdout
    assert Path("proj/in/a.txt").read_text() == "a"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_command_and_its_children(number: signal.Signals) -> None:
    """Ctrl-C and ``kill`` end what the block had started; the status says which it was."""
    Path("block.txt").write_text("run sh -c 'echo pid $$; exec sleep 600'\n")
    with subprocess.Popen(
        [sys.executable, "-m", "colab_magics", "run", "block.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        child = next(int(line.split()[1]) for line in command.stdout if line.startswith("pid "))
        command.send_signal(number)
        _, err = command.communicate(timeout=30)
    assert command.returncode == 128 + number
    assert "run it again" in err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_the_sandbox_command_serves_what_it_prints() -> None:
    """Another shell that exports the printed lines can sync from it; no token or key is printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "colab_magics", "sandbox"], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        try:
            lines = []
            for line in server.stdout:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            exports = dict(re.findall(r"^export (\w+)='?(.*?)'?$", "".join(lines), re.MULTILINE))
            assert "COLAB_MAGICS_DROPBOX_URL" in exports
            assert "rlkey" not in "".join(lines)
            done = cli("sync", "secret:DATASET_LINK", "data", env={**os.environ, **exports})
            assert done.returncode == 0, done.stderr
            assert any(Path("data").iterdir())
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        assert server.stdout.read().endswith("# stopped; what was in the sandbox is gone\n")


@pytest.mark.parametrize(
    ("name", "value"), [("JOBS", "x"), ("MAX_RATIO", "much"), ("QUIET", "maybe"), ("INSTALLER", "npm"), ("ENV", "moon")]
)
def test_a_wrong_setting_is_a_wrong_call(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2, and it is named."""
    monkeypatch.setenv(f"COLAB_MAGICS_{name}", value)
    done = cli("symlink", ".", "link")
    assert done.returncode == 2
    assert value in done.stderr
    assert "Traceback" not in done.stderr


def test_json_is_all_that_is_on_standard_output(box: sandbox.Sandbox) -> None:
    """The result's attributes; notes go to standard error, also of a block in which a step fails."""
    (box.folder("data") / "a.txt").write_text("a")
    done = cli("dropbox_sync", "--json", box.folder_link("data"), "data")
    assert json.loads(done.stdout) | {"seconds": 0} == {
        "path": "data", "added": ["a.txt"], "updated": [], "unchanged": [], "removed": [], "backed_up": [],
        "bytes_received": json.loads(done.stdout)["bytes_received"], "seconds": 0, "status": "synced",
    }  # fmt: skip
    Path("block.txt").write_text("run echo noise\nrun false\n")
    done = cli("run", "block.txt", "--json")
    assert done.returncode == 1
    assert [step["status"] for step in json.loads(done.stdout)["steps"]] == ["done", "failed"]
    assert done.stderr.splitlines().count("noise") == 1


def test_a_block_behind_an_address_and_every_name(box: sandbox.Sandbox) -> None:
    """run takes what %bootstrap takes; the magics' names are commands too."""
    done = cli("run", box.file_link("block", "run echo here\n"))
    assert "here" in done.stdout
    assert "holds this block" in done.stdout
    done = cli("-h")
    assert "check-leaks" in done.stdout
    for name in ("private_pip", "mount_drive", "git_clone"):
        assert cli(name, "-h").stdout.startswith(f"usage: colab-magics {name}")


def test_a_command_that_fails_prints_its_output_once() -> None:
    """The error does not repeat it, unless nothing was shown."""
    Path("block.txt").write_text("run sh -c 'echo trouble; exit 3'\n")
    done = cli("run", "block.txt")
    assert (done.stdout + done.stderr).count("trouble\n") == 1
    assert "failed with status 3" in done.stderr
    assert "    trouble" in cli("run", "-q", "block.txt").stderr
