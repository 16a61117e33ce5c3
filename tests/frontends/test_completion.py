"""What the Tab key offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from kernels import running
from shells import real_shell

from colab_magics.completion import completions

SYNC = ["--dry-run", "--exclude", "--force", "--help", "--include", "--mirror", "--names", "--once", "--password"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%dropbox_sync LINK --on", ["--once"]),
        ("x = %dropbox_sync LINK --mi", ["--mirror"]),
        ("x.y, z = %private_pip --tok", ["--token", "--token-file"]),
        ("%private_pip --installer ", ["auto", "uv", "pip"]),
        ("%private_pip --installer u", ["uv"]),
        ("%dropbox_sync secret:D", ["secret:DATA", "secret:DROP"]),
        ("%dropbox_sync x y --password secret:DR", ["secret:DROP"]),
        ("%%bootstrap --jo", ["--jobs"]),
        ("%bootstrap --sha", ["--sha256"]),
        ("%symlink pro", ["proj/"]),
        ("%symlink $PRO", ["PROJECT"]),
        ("%%bootstrap\nsymlink a b --o", ["--on"]),
        ("%%bootstrap\nsymlink a b --on co", ["colab"]),
        ("%%bootstrap\nsymlink a b --on colab,kag", ["colab,kaggle"]),
        ("%%bootstrap\npip install --no-d", ["--no-deps"]),
        ("%%bootstrap\napt in", ["install"]),
        ("%%bootstrap\ndropbox_sync secret:DA", ["secret:DATA"]),
        ("%%bootstrap\nnonsense pro", ["proj/"]),
        ("print --x", None),
        ("x = 5 %run", None),
        ("%timeit --x", None),
        ("%dropbox_sync", None),
    ],
)
def test_what_is_offered(line: str, expected: list[str] | None) -> None:
    """Options, an option's values, environments, secrets' names, variables and paths; the rest is left to IPython."""
    Path("proj").mkdir()
    found = completions(line, ["PROJECT"], None, lambda: ["DATA", "DROP"])
    assert (found and found[1]) == expected


def test_on_an_empty_word_options_come_first() -> None:
    """And paths behind them; no name of the notebook stands before."""
    Path("proj").mkdir()
    for line in ("%dropbox_sync LINK ", "x = %dropbox_sync "):
        found = completions(line)
        assert found is not None
        assert found[1][: len(SYNC)] == SYNC
        assert found[1][-1] == "proj/"


def test_ipython_offers_them_in_a_magic_and_in_a_block() -> None:
    """The completer of a real shell has them, and no more once the extension is unloaded."""
    line, block = "%dropbox_sync LINK --mir", "%%bootstrap\ndropbox_sync LINK --mir"

    def offered(text: str) -> list[str]:
        with provisionalcompleter():
            return [found.text for found in shell.Completer.completions(text, len(text))]

    with real_shell() as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        assert "--mirror" in offered(line)
        assert "--mirror" in offered(block)
        shell.run_line_magic("unload_ext", "colab_magics")
        assert "--mirror" not in offered(line)


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("dro", "dro", ["dropbox_sync"]),
        ("  %dro", "%dro", ["%dropbox_sync"]),
        ("p", "p", ["pip", "private_pip"]),
        ("pip ", "", ["install"]),
        ("symlink da", "da", ["data/"]),
        ("symlink data/", "data/", ["data/in\\ put.csv", "data/sub/"]),
        ("symlink data/in\\ p", "data/in\\ p", ["data/in\\ put.csv"]),
        ("symlink drive:", "drive:", ["drive:exp/"]),
        ("symlink drive:exp/", "drive:exp/", ["drive:exp/a"]),
        ("symlink data \\\n   da", "da", ["data/"]),
        ("symlink .h", ".h", [".hidden"]),
        ("pip install -r $PRO", "PRO", ["PROJECT"]),
        ("pip install -r ${PRO", "PRO", ["PROJECT"]),
        ("dropbox_sync x --mir", "--mir", ["--mirror"]),
        ("run --on ka", "ka", ["kaggle"]),
        ("# dro", "", []),
        ("symlink nowhere/", "nowhere/", []),
    ],
)
def test_a_line_of_a_block(line: str, word: str, expected: list[str]) -> None:
    """Verbs first, then options, environments, variables and paths; and where the text that they replace begins."""
    for folder in ("data/sub", "root/exp"):
        Path(folder).mkdir(parents=True)
    for name in ("data/in put.csv", "root/exp/a", ".hidden"):
        Path(name).touch()
    text = f"%%bootstrap --jobs 2\nrun true\n{line}"
    assert completions(text, ["PROJECT", "OTHER"], Path("root")) == (len(text) - len(word), expected)


def test_outside_a_block_nothing_is_ours() -> None:
    """Neither in another cell nor in that of another magic."""
    assert completions("import os\ndro") is None
    assert completions("%%bootstrapped\ndro") is None


def test_a_kernel_offers_verbs_and_paths_in_a_block(tmp_path: Path) -> None:
    """What JupyterLab asks for with Tab; elsewhere, and once the extension is unloaded, Python's names are back."""
    with running(tmp_path / "kernel") as kernel:
        (kernel.folder / "data").mkdir()

        def offered(text: str) -> list[str]:
            [reply] = kernel.ask("complete", text, len(text)).of("complete_reply")
            assert text[: reply["cursor_start"]] + text[reply["cursor_start"] :] == text
            return [text[: reply["cursor_start"]] + match for match in reply["matches"]]

        kernel.run("%load_ext colab_magics\nsymptoms = 'x'")
        assert offered("%%bootstrap\nsym") == ["%%bootstrap\nsymlink"]
        assert offered("%%bootstrap\nsymlink da") == ["%%bootstrap\nsymlink data/"]
        assert offered("%%bootstrap\nsymlink $sym") == ["%%bootstrap\nsymlink $symptoms"]
        assert offered("%%bootstrap\nsymlink a b --f") == ["%%bootstrap\nsymlink a b --force"]
        assert "symptoms" in offered("sym")
        kernel.run("%unload_ext colab_magics")
        assert "%%bootstrap\nsymlink" not in offered("%%bootstrap\nsym")
