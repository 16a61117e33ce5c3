"""What a keeper copies, and what it leaves alone; in the tests' own process, told to push."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from keepers import keeper, tree

from colab_magics.core.keeping import folder
from colab_magics.core.keeping import keep as keeping
from colab_magics.core.keeping import keeper as module
from colab_magics.core.keeping.source import natural


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks are as close as they can be."""
    monkeypatch.setattr(module, "_STILL", 0.001)


@pytest.fixture
def work() -> Path:
    made = Path("work")
    made.mkdir()
    return made


def put(path: Path, text: str, mtime: int) -> None:
    path.write_text(text)
    os.utime(path, (mtime, mtime))


class TestWholeOrNotAtAll:
    def test_what_held_still_is_there_with_its_time(self, work: Path) -> None:
        """Also in folders, and under any name; nothing of ours is left at DEST."""
        (work / "sub").mkdir()
        put(work / "a.txt", "a", 1_000_000)
        (work / "sub" / "ü\udcff.bin").write_text("b" * 3_000_000)
        kept = keeper()
        kept.push()
        kept.dest.clear()
        assert tree() == {"a.txt": "a", "sub/ü\udcff.bin": "b" * 3_000_000}
        assert Path("dest/a.txt").stat().st_mtime == 1_000_000
        assert not Path("dest/.colab_magics").exists()
        assert not kept.progress.pending
        assert not kept.progress.failed

    def test_what_is_kept_is_not_copied_again(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By a later push, and by a later keeper."""
        put(work / "a.txt", "a", 1_000_000)
        keeper().push()
        monkeypatch.setattr(folder.FolderDestination, "put", lambda *_: pytest.fail("copied again"))
        keeper().push()

    def test_what_does_not_hold_still_waits(self, work: Path) -> None:
        """A file that grows between any two looks is said to be written, and is there once it is left alone."""
        put(work / "log.txt", "0", 1_000_000)
        put(work / "a.txt", "a", 1_000_000)
        kept = keeper()
        for look in "123":
            kept.copy_what_held_still()
            module.time.sleep(0.002)
            with open(work / "log.txt", "a") as file:
                file.write(look)
        assert tree() == {"a.txt": "a"}
        assert kept.progress.pending == {"log.txt": "is being written"}
        kept.push()
        assert tree()["log.txt"] == (work / "log.txt").read_text()

    @pytest.mark.parametrize("asks", ["before", "meanwhile"])
    def test_what_is_written_to_all_the_time_holds_nobody_up(
        self, work: Path, asks: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who asks for a push need not wait until it stops; nor does who asks while a keeper waits for that."""
        put(work / "a.txt", "a", 1_000_000)
        kept, looks = keeper(request=1.0 if asks == "before" else 0.0), []
        look = kept.copy_what_held_still

        def write() -> bool:
            looks.append((work / "log.txt").write_text(f"step {len(looks)}"))
            if asks == "meanwhile" and len(looks) == 6:
                kept.state.write_config(kept.config)
            assert len(looks) < 100
            return look()

        monkeypatch.setattr(kept, "copy_what_held_still", write)
        kept.push()
        assert tree() == {"a.txt": "a"}
        assert kept.progress.pending == {"log.txt": "is being written"}

    @pytest.mark.parametrize("how", ["written to", "replaced", "cut", "same size and time"])
    def test_a_file_that_changes_while_it_is_copied_stays_the_old_one(
        self, work: Path, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DEST has the old whole one, and then the new whole one; never some of each."""
        put(work / "ckpt", "old" * 1_000_000, 1_000_000)
        kept = keeper()
        kept.push()
        put(work / "ckpt", "new" * 1_000_000, 2_000_000)
        copied, changes = folder._copied, iter(["newer"])

        def change(*args: Any) -> str:
            digest = copied(*args)
            if new := next(changes, None):
                path = work / ("other" if how == "replaced" else "ckpt")
                put(
                    path,
                    "n" if how == "cut" else new * 600_000,
                    2_000_000 if how == "same size and time" else 3_000_000,
                )
                if how == "replaced":
                    path.rename(work / "ckpt")
                assert tree() == {"ckpt": "old" * 1_000_000}
            return digest

        monkeypatch.setattr(folder, "_copied", change)
        kept.copy_what_held_still()
        module.time.sleep(0.002)
        kept.copy_what_held_still()
        assert tree() == {"ckpt": "old" * 1_000_000}
        kept.push()
        assert tree() == {"ckpt": (work / "ckpt").read_text()}

    def test_a_file_that_its_format_calls_cut_short_takes_no_place(self, work: Path) -> None:
        """A zip, as torch.save writes, or safetensors, whose writer was killed: the older whole one stays."""
        with zipfile.ZipFile(work / "ckpt.pt", "w") as archive:
            archive.writestr("weights", "w" * 100_000)
        tensors = b'{"w":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}'
        whole = len(tensors).to_bytes(8, "little") + tensors + b"123456789"
        (work / "m.safetensors").write_bytes(whole)
        (work / "log.txt").write_text("lines")
        kept = keeper()
        kept.push()
        zipped = (work / "ckpt.pt").read_bytes()
        (work / "ckpt.pt").write_bytes(zipped[:50_000])
        (work / "m.safetensors").write_bytes(whole[:-1])
        (work / "log.txt").write_text("")
        (work / "new.pt").write_text("")
        kept.push()
        assert Path("dest/log.txt").read_text() == "lines"
        assert not Path("dest/new.pt").exists()
        assert Path("dest/ckpt.pt").read_bytes() == zipped
        assert Path("dest/m.safetensors").read_bytes() == whole
        assert set(kept.progress.pending) == {"ckpt.pt", "m.safetensors", "log.txt", "new.pt"}
        assert "cut short" in kept.progress.pending["ckpt.pt"]
        (work / "m.safetensors").write_bytes(whole + b"0")
        (work / "ckpt.pt").write_bytes(zipped)
        (work / "log.txt").unlink()
        (work / "new.pt").unlink()
        kept.push()
        assert not kept.progress.pending


class TestNothingIsLost:
    def test_what_is_deleted_in_source_stays(self, work: Path) -> None:
        """DEST is where it is safe."""
        put(work / "a.txt", "a", 1_000_000)
        kept = keeper()
        kept.push()
        (work / "a.txt").unlink()
        kept.push()
        assert tree() == {"a.txt": "a"}

    def test_what_another_changed_at_dest_is_kept_beside(self, work: Path) -> None:
        """Theirs is not touched; ours has one name beside it, whatever comes later, and the status names it."""
        put(work / "a.txt", "a", 1_000_000)
        kept = keeper()
        kept.push()
        put(Path("dest/a.txt"), "theirs", 1_500_000)
        for text, mtime in [("b", 2_000_000), ("cc", 3_000_000)]:
            put(work / "a.txt", text, mtime)
            kept.push()
        (beside,) = set(tree()) - {"a.txt"}
        assert tree() == {"a.txt": "theirs", beside: "cc"}
        assert beside.startswith("a (kept from ")
        assert beside.endswith(").txt")
        assert keeper().journal.records["a.txt"].at == beside

    def test_a_time_that_a_file_system_rounds_is_no_change(self, work: Path) -> None:
        """Then the content decides."""
        put(work / "a.txt", "a", 1_000_001)
        kept = keeper()
        kept.push()
        os.utime("dest/a.txt", (1_000_000, 1_000_000))
        put(work / "a.txt", "b", 2_000_000)
        kept.push()
        assert tree() == {"a.txt": "b"}

    def test_what_was_there_before_is_not_overwritten(self, work: Path) -> None:
        """On a new runtime that restored nothing: what is the same is taken for kept, the rest is kept beside."""
        Path("dest").mkdir()
        put(Path("dest/same.txt"), "s", 1_000_000)
        put(Path("dest/other.txt"), "from last week", 1_000_000)
        put(work / "same.txt", "s", 2_000_000)
        put(work / "other.txt", "from today", 2_000_000)
        kept = keeper()
        kept.push()
        assert tree()["other.txt"] == "from last week"
        assert sorted(tree().values()) == ["from last week", "from today", "s"]
        assert kept.journal.records["same.txt"].at == "same.txt"

    def test_a_keeper_that_died_before_it_said_so_knows_its_own_copy(
        self, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was killed between the rename and the journal, and the file has changed since: nothing is kept beside."""
        put(work / "a.txt", "a", 1_000_000)
        keeper().push()
        put(work / "a.txt", "bb", 2_000_000)
        with monkeypatch.context() as patched:
            patched.setattr(module.Journal, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                keeper().push()
        assert tree() == {"a.txt": "bb"}
        put(work / "a.txt", "ccc", 3_000_000)
        keeper().push()
        assert tree() == {"a.txt": "ccc"}

    def test_what_a_kill_ended_holds_up_nothing_else(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next keeper begins with the rest, and with another one of those that were begun."""
        for number, name in enumerate(("big", "bigger", "a.txt", "b.txt"), 1):
            put(work / name, name, number)
        begun: list[str] = []
        put_whole = folder.FolderDestination.put

        def killed(self: folder.FolderDestination, name: str, *more: Any) -> Any:
            begun.append(name)
            if name.startswith("big"):
                raise KeyboardInterrupt
            return put_whole(self, name, *more)

        with monkeypatch.context() as patched:
            patched.setattr(folder.FolderDestination, "put", killed)
            for _ in range(4):
                with pytest.raises(KeyboardInterrupt):
                    keeper().push()
        assert begun == ["big", "bigger", "a.txt", "b.txt", "big", "bigger"]
        keeper().push()
        assert len(tree()) == 4

    def test_a_copy_that_is_gone_is_made_again_by_the_next_keeper(self, work: Path) -> None:
        """Somebody emptied DEST; a journal that was cut short in the middle of a line is read as far as it goes."""
        put(work / "a.txt", "a", 1_000_000)
        kept = keeper()
        kept.push()
        Path("dest/a.txt").unlink()
        with open(kept.journal.path, "a") as file:
            file.write('["b.txt", "kept", 12')
        keeper().push()
        assert tree() == {"a.txt": "a"}
        assert set(keeper().journal.records) == {"a.txt"}

    def test_a_place_that_is_not_mounted_any_more_is_not_written_to(
        self, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is below the mount point is not DEST; the reason is said, and it is tried again."""
        put(work / "a.txt", "a", 1_000_000)
        kept = keeper()
        with monkeypatch.context() as patched:
            patched.setattr(folder, "_mount_of", lambda _path: ("/", "overlay"))
            kept.push()
        assert "is not mounted any more" in kept.progress.failed["a.txt"]
        assert not Path("dest").exists()
        assert kept.tries == 1
        kept.push()
        assert tree() == {"a.txt": "a"}
        assert not kept.progress.failed

    def test_a_destination_that_fails_is_not_asked_for_every_file(
        self, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After some failures in a row the rest waits for the next try."""
        for number in range(50):
            put(work / f"{number}.txt", "a", 1_000_000 + number)
        kept, asked = keeper(), []

        def refuse(_self: object, name: str, *_: object) -> None:
            asked.append(name)
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(folder.FolderDestination, "put", refuse)
            kept.push()
        assert asked == ["0.txt", "1.txt", "2.txt"]
        assert kept.progress.failed["0.txt"] == "No space left on device"
        assert len(kept.progress.pending) == 47
        kept.push()
        assert len(tree()) == 50


class TestChoice:
    def test_only_the_last_are_kept(self, work: Path) -> None:
        """By time, then by natural order; what was never kept because it is older is not copied first."""
        for number in (9, 10, 11, 100):
            put(work / f"ckpt-{number}.pt", str(number), 1_000_000)
        put(work / "log.txt", "l", 1)
        kept = keeper(last=[(2, "ckpt*.pt")])
        kept.push()
        assert tree() == {"ckpt-11.pt": "11", "ckpt-100.pt": "100", "log.txt": "l"}
        put(work / "ckpt-3.pt", "3", 2_000_000)
        kept.push()
        assert tree() == {"ckpt-100.pt": "100", "ckpt-3.pt": "3", "log.txt": "l"}
        assert sorted(["ckpt-10", "ckpt-9", "a1b20", "a1b3"], key=natural) == ["a1b3", "a1b20", "ckpt-9", "ckpt-10"]

    def test_an_older_one_goes_only_when_the_newer_is_there(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As long as the newest could not be copied, DEST has the older ones."""
        put(work / "ckpt-1.pt", "1", 1_000_000)
        kept = keeper(last=[(1, "ckpt*.pt")])
        kept.push()
        put(work / "ckpt-2.pt", "2", 2_000_000)
        with monkeypatch.context() as patched:
            patched.setattr(folder.FolderDestination, "_write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
            kept.push()
        assert tree() == {"ckpt-1.pt": "1"}
        kept.push()
        assert tree() == {"ckpt-2.pt": "2"}

    def test_what_one_rule_wants_another_does_not_remove(self, work: Path) -> None:
        """And what another has changed at DEST is nobody's to remove."""
        put(work / "ckpt-best.pt", "b", 1_000_000)
        put(work / "ckpt-1.pt", "1", 2_000_000)
        kept = keeper(last=[(1, "ckpt*.pt"), (1, "ckpt-best.pt")])
        kept.push()
        put(Path("dest/ckpt-1.pt"), "theirs", 2_000_000)
        put(work / "ckpt-2.pt", "2", 3_000_000)
        kept.push()
        assert tree() == {"ckpt-best.pt": "b", "ckpt-1.pt": "theirs", "ckpt-2.pt": "2"}

    def test_patterns_own_folders_and_links(self, work: Path) -> None:
        """A link to a file is kept as that file; ours, what is excluded, and links to folders are not."""
        for name in (".colab_magics/x", "a.csv", "tmp/b.csv", "c.txt"):
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text(name)
        (work / "latest.csv").symlink_to("a.csv")
        (work / "around.csv").symlink_to(".")
        (work / "nowhere.csv").symlink_to("gone")
        (work / "loop.csv").symlink_to("loop.csv")
        kept = keeper(include=["*.csv"], exclude=["tmp/"])
        kept.push()
        assert tree() == {"a.csv": "a.csv", "latest.csv": "a.csv"}
        assert kept.progress.failed == {}
        kept.write()
        assert "around.csv: a symlink to a folder is not followed" in repr(keeping._status(kept.state, kept.config))
