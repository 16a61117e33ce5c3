"""What the Tab key offers."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter
from shells import real_shell

from colab_magics.completion import candidates


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%dropbox_sync LINK --on", ["--once"]),
        ("%private_pip --tok", ["--token", "--token-file"]),
        ("symlink a b --o", ["--on"]),
        ("run --in", ["--in"]),
        ("symlink a b --on co", ["colab"]),
        ("!symlink a b --f", ["--force"]),
        ("%dropbox_sync LINK pro", []),
        ("%dropbox_sync ", []),
        ("print --x", []),
    ],
)
def test_candidates(line: str, expected: list[str]) -> None:
    """Options of the verb, and environments after --on; paths and names are left to IPython."""
    word = "" if line.endswith(" ") else line.split()[-1]
    assert candidates(line, word) == expected


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
