"""%keep in a notebook's shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from keepers import stop_all, tree
from shells import real_shell


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No keeper outlives its test."""
    yield
    stop_all()


def test_trouble_is_told_once_before_the_next_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """And the status says it as often as it is asked."""
    Path("work").mkdir()
    Path("work/a.txt").write_text("a")
    with real_shell() as shell:
        for line in ("%load_ext colab_magics", "x = %keep work dest --every 1h", "y = %keep work --now"):
            shell.run_cell(line).raise_error()
        assert shell.user_ns["x"].status == "keeping"
        assert shell.user_ns["y"].kept == ["a.txt"]
        Path("dest/a.txt").write_text("theirs")
        Path("work/a.txt").write_text("aa")
        shell.run_cell("y = %keep work --now").raise_error()
        assert tree()["a.txt"] == "theirs"
        capsys.readouterr()
        shell.run_cell("pass").raise_error()
        assert capsys.readouterr().out.startswith(
            "a.txt was changed at dest by another, and is kept beside that as a ("
        )
        shell.run_cell("pass").raise_error()
        assert capsys.readouterr().out == ""
        shell.run_cell("%keep --status").raise_error()
        assert "1 beside another's" in capsys.readouterr().out
