"""The way back: what is missing or differs comes, and nothing newer is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from keepers import Heard, keeper, tree

from colab_magics import core
from colab_magics.core.keeping import folder
from colab_magics.core.keeping import keeper as module
from colab_magics.errors import TransferError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks are as close as they can be."""
    monkeypatch.setattr(module, "_STILL", 0.001)


@pytest.fixture
def dest() -> Path:
    made = Path("dest")
    (made / "sub").mkdir(parents=True)
    (made / ".colab_magics").mkdir()
    for name in ("a.txt", "sub/b.txt", ".colab_magics/ours"):
        (made / name).write_text(name)
        os.utime(made / name, (1_000_000, 1_000_000))
    return made


def test_a_first_run_finds_nothing_and_says_so() -> None:
    """There is no DEST, and none is made."""
    heard = Heard()
    result = core.restore("dest", "work", progress=heard)
    assert result.status == "up-to-date"
    assert heard.lines == ["nothing is kept at dest yet, so there is nothing to bring back"]
    assert not Path("dest").exists()


def test_what_is_missing_comes_with_its_time_and_is_known_to_the_keeper(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is not copied back; a second time nothing is left to do."""
    result = core.restore("dest", "work")
    assert result.added == ["a.txt", "sub/b.txt"]
    assert tree("work") == {"a.txt": "a.txt", "sub/b.txt": "sub/b.txt"}
    assert Path("work/a.txt").stat().st_mtime == 1_000_000
    assert not Path("work/.colab_magics").exists()
    assert core.restore("dest", "work").status == "up-to-date"
    monkeypatch.setattr(folder.FolderDestination, "put", lambda *_: pytest.fail("copied back"))
    keeper().push()


def test_what_was_made_since_stays_and_what_differs_is_backed_up(dest: Path) -> None:
    """A file that went on after it was kept is the newer one; one that the keeper never saw is put aside."""
    core.restore("dest", "work")
    Path("work/a.txt").write_text("newer")
    Path("work/sub/b.txt").unlink()
    heard = Heard()
    assert core.restore("dest", "work", progress=heard).added == ["sub/b.txt"]
    assert heard.lines == ["work/a.txt is newer than what is kept of it, and stays"]
    Path("elsewhere").mkdir()
    Path("elsewhere/a.txt").write_text("another")
    result = core.restore("dest", "elsewhere", exclude=["sub/"])
    assert (result.updated, result.backed_up, result.added) == (["a.txt"], ["a.txt"], [])
    assert tree("elsewhere") == {"a.txt": "a.txt"}
    assert Path("elsewhere/.colab_magics/backup/a.txt").read_text() == "another"


def test_a_dry_run_and_a_failure_change_nothing(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read whole does not appear."""
    assert core.restore("dest", "work", dry_run=True).added == ["a.txt", "sub/b.txt"]
    assert not Path("work").exists()
    monkeypatch.setattr(folder, "_copied", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(TransferError, match="dest cannot be read: Input/output error"):
        core.restore("dest", "work")
    assert tree("work") == {}
