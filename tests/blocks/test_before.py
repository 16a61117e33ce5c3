"""What is known to be wrong before the first step runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from colab_magics.core import Settings, bootstrap
from colab_magics.errors import PlanError

LINK = "https://www.dropbox.com/scl/fo/abc/h?rlkey=k0123456789abcdef"
README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("dry_run", [True, False], ids=["planned", "run"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("symlink drive:x link", "there is no Google Drive on linux; set drive_root"),
        ("private_pip ./drive_is_no_folder -r drive:requirements.txt", "there is no Google Drive on linux"),
        ("mount_drive", "there is no Google Drive on linux; set drive_root"),
        ("symlink nowhere link", "the source 'nowhere' does not exist, and no line before this one makes it"),
        ("symlink other full", "'full' is a folder with content"),
        ("pip install -r missing.txt", "the requirements file 'missing.txt' does not exist"),
        ("pip install -cmissing.txt --constraint=missing.txt six", "the constraints file 'missing.txt' does not"),
        ("pip install -e ./missing[all]", "the folder './missing' does not exist"),
        ("private_pip -r missing.txt", "the requirements file 'missing.txt' does not exist"),
        ("private_pip ./missing", "the folder './missing' does not exist"),
        ("private_pip a/b --token-file missing.json", "the token file 'missing.json' does not exist"),
        ("run --in missing ls", "the folder of --in 'missing' does not exist"),
        ("run no-such-command-anywhere -x", "the command 'no-such-command-anywhere' was not found"),
    ],
)
def test_what_no_line_can_make_is_told_with_its_line(line: str, message: str, dry_run: bool) -> None:
    """Before the first step runs, and the same for a plan."""
    Path("full").mkdir()
    Path("full/file").touch()
    Path("other").touch()
    with pytest.raises(PlanError, match=f"^line 2: .*{re.escape(message)}"):
        bootstrap(f"symlink other first\n{line}", dry_run=dry_run, settings=Settings(env="linux"))
    assert not Path("first").is_symlink()


@pytest.mark.parametrize(
    "block",
    [
        "mount_drive\nsymlink drive:x link",
        f"dropbox_sync {LINK} proj\npip install -r proj/requirements.txt\nprivate_pip ./proj/lib",
        f"dropbox_sync {LINK} proj\nsymlink proj/a b\nrun --in b ls",
        f"dropbox_sync {LINK}\nsymlink anything here",
        "run make-all\nsymlink made here\nrun --in here made-too",
        "pip install black\nrun black .",
        "private_pip a/b --token-file drive:t.json --on kaggle",
    ],
)
def test_what_an_earlier_line_may_make_is_not_refused(block: str) -> None:
    """A folder that a sync brings, what a command may write, a command that is installed, a drive that is mounted."""
    block = block.replace("run make-all", "run true")
    steps = bootstrap(block, dry_run=True, settings=Settings(env="colab")).steps
    assert {step.status for step in steps} <= {"planned", "up-to-date", "skipped"}


def test_the_readmes_block_can_be_planned_where_there_is_no_drive() -> None:
    """As it stands there, on a machine of one's own."""
    block = README.read_text("utf-8").partition("%%bootstrap\n")[2].partition("```")[0]
    steps = bootstrap(block, dry_run=True, settings=Settings(env="linux")).steps
    assert [step.status for step in steps if step.status != "planned"] == ["skipped"] * 3
