"""The registry of verbs: one module each, and no other list."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_magics import cli, completion
from colab_magics.core import bootstrap, read_plan, verbs
from colab_magics.core.blocks.block_arguments import block_parser

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the example of CONTRIBUTING.md into the package, as one file more."""
    text = CONTRIBUTING.read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "greet.py").write_text(text)
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path / "more")])
    verbs.names.cache_clear()
    yield
    sys.modules.pop("colab_magics.core.blocks.verbs.greet", None)
    verbs.names.cache_clear()


def test_a_file_more_is_a_verb_more(greet: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan, the schedule, the runner, the script, the command line, the help and completion all know it."""
    assert bootstrap("greet ann\nsymlink ann.txt b").steps[0].detail == "hello ann"
    assert Path("b").resolve() == Path("ann.txt").resolve()
    with pytest.raises(Exception, match="line 1: unknown step 'grete'; did you mean 'greet'"):
        read_plan("grete ann")
    assert cli.main(["say-hello", "bea"]) == 0
    assert Path("bea.txt").exists()
    assert "greet NAME" in block_parser("x").format_help()
    assert completion.completions("%greet --lo") == (7, ["--loudly"])
    cli.main(["-h"])
    assert "say-hello NAME" in capsys.readouterr().out
    from colab_magics.core import export

    assert "touch ann.txt" in export("greet ann")


def test_nothing_else_lists_the_verbs() -> None:
    """Outside their own modules no code asks which verb it has before it."""
    root = Path(verbs.__file__).parents[3]
    paths = [path for path in root.rglob("*.py") if path.parent.name != "verbs"]
    asked = re.compile(r"step\.verb *(==|!=|in\b)")
    assert [path.name for path in paths if asked.search(path.read_text("utf-8"))] == []
