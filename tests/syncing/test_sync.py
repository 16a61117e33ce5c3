"""What an update does to DEST, over real HTTP."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from trees import BACKUP, WHOLE, fill, tree

from colab_magics.core import Settings, SyncResult
from colab_magics.core.common import drive
from colab_magics.core.common.progress import Silent
from colab_magics.core.syncing.sync import sync
from colab_magics.errors import LayoutError
from colab_magics.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("impatient")


class TestUpdate:
    def test_dest_holds_what_the_link_holds(self, box: Sandbox, link: str) -> None:
        """A new DEST is made with all members, empty folders too; the result names the files as POSIX paths."""
        result = sync(link, "data")
        assert tree("data") == WHOLE
        assert (sorted(result.added), result.updated, result.status) == (["a.txt", "sub/b.csv"], [], "synced")
        assert os.fspath(result) == "data"
        assert result.bytes_received > 100
        assert os.listdir() == ["data"]

    def test_dest_defaults_to_the_folders_name(self, link: str) -> None:
        """Without DEST the name is the one that the server gives."""
        assert str(sync(link).path) == "proj"
        assert tree("proj") == WHOLE

    def test_a_second_run_writes_nothing(self, link: str) -> None:
        """What has not changed is not touched, not even its time stamp or the manifest's."""
        sync(link, "data")
        before = {path: path.lstat().st_mtime_ns for path in Path("data").rglob("*")} | {Path("data"): 0}
        result = sync(link, "data")
        after = {path: path.lstat().st_mtime_ns for path in Path("data").rglob("*")} | {Path("data"): 0}
        changed = {path for path in before | after if before.get(path) != after.get(path)}
        assert changed <= {Path("data/.colab_magics")}
        assert (result.status, sorted(result.unchanged)) == ("up-to-date", ["a.txt", "sub/b.csv"])

    def test_only_what_differs_is_written(self, proj: Path, link: str) -> None:
        """A changed file is replaced, a new one added; what lies there beside is left alone."""
        sync(link, "data")
        fill(Path("data"), {"mine.txt": "mine", "sub/mine.txt": "mine"})
        kept = Path("data/sub/b.csv").stat().st_ino
        fill(proj, {"a.txt": "A!", "new/c.txt": "c"})
        result = sync(link, "data")
        assert (result.added, result.updated, result.unchanged) == (["new/c.txt"], ["a.txt"], ["sub/b.csv"])
        assert tree("data") == WHOLE | {
            "a.txt": "A!",
            "mine.txt": "mine",
            "new/": "",
            "new/c.txt": "c",
            "sub/mine.txt": "mine",
        }
        assert Path("data/sub/b.csv").stat().st_ino == kept

    def test_same_size_and_other_content_is_a_difference(self, proj: Path, link: str) -> None:
        """Contents decide, not sizes; also where the local file was touched only."""
        sync(link, "data")
        fill(proj, {"a.txt": "z"})
        os.utime("data/sub/b.csv")
        result = sync(link, "data")
        assert (result.updated, result.unchanged, result.backed_up) == (["a.txt"], ["sub/b.csv"], [])

    def test_times_come_from_the_archive(self, proj: Path, link: str) -> None:
        """A file has the time stamp that it has at Dropbox, to the two seconds of a zip."""
        os.utime(proj / "a.txt", (1_600_000_000, 1_600_000_000))
        sync(link, "data")
        assert abs(Path("data/a.txt").stat().st_mtime - 1_600_000_000) <= 2

    def test_a_files_rights_are_kept(self, proj: Path, link: str) -> None:
        """A replaced file has the rights of its predecessor; a read-only one is no obstacle."""
        sync(link, "data")
        Path("data/a.txt").chmod(0o440)
        Path("data/sub/b.csv").chmod(0o755)
        fill(proj, {"a.txt": "A!", "sub/b.csv": "B!"})
        assert sync(link, "data").backed_up == []
        assert stat.S_IMODE(Path("data/a.txt").stat().st_mode) == 0o440
        assert stat.S_IMODE(Path("data/sub/b.csv").stat().st_mode) == 0o755

    def test_a_file_becomes_a_folder_and_back(self, proj: Path, link: str) -> None:
        """What a sync wrote gives way without a backup, and a folder goes with all that syncs wrote in it."""
        sync(link, "data")
        (proj / "a.txt").unlink()
        fill(proj, {"a.txt/deep/x": "x"})
        result = sync(link, "data")
        assert (result.added, result.removed, result.backed_up) == (["a.txt/deep/x"], ["a.txt"], [])
        (proj / "a.txt" / "deep" / "x").unlink()
        (proj / "a.txt" / "deep").rmdir()
        (proj / "a.txt").rmdir()
        fill(proj, {"a.txt": "back"})
        result = sync(link, "data")
        assert (result.added, result.removed, result.backed_up) == (["a.txt"], ["a.txt/deep/x"], [])
        assert tree("data") == WHOLE | {"a.txt": "back"}
        assert sync(link, "data").status == "up-to-date"

    def test_the_users_file_in_a_new_folder_is_kept(self, proj: Path, link: str) -> None:
        """A folder that must give way to a file, with something of the user's in it, is moved as it is."""
        sync(link, "data")
        fill(Path("data"), {"sub/mine.txt": "mine"})
        (proj / "sub" / "b.csv").unlink()
        (proj / "sub").rmdir()
        fill(proj, {"sub": "now a file"})
        result = sync(link, "data")
        assert result.backed_up == ["sub"]
        assert Path("data/sub").read_text() == "now a file"
        assert tree(f"data/{BACKUP}/sub") == {"b.csv": "b" * 5000, "mine.txt": "mine"}

    def test_odd_destinations(self, link: str, tmp_path: Path, settings: Settings) -> None:
        """Spaces, letters of any script, absolute and nested paths, `.`, an empty folder, a trailing slash."""
        for dest in ("with space", "ünï/数据", str(tmp_path / "x" / "y"), "slash/", "~/home"):
            assert sync(link, dest).status == "synced"
            assert tree(Path(dest).expanduser()) == WHOLE
        Path("here").mkdir()
        os.chdir("here")
        assert os.fspath(sync(link, ".")) == "."
        assert tree(".") == WHOLE

    def test_dest_on_the_drive(self, link: str, tmp_path: Path) -> None:
        """`drive:PATH` is under the configured folder, and the result's path is the real one."""
        result = sync(link, "drive:exp/data", settings=Settings.load(drive_root=str(tmp_path)))
        assert result.path == tmp_path / "exp" / "data"
        assert tree(result) == WHOLE

    def test_dest_may_be_a_symlink_to_a_folder(self, link: str, tmp_path: Path) -> None:
        """It stays one, and the folder behind it is filled, whether it exists already or not."""
        (tmp_path / "there").mkdir()
        Path("data").symlink_to(tmp_path / "there")
        Path("later").symlink_to(tmp_path / "made" / "there")
        sync(link, "data")
        sync(link, "later")
        assert Path("data").is_symlink()
        assert Path("later").is_symlink()
        assert tree(tmp_path / "there") == tree(tmp_path / "made" / "there") == WHOLE

    def test_dest_is_a_file(self, link: str) -> None:
        """A file in the folder's place, or in that of one of its parents, is an error that says to move it."""
        Path("data").write_text("mine")
        for dest in ("data", "data/sub"):
            with pytest.raises(LayoutError, match="move it away"):
                sync(link, dest)
        assert Path("data").read_text() == "mine"

    def test_an_empty_folder_is_synced_too(self, box: Sandbox) -> None:
        """A link to an empty folder makes an empty DEST, and nothing to do afterwards."""
        link = box.folder_link(box.folder("void"))
        assert sync(link, "data").added == []
        assert tree("data") == {}
        assert sync(link, "data", once=True).status == "up-to-date"

    def test_members_in_the_place_of_our_state_are_ignored(self, proj: Path, link: str) -> None:
        """What a shared folder holds as `.colab_magics` (it may be a DEST itself) is not brought along."""
        fill(proj, {".colab_magics/manifest.json": "{}", ".colab_magics/journal.json": '{"moves": []}'})
        assert sorted(sync(link, "data").added) == ["a.txt", "sub/b.csv"]
        assert sync(link, "data").status == "up-to-date"


