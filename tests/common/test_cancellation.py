"""Work in other threads ends when the run is interrupted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from colab_magics import sandbox
from colab_magics.core import bootstrap
from colab_magics.core.blocks.plan import Step
from colab_magics.core.blocks.runner import Report
from colab_magics.core.common.progress import Progress, Silent
from colab_magics.core.syncing import mutex


@pytest.mark.parametrize("silent_from", [0, 10])
def test_an_interrupt_ends_a_transfer_whose_server_is_silent(silent_from: int, box: sandbox.Sandbox) -> None:
    """No thread waits on for the next bytes, or for the first, and holds the folder's lock meanwhile."""
    (box.folder("data") / "a.txt").write_text("a" * 100_000)
    link, gate = box.folder_link("data"), threading.Event()
    box.fail(link, delay=gate, delay_at=silent_from)

    class Interrupt(Report):
        def tick(self) -> None:
            # The content has been asked for, and does not come.
            if any("zip_download_get" in str(request) for request in box.requests):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]
    assert not Path("data").exists()
    gate.set()
    box.heal(link)
    assert [step.status for step in bootstrap(f"dropbox_sync {link} data").steps] == ["done"]


def test_an_interrupt_ends_the_wait_for_a_retry(box: sandbox.Sandbox) -> None:
    """However long the server asks to be left alone."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")
    box.fail(link, status=429, retry_after=60)

    class Interrupt(Report, Silent):
        def progress(self, _step: Step) -> Progress:
            return self

        def say(self, text: str) -> None:
            self.said = text

        def tick(self) -> None:
            if hasattr(self, "said"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]


def test_an_interrupt_ends_the_wait_for_another_run(box: sandbox.Sandbox) -> None:
    """However long that one holds the folder."""
    (box.folder("data") / "a.txt").write_text("a")
    link = box.folder_link("data")

    class Interrupt(Report, Silent):
        said = ""

        def progress(self, _step: Step) -> Progress:
            return self

        def say(self, text: str) -> None:
            self.said += text

        def tick(self) -> None:
            if "waiting for another sync" in self.said:
                raise KeyboardInterrupt

    with mutex.locked(Path("data")), pytest.raises(KeyboardInterrupt):
        bootstrap(f"dropbox_sync {link} data", report=Interrupt())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "line 1"]
    assert not Path("data").exists()
    assert [step.status for step in bootstrap(f"dropbox_sync {link} data").steps] == ["done"]
