"""Symlinks and the drive."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import fakes
import pytest

from colab_magics.core import Settings, symlink
from colab_magics.core.common import drive
from colab_magics.core.common.drive import expand, mount_drive
from colab_magics.errors import LayoutError

HERE = Settings(env="linux")
COLAB = Settings(env="colab")


@pytest.fixture
def data() -> Path:
    """A folder with a file."""
    folder = Path("data")
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    return folder.absolute()


@pytest.fixture(autouse=True)
def nothing_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No mount of another test is remembered, and Colab's usual mountpoint is here."""
    monkeypatch.setattr(drive, "_mounted", [])
    monkeypatch.setattr(drive, "_COLAB_MOUNTPOINT", str(tmp_path / "drive"))


class TestSymlink:
    """symlink SOURCE LINK."""

    def test_it_is_made_with_its_parents_and_again_does_nothing(self, data: Path) -> None:
        """An absolute link, so that it means the same from everywhere; source and link are relative to here."""
        result = symlink("data", "proj/data/input", settings=HERE)
        link = Path("proj/data/input")
        assert (result.status, result.path, result.target, os.fspath(result)) == ("linked", link, data, str(link))
        assert os.readlink(link) == str(data)
        assert (link / "a.txt").read_text() == "a"
        before = link.lstat()
        assert symlink("data", "proj/data/input/", settings=HERE).status == "up-to-date"
        assert (link.lstat().st_ino, link.lstat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
        assert repr(result) == "proj/data/input -> data"

    def test_a_file_can_be_linked_too(self, data: Path) -> None:
        """The source is any path."""
        symlink("data/a.txt", "b.txt", settings=HERE)
        assert Path("b.txt").read_text() == "a"

    @pytest.mark.parametrize("target", ["other", "data/../other", "nowhere", "link"])
    def test_a_link_that_stands_there_is_replaced_and_never_followed(self, data: Path, target: str) -> None:
        """Whatever it points to: a folder, nothing, itself; nothing is put inside of it."""
        Path("other").mkdir()
        Path("link").symlink_to(target)
        assert symlink("data", "link", settings=HERE).status == "linked"
        assert os.readlink("link") == str(data)
        assert list(Path("other").iterdir()) == []
        assert sorted(os.listdir()) == ["data", "link", "other"]
        assert os.listdir("data") == ["a.txt"]

    def test_what_a_synced_folder_leaves_in_its_place_is_replaced(self, data: Path) -> None:
        """An empty folder, and a small file that holds a link's target."""
        Path("empty").mkdir()
        assert symlink("data", "empty", settings=HERE).backup is None
        assert os.readlink("empty") == str(data)
        texts = [
            "../data",
            "./data",
            "/content/data",
            str(data),
            "data",
            "/content/drive/My Drive/x",
            "x/data\n",
            "~/d",
        ]
        for text in texts:
            Path("text").unlink(missing_ok=True)
            Path("text").write_text(text)
            symlink("data", "text", settings=HERE)
            assert os.readlink("text") == str(data), text

    @pytest.mark.parametrize(
        "text", ["", "notes", "./train.sh --fast", "/a\n/b", "https://x.org/data", "x" * 5000, "/" + "x" * 5000]
    )
    def test_a_file_of_ones_own_is_not_lost(self, data: Path, text: str) -> None:
        """It is an error that names it, and --force keeps it beside its place."""
        Path("file").write_text(text)
        with pytest.raises(LayoutError, match=r"'file' is a file with content of its own; .*--force"):
            symlink("data", "file", settings=HERE)
        assert Path("file").read_text() == text
        result = symlink("data", "file", force=True, settings=HERE)
        assert result.backup == Path("file.backup")
        assert Path("file.backup").read_text() == text
        assert "what stood there is now file.backup" in repr(result)

    def test_a_folder_with_content_is_not_lost(self, data: Path) -> None:
        """It is an error that names it, and --force moves it to a backup beside it, the next one to another."""
        for number in (1, 2):
            Path("proj/input/deep").mkdir(parents=True)
            Path("proj/input/deep/mine").write_text(str(number))
            with pytest.raises(LayoutError, match=r"'proj/input' is a folder with content; .*--force"):
                symlink("data", "proj/input", settings=HERE)
            result = symlink("data", "proj/input", force=True, settings=HERE)
            assert result.backup
            assert (result.backup / "deep" / "mine").read_text() == str(number)
            Path("proj/input").unlink()
        assert sorted(os.listdir("proj")) == ["input.backup", "input.backup.~1~"]

    def test_a_dry_run_changes_nothing(self, data: Path) -> None:
        """It says the same; the source may come later."""
        Path("full").mkdir()
        Path("full/x").write_text("x")
        assert symlink("data", "new/link", dry_run=True, settings=HERE).status == "planned"
        assert symlink("yet-to-come", "new/link", dry_run=True, settings=HERE).status == "planned"
        assert symlink("data", "full", force=True, dry_run=True, settings=HERE).status == "planned"
        with pytest.raises(LayoutError, match="folder with content"):
            symlink("data", "full", dry_run=True, settings=HERE)
        assert sorted(os.listdir()) == ["data", "full"]

    def test_what_cannot_be_linked_says_why(self, data: Path) -> None:
        """No source, a link to itself or to what it replaces, a file in a parent's place."""
        with pytest.raises(LayoutError, match="source 'nothing' does not exist"):
            symlink("nothing", "link", settings=HERE)
        for link in ("data", "./data/", "data/../data"):
            with pytest.raises(LayoutError, match="point to itself"):
                symlink("data", link, settings=HERE)
        with pytest.raises(LayoutError, match="lies inside 'data'"):
            symlink("data/a.txt", "data", force=True, settings=HERE)
        with pytest.raises(LayoutError, match="is a file, and the link needs a folder there"):
            symlink("data", "data/a.txt/link", settings=HERE)
        with pytest.raises(LayoutError, match=r"lies inside '\.'"):
            symlink("data", ".", settings=HERE)
        assert os.listdir("data") == ["a.txt"]

    def test_a_failure_half_way_leaves_all_as_it_was(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What stood there stands there again."""
        Path("full").mkdir()
        Path("full/x").write_text("x")

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(LayoutError, match="'full' cannot be linked: No space left on device"):
            symlink("data", "full", force=True, settings=HERE)
        assert sorted(os.listdir()) == ["data", "full"]
        assert Path("full/x").read_text() == "x"

    def test_a_source_on_the_drive_is_made_when_it_is_missing(self, tmp_path: Path) -> None:
        """A folder; a file that is there is linked as it is."""
        drive = tmp_path / "mine"
        drive.mkdir()
        (drive / "weights.bin").write_text("w")
        settings = Settings(env="linux", drive_root=drive)
        assert symlink("drive:exp1/working", "proj/working", dry_run=True, settings=settings).status == "planned"
        assert not (drive / "exp1").exists()
        symlink("drive:exp1/working", "proj/working", settings=settings)
        Path("proj/working/out").write_text("x")
        assert (drive / "exp1" / "working" / "out").read_text() == "x"
        symlink("drive:weights.bin", "w.bin", settings=settings)
        assert Path("w.bin").read_text() == "w"
        assert symlink("drive:weights.bin", "w.bin", settings=settings).status == "up-to-date"
        symlink("proj", "drive:here", settings=settings)
        assert (drive / "here" / "working" / "out").exists()


class TestDrive:
    """drive: paths, and mount_drive."""

    def test_a_path_on_the_drive(self, tmp_path: Path) -> None:
        """Under its root, wherever a path is taken, and never out of it."""
        settings = Settings(env="linux", drive_root=tmp_path)
        for text, below in (("drive:a/b", "a/b"), ("drive:/a", "a"), ("drive:", "."), ("drive:a/../b", "b")):
            assert expand(text, settings) == tmp_path / below
        for text in ("drive:..", "drive:../x", "drive:a/../../x", "drive:/../x"):
            with pytest.raises(LayoutError, match="leaves the drive"):
                expand(text, settings)
        assert expand("~/x", settings) == Path.home() / "x"
        assert expand("a drive:x", settings) == Path("a drive:x")
        with pytest.raises(LayoutError, match="no Google Drive on linux; set drive_root"):
            expand("drive:x", HERE)
        with pytest.raises(LayoutError, match="does not exist; correct drive_root"):
            expand("drive:x", Settings(env="linux", drive_root=tmp_path / "none"))
        with pytest.raises(LayoutError, match="run %mount_drive first"):
            expand("drive:x", COLAB)

    def test_elsewhere_it_is_the_configured_folder(self, tmp_path: Path) -> None:
        """Or there is none, said in one line."""
        assert mount_drive(settings=Settings(env="linux", drive_root=tmp_path)) == tmp_path
        with pytest.raises(LayoutError, match="there is no Google Drive on kaggle") as caught:
            mount_drive(settings=Settings(env="kaggle"))
        assert "\n" not in str(caught.value)

    def test_colab_mounts_and_is_asked_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """drive.mount asks for consent even when it is mounted, so the look comes before it."""
        drive = fakes.Drive(monkeypatch)
        root = tmp_path / "drive" / "MyDrive"
        assert mount_drive(dry_run=True, settings=COLAB) == root
        assert drive.asked == []
        assert mount_drive(settings=COLAB) == mount_drive(settings=COLAB) == root
        assert drive.asked == [str(tmp_path / "drive")]
        assert expand("drive:x", COLAB) == root / "x"

    def test_another_mountpoint_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """drive: paths are under what was mounted."""
        drive = fakes.Drive(monkeypatch)
        assert mount_drive("gdrive", settings=COLAB) == Path("gdrive").absolute() / "MyDrive"
        assert drive.asked == [str(Path("gdrive").absolute())]
        assert expand("drive:x", COLAB) == Path("gdrive").absolute() / "MyDrive" / "x"

    def test_a_configured_folder_inside_the_drive_is_mounted_first(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """One that is there already needs no mount."""
        work = tmp_path / "drive" / "MyDrive" / "work"
        drive = fakes.Drive(monkeypatch, lambda _: work.mkdir(parents=True))
        settings = Settings(env="colab", drive_root=work)
        assert mount_drive(settings=settings) == mount_drive(settings=settings) == work
        assert len(drive.asked) == 1

    def test_each_of_colabs_failures_is_one_plain_error(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A wrong mountpoint, an unsupported machine, a refused consent; what is a mistake of ours stays one."""

        def failing(error: Exception) -> None:
            def fail(_: Path) -> None:
                raise error

            fakes.Drive(monkeypatch, fail)

        failing(fakes.MessageError("Error: credential propagation was unsuccessful"))
        with pytest.raises(LayoutError, match="allow the access it asks for"):
            mount_drive(settings=COLAB)
        failing(NotImplementedError("Mounting drive is unsupported in this environment."))
        with pytest.raises(LayoutError, match=r"cannot mount Drive at .*unsupported in this environment"):
            mount_drive(settings=COLAB)
        with pytest.raises(LayoutError, match="must not contain a space"):
            mount_drive("my drive", settings=COLAB)
        (tmp_path / "drive").mkdir()
        (tmp_path / "drive" / "x").write_text("x")
        with pytest.raises(LayoutError, match="must not already contain files"):
            mount_drive(settings=COLAB)
        failing(KeyError("a mistake"))
        with pytest.raises(KeyError):
            mount_drive("other", settings=COLAB)
        fakes.Drive(monkeypatch, lambda path: path.mkdir())
        with pytest.raises(LayoutError, match="has no MyDrive"):
            mount_drive("third", settings=COLAB)

    def test_another_thread_is_told_and_colab_is_not_called(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Colab's own mount would hang or fail there."""
        drive = fakes.Drive(monkeypatch)
        caught: list[Exception] = []

        def mount() -> None:
            try:
                mount_drive(settings=COLAB)
            except LayoutError as error:
                caught.append(error)

        thread = threading.Thread(target=mount)
        thread.start()
        thread.join()
        assert "main thread only" in str(caught[0])
        assert drive.asked == []

    def test_without_google_colab_it_says_what_to_set(self) -> None:
        """When the environment says Colab and the module is not there."""
        with pytest.raises(LayoutError, match="set drive_root"):
            mount_drive(settings=COLAB)


def test_a_file_above_the_link_is_the_one_that_is_named(data: Path) -> None:
    """Not what would lie below it."""
    Path("file").write_text("mine")
    with pytest.raises(LayoutError, match=r"/file' is a file, and the link needs a folder there"):
        symlink("data", "file/deep/er/link", settings=HERE)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_place_without_symlinks_is_named_as_it_was_typed(
    data: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """vfat, exFAT and some FUSE file systems have none; nothing of ours is left behind there."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "x/.link.link")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(LayoutError, match=r"^'x/link' cannot be linked: the file system there has no symlinks"):
        symlink("data", "x/link", settings=HERE)
    assert os.listdir("x") == []
