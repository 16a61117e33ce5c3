"""A block as a portable shell script: what it writes, and what it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from colab_magics.core.blocks.export import functions
from colab_magics.core.blocks.export.script import export
from colab_magics.core.common.selection import Selection, posix_pattern
from colab_magics.errors import PlanError, TokenError

LINK = "https://www.dropbox.com/scl/fo/abc/xyz?rlkey=k0123456789abcdef"

# A block of each kind.
BLOCKS = {
    "recipe": "mount_drive --on colab\ndropbox_sync secret:DATA dataset --once\ndropbox_sync $PROJECT proj\n"
    "symlink dataset proj/in\nsymlink drive:w proj/out --force\npip install -r proj/r.txt\n"
    "private_pip acme/secretlib[x]@v1#subdirectory=a own -r 'a b.txt' -U\nrun --in proj python t.py --n $n\n"
    "!ls *.csv | grep \"$WHAT's\"\nrun sh -c 'echo $HOME `pwd`'\n",
    "sync": f"dropbox_sync '{LINK}' x --mirror --include '*.py' --exclude '[!a]/**' --password secret:P\n"
    f"dropbox_sync {LINK} y --unpack --sha256 {'a' * 64} --force\n",
    "symlink": "symlink a 'b c'\n",
    "run": "run true\n",
    "keep": "restore drive:w 'my work' --exclude tmp/\n"
    "keep 'my work' $DEST --every 2m --last 3 'ckpt*.pt' --include '*.pt'\n",
    "env": 'env A="$HOME\'s" b=2 KEY=secret:T\nenv --on colab ROOT=/content\nrun ls $ROOT\n',
    "clone": "git_clone $HOST/acme/x@v1 'the tree' --depth 1 --token secret:T\ngit_clone own\n",
    "apt": "apt install -y git-lfs ffmpeg=7:4.4 --no-install-recommends\n",
    "indexes": "private_pip acme/x -c 'the limits.txt' --index-url https://x.example/a --extra-index-url https://y.example\n",
    "editable": "private_pip -e ./pkg acme/lib --src 'my src' --token secret:T --token-file ~/t.json --force\n",
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_script_passes_shellcheck(name: str, tmp_path: Path) -> None:
    """shellcheck has nothing to say about any of them, at its strictest level."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    (tmp_path / "script.sh").write_text(export(BLOCKS[name]))
    done = subprocess.run(["shellcheck", str(tmp_path / "script.sh")], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_a_script_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """On a disk that takes no more the old one stays; what is no file, as a terminal, is written to."""
    (tmp_path / "block.txt").write_text("run true\n")
    (tmp_path / "old.sh").write_text("#!/bin/sh\ntrue\n")
    for name in ("old.sh", "new.sh"):
        command = f"ulimit -f 0; exec {sys.executable} -m colab_magics export block.txt -o {name}"
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert f"'{name}' cannot be written" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["block.txt", "old.sh"]
    assert (tmp_path / "old.sh").read_text() == "#!/bin/sh\ntrue\n"
    command = f"{sys.executable} -m colab_magics export block.txt -o /dev/stdout | head -n 1"
    assert subprocess.check_output(["sh", "-c", command], cwd=tmp_path, text=True) == "#!/bin/sh\n"


def test_a_script_has_the_functions_that_it_needs_and_no_others() -> None:
    """A block that only makes a link carries no downloads and no packages."""
    text = export(BLOCKS["symlink"])
    assert "# line 1: symlink a 'b c'\nline=1 verb=symlink\nsymlink a 'b c'\n" in text
    assert "curl" not in text.partition("set -eu")[2]
    assert "GIT_CONFIG" not in text
    assert text.startswith("#!/bin/sh\n")


def test_a_variable_stays_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter's own value is not in the script, and nothing of a literal link is in its comments."""
    monkeypatch.setenv("WHERE", "not-this-value")
    text = export(f"dropbox_sync {LINK} \"$WHERE/x\"\nrun echo ${{WHERE}} '$WHERE'\nrun ls $WHERE | wc")
    assert "not-this-value" not in text
    assert '"$WHERE"/x' in text
    assert "run '' echo \"$WHERE\" '$WHERE'" in text
    assert "run_shell '' 'ls \"$WHERE\" | wc'" in text
    assert text.count("k0123456789abcdef") == 1
    assert "A link that grants access" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dropbox_sync $A b --include $C", "line 2: a script takes no variable in a pattern"),
        ("dropbox_sync secret:$A b", "line 2: a secret's name must stand in the block"),
        ("private_pip $A", "line 2: $A could be any repository; write its owner and name out"),
        ("private_pip $A.example/b/c", "line 2: '$A.example/b/c' names no repository"),
        ("private_pip acme/x --installer uv", "line 2: a script installs with pip"),
        ("private_pip acme/x --index-url https://me:key@x.example/simple", "line 2: a script shows an index's address"),
        ("private_pip acme/x --extra-index-url $URL", "line 2: a script shows an index's address"),
        ("mount_drive --on $A", "line 2: "),
        ("run echo $größe", "line 2: the name of a variable in a script has plain letters"),
        ("symlink a", "line 2: missing: LINK; write symlink SOURCE LINK"),
    ],
)
def test_what_a_script_cannot_do_is_refused(line: str, message: str) -> None:
    """It is named with its line when the script is made, not left out of it."""
    with pytest.raises(PlanError) as caught:
        export(f"run true\n{line}")
    assert message in str(caught.value)
    assert "\ua78f" not in str(caught.value)


def test_a_token_in_a_block_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(TokenError):
        export("run curl -H 'Authorization: ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8' https://example.org")


NAMES = [
    "a.py",
    "b/a.py",
    "b/c/d.txt",
    "data/x.csv",
    "b/data/y",
    "a b/z",
    "x[1].txt",
    "é.txt",
    "^x",
    "a.pyc",
    "n/ü/a.py",
]


@pytest.mark.parametrize(
    "glob",
    [
        "*.py",
        "data",
        "data/",
        "/data",
        "b/*",
        "b/**",
        "**/a.py",
        "?.py",
        "?.txt",
        "[ab].py",
        "[!a]*",
        "x[[]1].txt",
        "./b",
        "[^]x",
    ],
)
def test_patterns_choose_the_same_members(glob: str, tmp_path: Path) -> None:
    """What `grep -E` takes is what a sync takes."""
    (tmp_path / "names").write_text("".join(f"./{name}\n" for name in NAMES))
    command = ["grep", "-E", "-e", posix_pattern(glob), str(tmp_path / "names")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False)
    assert done.stderr == ""
    assert [name[2:] for name in done.stdout.splitlines()] == [name for name in NAMES if Selection((glob,)).takes(name)]


def test_every_part_is_read() -> None:
    """A function in a new file of parts would be missing from the script without a word."""
    folder = resources.files("colab_magics.core.blocks.export") / "parts"
    assert sorted(functions._FILES) == sorted(part.name[:-3] for part in folder.iterdir() if part.name.endswith(".sh"))
