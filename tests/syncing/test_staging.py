"""All or nothing, with real processes: killed, out of disk, without rights, and two at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from children import crash_everywhere, start_sync, sync_in_child

from colab_magics import sandbox
from colab_magics.core.syncing.manifest import sibling_path
from colab_magics.core.syncing.sync import sync
from colab_magics.sandbox import Sandbox

OLD = {"a.txt": "a", "sub/b.csv": "b" * 3000, "gone.txt": "gone", "turn": "file", "fold/in": "in", "same": "same"}
NEW = {"a.txt": "A!", "sub/b.csv": "c" * 3000, "new/n.txt": "n", "turn/x": "x", "fold": "file", "same": "same"}


def share(box: Sandbox, files: dict[str, str]) -> str:
    """Share a folder with exactly these files, by one link for all calls of a test."""
    folder = box.folder("proj")
    shutil.rmtree(folder)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return box.folder_link(folder)


def visible(files: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in files.items() if not name.startswith(".colab_magics/")}


def is_clean(outcome: dict[str, Any]) -> bool:
    """Tell whether nothing is left of a run but DEST, its manifest and its backups."""
    ours = {name for name in outcome["then"] if name.startswith(".colab_magics/")}
    kept = {name for name in ours if name.startswith(".colab_magics/backup/")}
    return outcome["beside"] == ["data"] and ours - kept == {".colab_magics/manifest.json"}


class TestKilledAnywhere:
    @pytest.mark.parametrize("options", [{}, {"once": True}])
    def test_a_new_dest_is_there_whole_or_not_at_all(
        self, box: Sandbox, tmp_path: Path, options: dict[str, bool]
    ) -> None:
        """SIGKILL before every single change of the disk; the next run brings what is missing, and cleans up."""
        call = {"link": share(box, NEW), "dest": str(tmp_path / "room" / "data"), **options}
        (tmp_path / "room").mkdir()
        outcomes = crash_everywhere(call, None)
        assert len(outcomes) > 10
        for outcome in outcomes:
            assert visible(outcome["files"]) == (NEW if outcome["exists"] else {})
            assert visible(outcome["then"]) == NEW
            assert is_clean(outcome)
        assert {outcome["exists"] for outcome in outcomes} == {True, False}

    @pytest.mark.parametrize("options", [{"mirror": True}, {}])
    def test_an_old_dest_holds_only_whole_files(self, box: Sandbox, tmp_path: Path, options: dict[str, bool]) -> None:
        """Old or new, never a part; the user's version is there at every moment; the next run completes."""
        template = tmp_path / "template"
        link = share(box, OLD)
        sync(link, template)
        folder = box.folder("proj")
        shutil.rmtree(folder)
        for name, text in NEW.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (template / "sub" / "b.csv").write_text("my work")
        (template / "mine.txt").write_text("mine")
        (tmp_path / "room").mkdir()
        call = {"link": link, "dest": str(tmp_path / "room" / "data"), **options}
        outcomes = crash_everywhere(call, template)
        assert len(outcomes) > 30
        expected = NEW | {"mine.txt": "mine"} | ({} if "mirror" in options else {"gone.txt": "gone"})
        known = {*OLD.items(), *NEW.items(), ("mine.txt", "mine"), ("sub/b.csv", "my work")}
        for outcome in outcomes:
            assert {*visible(outcome["files"]).items()} <= known
            assert "my work" in outcome["files"].values()
            assert "my work" in outcome["then"].values()
            assert visible(outcome["then"]) == expected
            assert is_clean(outcome)

    def test_a_file_is_whole_or_not_there(self, box: Sandbox, tmp_path: Path) -> None:
        """Also the one file of a file link, in a folder that is the user's."""
        link = box.file_link("d.txt", "d" * 3000)
        template = tmp_path / "template"
        template.mkdir()
        (template / "mine.txt").write_text("mine")
        (tmp_path / "room").mkdir()
        call = {"link": link, "dest": str(tmp_path / "room" / "data" / "d.txt")}
        # The room's only folder is the one that the file goes into.
        outcomes = crash_everywhere({**call, "dest": str(tmp_path / "room" / "data")}, template)
        for outcome in outcomes:
            assert visible(outcome["files"]).get("d.txt", "d" * 3000) == "d" * 3000
            assert visible(outcome["then"]) == {"mine.txt": "mine", "d.txt": "d" * 3000}


