"""Keeping on the mounted Google Drive: a stand-in that uploads late and drops what was not closed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from drives import mounted
from keepers import keeper

from colab_magics.core.common.results import KeepStatus
from colab_magics.core.keeping import keep as keeping
from colab_magics.core.keeping import keeper as module


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks are as close as they can be."""
    monkeypatch.setattr(module, "_STILL", 0.001)


@pytest.fixture
def drive() -> Iterator[tuple[Path, Path]]:
    """The cloud's side of a mounted drive, and its switches; with a folder that is kept there."""
    Path("work").mkdir()
    Path("work/a.txt").write_text("a" * 300_000)
    with mounted(Path("MyDrive").absolute()) as made:
        yield made


def status(kept: module.Keeper) -> KeepStatus:
    kept.write()
    return keeping._status(kept.state, kept.config)


def test_what_drive_has_not_uploaded_is_said_until_it_has(drive: tuple[Path, Path]) -> None:
    """The copy is whole on its side, closed and read back; its attributes say when it is safe."""
    cloud, switches = drive
    kept = keeper(dest="MyDrive/exp/work")
    kept.push()
    assert (cloud / "exp/work/a.txt").read_text() == "a" * 300_000
    assert status(kept).pending == {"a.txt": "is on its way from there"}
    (switches / "uploaded").touch()
    kept.push()
    assert status(kept).pending == {}
    assert status(kept).unconfirmed == ""


def test_without_its_attributes_a_copy_is_not_confirmed(drive: tuple[Path, Path]) -> None:
    """It is verified, but Drive has not said anything."""
    (drive[1] / "silent").touch()
    kept = keeper(dest="MyDrive/work")
    kept.push()
    assert "1 copied, not confirmed by Drive" in repr(status(kept))


def test_what_does_not_come_back_as_it_was_takes_no_place(drive: tuple[Path, Path]) -> None:
    """Each copy is read again before it stands there; until then the old one does."""
    cloud, switches = drive
    kept = keeper(dest="MyDrive/work")
    kept.push()
    Path("work/a.txt").write_text("b")
    (switches / "broken").touch()
    kept.push()
    assert "does not come back as it was" in status(kept).failed["a.txt"]
    assert (cloud / "work/a.txt").read_text() == "a" * 300_000
    (switches / "broken").unlink()
    kept.push()
    assert (cloud / "work/a.txt").read_text() == "b"


def test_a_full_or_unmounted_drive_is_said_and_tried_again(drive: tuple[Path, Path]) -> None:
    """The old copy stays, nothing is written below the mount point, and what stood in the way need not be repeated."""
    cloud, switches = drive
    kept = keeper(dest="MyDrive/work")
    kept.push()
    Path("work/a.txt").write_text("b")
    (switches / "full").touch()
    kept.push()
    assert status(kept).failed == {"a.txt": "No space left on device"}
    assert (cloud / "work/a.txt").read_text() == "a" * 300_000
    (switches / "full").unlink()
    subprocess.run(["fusermount", "-u", "-z", "MyDrive"], check=True)
    kept.push()
    assert "is not mounted any more" in status(kept).failed["a.txt"]
    assert not list(Path("MyDrive").iterdir())
    assert kept.tries == 2
    with mounted(Path("MyDrive").absolute()):
        kept.push()
        assert (cloud / "work/a.txt").read_text() == "b"
    assert kept.tries == 0
