"""Which step may start, as more becomes known."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_magics import sandbox
from colab_magics.core import Settings, bootstrap, read_plan
from colab_magics.core.blocks.schedule import Schedule
from colab_magics.errors import StepError

LINK = "https://www.dropbox.com/scl/fo/abc/h?rlkey=k0123456789abcdef"
BLOCK = f"""\
dropbox_sync {LINK} data
dropbox_sync {LINK} proj
symlink data proj/in
pip install -r proj/requirements.txt
symlink proj/lib lib
symlink proj/other other
"""


def order(block: str = BLOCK) -> Schedule:
    """Return what the steps of a block wait for, as is known before it runs."""
    steps = read_plan(block).steps
    return Schedule(steps, range(len(steps)), Settings(token_file="/elsewhere"))


def test_a_requirements_file_is_read_as_soon_as_it_is_there() -> None:
    """Before, it may name anything in its folder, and waits for whoever writes there; then only for what it names."""
    known = order()
    assert known.waits[3] == [1, 2]
    Path("proj").mkdir()
    Path("proj/requirements.txt").write_text("six\n")
    known.look_again({0, 1}, {1})
    assert known.waits[3] == [1]
    assert known.waits[2] == [0, 1]


def test_what_it_names_is_waited_for_and_held_back() -> None:
    """A project that it installs in place is written to: by nobody else before, and by later lines after."""
    known = order()
    assert known.waits[4] == [1]
    Path("proj").mkdir()
    Path("proj/requirements.txt").write_text("-e ./proj/lib\n-r in/more.txt\n")
    known.look_again({0, 1}, {1})
    assert known.waits[3] == [0, 1, 2], "in/more.txt is in data, where the link leads"
    assert known.waits[4] == [1, 3]
    assert known.waits[5] == [1]


def test_a_step_that_failed_has_left_nothing_to_read() -> None:
    """The file that stands there is of an earlier run, and may be replaced by the next."""
    known = order()
    Path("proj").mkdir()
    Path("proj/requirements.txt").write_text("six\n")
    known.look_again({0, 1}, set())
    assert known.waits[3] == [1, 2]


def test_what_has_started_keeps_its_place() -> None:
    """What a step waited for is not decided anew once it runs."""
    known = order()
    Path("proj").mkdir()
    Path("proj/requirements.txt").write_text("six\n")
    known.look_again({0, 1, 2, 3}, {0, 1, 2})
    assert known.waits[3] == [1, 2]


def test_an_installation_does_not_wait_for_a_dataset(box: sandbox.Sandbox) -> None:
    """It starts when its file is there, while the dataset that is linked into the project is still on its way."""
    (box.folder("data") / "big.bin").write_bytes(b"1")
    (box.folder("proj") / "requirements.txt").write_text("pytest\n")
    data, proj = box.folder_link("data"), box.folder_link("proj")
    box.fail(data, page="gone")
    block = f"dropbox_sync {data} data\ndropbox_sync {proj} proj\nsymlink data proj/in\n"
    with pytest.raises(StepError) as caught:
        bootstrap(f"{block}pip install -r proj/requirements.txt")
    assert [step.status for step in caught.value.result.steps] == ["failed", "done", "skipped", "up-to-date"]