class TestFullDisk:
    @pytest.mark.parametrize("exists", [False, True])
    @pytest.mark.parametrize("limit", [10_000, 600_000])
    def test_a_file_that_does_not_fit(self, box: Sandbox, tmp_path: Path, exists: bool, limit: int) -> None:
        """A write that the system refuses, in the transfer or while unpacking, leaves DEST as it was."""
        room = tmp_path / "room"
        dest = room / "data"
        link = share(box, {"a.txt": "a"})
        if exists:
            sync(link, dest)
        before = sorted(tmp_path.rglob("*"))
        (box.folder("proj") / "zeros.bin").write_bytes(bytes(5_000_000) + os.urandom(100_000))
        outcome = sync_in_child({"link": link, "dest": str(dest)}, file_size=limit)
        assert outcome["error"] == "TransferError"
        assert "takes no file as large as this; choose another disk" in outcome["message"]
        assert sorted(tmp_path.rglob("*")) == before
        assert len(sync(link, dest).added) == 2 - exists

    def test_a_disk_that_is_full(self, box: Sandbox) -> None:
        """On a file system of 2 MB: what cannot fit is refused ahead, and what fills it up leaves nothing."""
        with small_disk() as disk:
            link = share(box, {"a.txt": "a"})
            sync(link, disk / "data")
            (box.folder("proj") / "noise.bin").write_bytes(os.urandom(1_500_000))
            outcome = sync_in_child({"link": link, "dest": str(disk / "data")})
            assert outcome["error"] == "TransferError"
            assert "free some room" in outcome["message"]
            (box.folder("proj") / "noise.bin").write_bytes(os.urandom(9_000_000))
            outcome = sync_in_child({"link": link, "dest": str(disk / "data")})
            assert "free some room" in outcome["message"]
            assert sorted(path.name for path in disk.rglob("*")) == [".colab_magics", "a.txt", "data", "manifest.json"]
            (box.folder("proj") / "noise.bin").unlink()
            assert sync(link, disk / "data").status == "up-to-date"

    def test_a_folder_may_take_most_of_a_disk(self, box: Sandbox) -> None:
        """What is written as it arrives needs no room a second time, in a new DEST nor in one that exists."""
        with small_disk(8) as disk:
            link = share(box, {"a.txt": os.urandom(3_000_000).hex()[:4_500_000]})
            assert sync(link, disk / "data").added == ["a.txt"]
            (box.folder("proj") / "a.txt").unlink()
            (box.folder("proj") / "b.txt").write_bytes(bytes(1_700_000))
            assert sync(link, disk / "data", mirror=True).removed == ["a.txt"]


class small_disk:  # noqa: N801 - it is used as a function is
    """A file system of some MB: a tmpfs, which the one who may mount can have anywhere."""

    def __init__(self, size: int = 2) -> None:
        self.size = size

    def __enter__(self) -> Path:
        self.folder = Path(tempfile.mkdtemp(prefix="disk-"))
        options = ["mount", "-t", "tmpfs", "-o", f"size={self.size}m", "tmpfs", str(self.folder)]
        if shutil.which("mount") is None or subprocess.run(options, capture_output=True, check=False).returncode:
            self.folder.rmdir()
            pytest.skip("no file system can be mounted here; the limit on file sizes is tested above")
        return self.folder

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)
        self.folder.rmdir()