def test_a_mounted_drive_is_warned_of(link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DEST on Drive works, and a line says that it is slow there; a local one says nothing."""
    said: list[str] = []
    monkeypatch.setattr(drive, "find_drive", lambda _: tmp_path / "MyDrive")
    monkeypatch.setattr(Silent, "say", lambda _, text: said.append(text))
    sync(link, "data", progress=Silent())
    assert said == []
    sync(link, tmp_path / "MyDrive" / "data", progress=Silent())
    assert "slow for many small files" in said[0]


class TestNothingIsLost:
    def test_a_file_the_user_changed_is_kept(self, proj: Path, link: str) -> None:
        """It moves to the backups before it is replaced, and no earlier backup is replaced either."""
        sync(link, "data")
        for number in (1, 2):
            fill(Path("data"), {"sub/b.csv": f"my work {number}"})
            fill(proj, {"sub/b.csv": f"theirs {number}"})
            result = sync(link, "data")
            assert (result.updated, result.backed_up) == (["sub/b.csv"], ["sub/b.csv"])
        assert Path("data/sub/b.csv").read_text() == "theirs 2"
        assert tree(f"data/{BACKUP}/sub") == {"b.csv": "my work 1", "b.csv.~1~": "my work 2"}

    def test_a_file_that_was_there_before_is_kept(self, link: str) -> None:
        """What no sync wrote is the user's; with the same content it simply stays."""
        fill(Path("data"), {"a.txt": "mine", "sub/b.csv": "b" * 5000})
        result = sync(link, "data")
        assert (result.updated, result.unchanged, result.backed_up) == (["a.txt"], ["sub/b.csv"], ["a.txt"])
        assert Path("data", BACKUP, "a.txt").read_text() == "mine"

    def test_a_changed_file_that_need_not_be_replaced_stays(self, link: str) -> None:
        """Update makes DEST hold the link's version: the user's is kept; without a change nothing moves."""
        sync(link, "data")
        fill(Path("data"), {"a.txt": "mine"})
        result = sync(link, "data")
        assert (result.updated, result.backed_up) == (["a.txt"], ["a.txt"])
        assert sync(link, "data").backed_up == []

    def test_a_backup_below_an_earlier_ones_name(self, proj: Path, link: str) -> None:
        """A file's backup is no obstacle for one of a folder of the same name."""
        sync(link, "data")
        fill(Path("data"), {"a.txt": "mine"})
        (proj / "a.txt").unlink()
        fill(proj, {"a.txt/x": "x"})
        sync(link, "data")
        fill(Path("data"), {"a.txt/x": "mine too"})
        assert sync(link, "data").backed_up == ["a.txt/x"]
        assert tree(f"data/{BACKUP}") == {"a.txt": "mine", "a.txt.~1~/": "", "a.txt.~1~/x": "mine too"}

    def test_a_symlink_is_layout(self, proj: Path, link: str, tmp_path: Path) -> None:
        """Neither a symlink in a member's place nor one above it is replaced or written through."""
        fill(tmp_path, {"out/": "", "file": "mine"})
        Path("data").mkdir()
        Path("data/sub").symlink_to(tmp_path / "out")
        Path("data/a.txt").symlink_to(tmp_path / "file")
        for options in ({}, {"force": True}, {"mirror": True}, {"once": True}):
            result = sync(link, "data", **options)
            assert (result.added, result.updated, result.removed) == ([], [], [])
        assert Path("data/sub").is_symlink()
        assert tree(tmp_path / "out") == {}
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_symlink_put_there_later_is_layout_too(self, proj: Path, link: str, tmp_path: Path) -> None:
        """Where a sync had written, the user may put a link; --mirror deletes nothing behind it."""
        sync(link, "data")
        Path("data/sub/b.csv").unlink()
        Path("data/sub").rmdir()
        fill(tmp_path, {"out/b.csv": "mine", "out/empty/": ""})
        Path("data/sub").symlink_to(tmp_path / "out")
        (proj / "sub" / "b.csv").unlink()
        fill(proj, {"sub/new.csv": "new"})
        sync(link, "data", mirror=True)
        assert tree(tmp_path / "out") == {"b.csv": "mine", "empty/": ""}


def test_the_results_line_says_what_happened(link: str, proj: Path) -> None:
    """One line with the counts; the result can be used as a path."""
    assert repr(sync(link, "data")).startswith("data: 2 added (")
    fill(proj, {"a.txt": "A!"})
    result = sync(link, "data")
    assert repr(result).startswith("data: 1 updated, 1 unchanged (")
    assert (Path(result) / "a.txt").read_text() == "A!"
    assert isinstance(result, SyncResult)
    assert result.seconds < time.monotonic()
