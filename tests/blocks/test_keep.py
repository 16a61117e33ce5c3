"""keep and restore as lines of a block."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepers import Heard, stop_all, tree
from scripts import SHELLS, play

from colab_magics.core import Settings, bootstrap, read_plan, verbs
from colab_magics.core.blocks.export.script import export
from colab_magics.errors import PlanError, StepError


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No keeper outlives its test."""
    yield
    stop_all()


BLOCK = """
mount_drive
restore drive:exp/work proj/work
keep proj/work drive:exp/work --every 1h --last 1 'ckpt*.pt'
run --in proj sh -c 'cat work/* 2>/dev/null; echo 1 > work/ckpt-1.pt; echo l >> work/log.txt'
"""


def settings() -> Settings:
    Path("drive").mkdir(exist_ok=True)
    return Settings(drive_root=Path("drive").absolute())


def test_what_a_command_made_is_kept_at_its_end_and_comes_back() -> None:
    """The next runtime goes on from there."""
    Path("proj").mkdir()
    first = bootstrap(BLOCK, settings=settings())
    assert [step.status for step in first.steps] == ["done", "up-to-date", "done", "done"]
    assert tree("drive/exp/work") == {"ckpt-1.pt": "1\n", "log.txt": "l\n"}
    stop_all()
    Path("proj").rename("old")
    Path("proj").mkdir()
    second = bootstrap(BLOCK, settings=settings())
    assert [step.status for step in second.steps] == ["done", "done", "done", "done"]
    assert tree("drive/exp/work")["log.txt"] == "l\nl\n"


def test_also_when_the_command_fails() -> None:
    """What it made before is there."""
    with pytest.raises(StepError):
        bootstrap("keep work dest\nrun sh -c 'echo 1 > work/a; exit 3'", settings=settings())
    assert tree() == {"a": "1\n"}


def test_they_wait_for_what_makes_their_folders_and_are_done_the_second_time() -> None:
    """restore before keep, both after the drive and after what brings the project."""
    block = "run mkdir -p proj\nmount_drive\nrestore drive:w proj/w\nkeep proj/w drive:w\nsymlink proj/w here"
    plan = bootstrap(block, dry_run=True, settings=settings())
    after = [re.findall(r"after line ([\d, ]+)", step.detail) for step in plan.steps]
    assert after == [[], ["1"], ["1, 2"], ["1, 2, 3"], ["1, 3, 4"]]
    bootstrap("keep proj/w drive:w", settings=settings())
    assert bootstrap("keep proj/w drive:w", settings=settings()).steps[0].status == "up-to-date"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keep work", "keep is followed by SOURCE and DEST"),
        ("keep drive:work dest", "SOURCE must be a local folder, not 'drive:work'"),
        ("keep work dest --every soon", "--every 'soon' is no time; write as in 90s, 5m or 1h"),
        ("keep work dest --last some '*.pt'", "--last 'some' is no number of files"),
        ("keep --status --every 5m", "--status, --now and --stop take SOURCE alone"),
        ("restore dest dropbox:/x", "SOURCE must be a local folder"),
    ],
)
def test_a_wrong_line_is_told_before_anything_runs(line: str, message: str) -> None:
    """With what to write instead."""
    with pytest.raises(PlanError, match=f"^line 1: .*{re.escape(message)}"):
        read_plan(line)


def test_a_link_into_the_drive_for_results_warns_once() -> None:
    """It names keep; a dataset's folder there is none."""
    heard = Heard()
    here = settings()
    Path("drive/data").mkdir()
    Path("drive/data/x.csv").touch()
    os.utime("drive/data/x.csv", (1_000_000, 1_000_000))
    for line in ("drive:exp1/working", "drive:data"):
        args = verbs.get("symlink").parser().read([line, line[6:].replace("/", "-")])
        for _ in range(2):
            verbs.perform("symlink", args, here, heard)
    [said] = heard.lines
    assert "keep exp1-working drive:exp1/working in place of the link" in said


class TestScript:
    @pytest.mark.parametrize("shell", SHELLS)
    def test_a_script_keeps_and_brings_back(self, shell: str, tmp_path: Path) -> None:
        """By the same rules: whole, the last ones only, what another changed is kept beside."""
        make = "for n in 1 2 3; do echo $n > work/ckpt-$n.pt; touch -d @$((1000000 + n)) work/ckpt-$n.pt; done"
        block = "restore ../dest work\nkeep work ../dest --last 2 'ckpt*.pt' --exclude '*.tmp'\n"
        block += f"run sh -c '{make}; echo x > work/x.tmp'"
        dest = tmp_path / "dest"
        first = play(block, tmp_path / "one", shell=shell)
        assert first.status == 0, first.output
        assert "nothing is kept at" in first.output
        assert tree(str(dest)) == {"ckpt-2.pt": "2\n", "ckpt-3.pt": "3\n"}
        (dest / "ckpt-3.pt").write_text("theirs")
        os.utime(dest / "ckpt-3.pt", (1_000_003, 1_000_003))
        again = "restore ../dest work\nkeep work ../dest\nrun sh -c 'cat work/ckpt-2.pt; echo mine > work/ckpt-3.pt'"
        second = play(again, tmp_path / "two", shell=shell)
        assert second.status == 0, second.output
        assert "2 brought back" in second.output
        assert tree(str(dest)) == {"ckpt-2.pt": "2\n", "ckpt-3.pt": "theirs", "ckpt-3.pt.kept": "mine\n"}

    def test_what_it_cannot_do_is_said(self) -> None:
        """Dropbox needs us."""
        for line, message in [
            ("keep work dropbox:/work", "line 1: a script keeps in folders alone; for dropbox:/ run the block with"),
            ("keep --stop", "line 1: a script keeps until it ends"),
        ]:
            with pytest.raises(PlanError, match=re.escape(message)):
                export(line)