class TestNoRights:
    def test_a_folder_that_may_not_be_written(self, box: Sandbox, tmp_path: Path) -> None:
        """Neither beside, nor in an old DEST: the error names it and says what to do."""
        link = share(box, OLD)
        locked = tmp_path / "locked"
        locked.mkdir()
        locked.chmod(0o555)
        for dest in (locked, locked / "new"):
            outcome = sync_in_child({"link": link, "dest": str(dest)}, obedient=True)
            assert outcome["error"] == "TransferError"
            assert "may not be written here; choose another place, or change its rights" in outcome["message"]
        assert list(locked.iterdir()) == []

    def test_a_folder_inside_that_may_not_be_written(self, box: Sandbox, tmp_path: Path) -> None:
        """It is noticed before the first change: nothing is half done."""
        link = share(box, OLD)
        dest = tmp_path / "data"
        assert sync_in_child({"link": link, "dest": str(dest)}, obedient=True)["status"] == "synced"
        (dest / "sub").chmod(0o555)
        share_again(box, NEW)
        before = {path: path.lstat().st_mtime_ns for path in dest.rglob("*") if ".colab_magics" not in str(path)}
        outcome = sync_in_child({"link": link, "dest": str(dest)}, obedient=True)
        assert outcome["error"] == "TransferError"
        assert "the folder 'sub' in" in outcome["message"]
        after = {path: path.lstat().st_mtime_ns for path in dest.rglob("*") if ".colab_magics" not in str(path)}
        assert after == before
        (dest / "sub").chmod(0o755)
        assert sync_in_child({"link": link, "dest": str(dest)}, obedient=True)["status"] == "synced"


def share_again(box: Sandbox, files: dict[str, str]) -> None:
    """Replace what the shared folder holds; its link stays."""
    share(box, files)


class TestTwoAtOnce:
    def test_the_second_waits_and_finds_nothing_to_do(self, box: Sandbox, tmp_path: Path) -> None:
        """Two processes, one DEST: the one that has to wait says so, and then has nothing to do."""
        folder = box.folder("proj")
        (folder / "a.bin").write_bytes(os.urandom(300_000))
        link = box.folder_link(folder)
        go = threading.Event()
        box.fail(link, delay=go, delay_at=100_000)
        call = {"link": link, "dest": str(tmp_path / "data")}
        first = start_sync({**call, "once": True})
        wait_for_lock(tmp_path / "data")
        said: list[str] = []
        results: list[str] = []

        def second() -> None:
            results.append(sync(link, tmp_path / "data", once=True, progress=Listener(said, go)).status)

        thread = threading.Thread(target=second)
        thread.start()
        output, errors = first.communicate(timeout=60)
        thread.join(timeout=60)
        assert '"synced"' in output, errors
        assert results == ["up-to-date"]
        assert said == [f"waiting for another sync into {tmp_path / 'data'} to end"]
        assert (tmp_path / "data" / "a.bin").read_bytes() == (folder / "a.bin").read_bytes()

    def test_the_lock_of_a_dead_process_is_free(self, box: Sandbox, tmp_path: Path) -> None:
        """A run that was killed while it held the lock keeps nobody waiting."""
        folder = box.folder("proj")
        (folder / "a.bin").write_bytes(os.urandom(300_000))
        link = box.folder_link(folder)
        go = threading.Event()
        box.fail(link, delay=go, delay_at=100_000)
        first = start_sync({"link": link, "dest": str(tmp_path / "data")})
        wait_for_lock(tmp_path / "data")
        first.kill()
        first.communicate(timeout=60)
        go.set()
        said: list[str] = []
        assert sync(link, tmp_path / "data", progress=Listener(said, go)).status == "synced"
        assert said == []


def wait_for_lock(dest: Path) -> None:
    """Return when a sync holds the mutex on DEST: it makes its work folder then."""
    while not sibling_path(dest).exists():
        threading.Event().wait(0.01)


class Listener:
    """Hears what a sync says, and lets the other one go on when it does."""

    def __init__(self, said: list[str], go: threading.Event) -> None:
        self._said, self._go = said, go

    def begin(self, label: str, total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, amount: int) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Remember it."""
        self._said.append(text)
        self._go.set()

    def output(self, text: str) -> None:
        """Ignore it."""


def test_an_interrupt_leaves_nothing_behind(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """Ctrl-C during a download: the run ends, DEST is as it was, and the next run works."""
    link = share(box, OLD)

    class Interrupting(Listener):
        def advance(self, amount: int) -> None:
            if amount:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(link, tmp_path / "data", progress=Interrupting([], threading.Event()))
    assert list(tmp_path.iterdir()) == []
    assert sync(link, tmp_path / "data").status == "synced"
