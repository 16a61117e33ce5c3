"""What a sync does to DEST, over real HTTP."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from servers import Answer, serving
from zips import Entry, tar_of, zip_of

from colab_magics import masking
from colab_magics.core import Settings, SyncResult, transfer
from colab_magics.core.syncing import is_complete, sync
from colab_magics.errors import ArchiveError, ColabMagicsError, LayoutError, LinkError, TokenError, TransferError
from colab_magics.masking import registry
from colab_magics.sandbox import Sandbox

BACKUP = ".colab_magics/backup"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, and the mask knows only the secrets of this test, so that it is quick."""
    monkeypatch.setattr(transfer, "_BACKOFF", 0.0)
    monkeypatch.setattr(registry, "_secrets", frozenset())
    monkeypatch.setattr(registry, "_matcher", None)


@pytest.fixture
def proj(box: Sandbox) -> Path:
    """A shared folder with a file, a folder with a file, and an empty folder."""
    folder = box.folder("proj")
    fill(folder, {"a.txt": "a", "sub/b.csv": "b" * 5000, "empty/": ""})
    return folder


@pytest.fixture
def link(box: Sandbox, proj: Path) -> str:
    """The share link of `proj`."""
    return box.folder_link(proj)


def fill(folder: Path, files: dict[str, str]) -> None:
    """Write files; a name that ends with a slash is a folder."""
    for name, text in files.items():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(text)


def tree(folder: str | Path) -> dict[str, str]:
    """Return what a DEST holds, without what syncs keep in it."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(".colab_magics"):
            found[name + "/" * path.is_dir()] = path.read_text() if path.is_file() else ""
    return found


def asked(box: Sandbox) -> int:
    """Return how many requests there were since this was called last."""
    count = len(box.requests)
    box.clear_requests()
    return count


def key_of(link: str) -> str:
    return link.partition("rlkey=")[2].partition("&")[0]


WHOLE = {"a.txt": "a", "empty/": "", "sub/": "", "sub/b.csv": "b" * 5000}


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


class TestMirror:
    def test_what_the_link_no_longer_holds_goes(self, proj: Path, link: str) -> None:
        """Files that syncs wrote, and the folders that are empty then; never anything else."""
        fill(proj, {"old/deep/x.txt": "x", "old2/y.txt": "y"})
        sync(link, "data")
        fill(Path("data"), {"old2/mine.txt": "mine", "mine/z.txt": "mine"})
        for name in ("old/deep/x.txt", "old2/y.txt", "a.txt"):
            (proj / name).unlink()
        for name in ("old/deep", "old", "old2", "empty"):
            (proj / name).rmdir()
        assert sync(link, "data").removed == []
        result = sync(link, "data", mirror=True)
        assert sorted(result.removed) == ["a.txt", "old/deep/x.txt", "old2/y.txt"]
        assert tree("data") == {
            "mine/": "",
            "mine/z.txt": "mine",
            "old2/": "",
            "old2/mine.txt": "mine",
            "sub/": "",
            "sub/b.csv": "b" * 5000,
        }
        assert sync(link, "data", mirror=True).status == "up-to-date"

    def test_what_the_user_changed_is_kept(self, proj: Path, link: str) -> None:
        """A file that goes and that the user changed goes to the backups."""
        sync(link, "data")
        fill(Path("data"), {"a.txt": "mine"})
        (proj / "a.txt").unlink()
        result = sync(link, "data", mirror=True)
        assert (result.removed, result.backed_up) == (["a.txt"], ["a.txt"])
        assert Path("data", BACKUP, "a.txt").read_text() == "mine"
        assert not Path("data/a.txt").exists()

    def test_a_file_found_with_the_same_content_is_the_users(self, proj: Path, link: str) -> None:
        """No sync wrote it, so no sync removes it."""
        fill(Path("data"), {"a.txt": "a"})
        sync(link, "data")
        (proj / "a.txt").unlink()
        assert sync(link, "data", mirror=True).removed == []
        assert Path("data/a.txt").read_text() == "a"

    def test_what_is_excluded_stays(self, link: str) -> None:
        """What the link still holds is not removed because this call leaves it out."""
        sync(link, "data")
        assert sync(link, "data", mirror=True, exclude=["sub"]).removed == []
        assert tree("data") == WHOLE

    def test_a_file_link_beside_it_stays(self, box: Sandbox, proj: Path, link: str) -> None:
        """A file that another link put into DEST is not this link's to remove."""
        sync(link, "data")
        sync(box.file_link("extra.bin", b"extra"), "data/")
        (proj / "a.txt").unlink()
        assert sync(link, "data", mirror=True).removed == ["a.txt"]
        assert Path("data/extra.bin").exists()


class TestOnce:
    def test_a_complete_dataset_costs_nothing(self, box: Sandbox, link: str) -> None:
        """Once complete there is nothing to do and no network, whatever the user did to the files."""
        assert not is_complete(link, "data")
        sync(link, "data", once=True)
        asked(box)
        fill(Path("data"), {"a.txt": "mine"})
        result = sync(link, "data", once=True)
        assert is_complete(link, "data")
        assert (asked(box), result.status, sorted(result.unchanged)) == (0, "up-to-date", ["a.txt", "sub/b.csv"])
        assert Path("data/a.txt").read_text() == "mine"

    @pytest.mark.parametrize("dest", [None, "data", "./data", "proj"])
    def test_it_knows_where_it_went(self, box: Sandbox, link: str, dest: str | None) -> None:
        """Also without DEST: the folder that the server named is found without asking the server."""
        sync(link, dest, once=True)
        asked(box)
        assert sync(link, dest, once=True).status == "up-to-date"
        assert asked(box) == 0

    def test_no_file_is_replaced(self, link: str) -> None:
        """A file that stands in a member's place stays, the rest comes."""
        fill(Path("data"), {"a.txt": "mine", "empty": "a file"})
        result = sync(link, "data", once=True)
        assert (result.added, result.unchanged, result.backed_up) == (["sub/b.csv"], ["a.txt"], [])
        assert tree("data") == {"a.txt": "mine", "empty": "a file", "sub/": "", "sub/b.csv": "b" * 5000}

    def test_an_interrupted_first_run_is_finished(self, box: Sandbox, link: str) -> None:
        """A connection that breaks leaves nothing that could be taken for done."""
        box.fail(link, cut_after=200)
        with pytest.raises(TransferError):
            sync(link, "data", once=True)
        assert os.listdir() == []
        box.heal(link)
        assert len(sync(link, "data", once=True).added) == 2

    def test_a_member_that_is_missing_is_fetched(self, link: str) -> None:
        """Complete means that every member is there."""
        sync(link, "data", once=True)
        Path("data/a.txt").unlink()
        assert sync(link, "data", once=True).added == ["a.txt"]

    def test_another_selection_is_another_dataset(self, link: str) -> None:
        """What was complete for some members is not complete for more."""
        sync(link, "data", once=True, include=["*.csv"])
        assert sync(link, "data", once=True).added == ["a.txt"]
        assert sync(link, "data", once=True, force=True).status == "up-to-date"

    def test_a_folder_in_a_dest_is_no_dest(self, link: str) -> None:
        """That the link lies complete in a folder says nothing of one below it."""
        sync(link, ".", once=True)
        assert sync(link, "data", once=True).status == "synced"
        assert tree("data") == WHOLE

    def test_an_update_counts(self, box: Sandbox, link: str) -> None:
        """A complete sync of any kind leaves nothing for --once to do."""
        sync(link, "data")
        asked(box)
        assert sync(link, "data", once=True).status == "up-to-date"
        assert asked(box) == 0


class TestSelection:
    @pytest.mark.parametrize(
        ("options", "taken"),
        [
            ({"include": ["*.csv"]}, ["sub/b.csv"]),
            ({"include": ["sub"]}, ["sub/b.csv"]),
            ({"include": ["sub/*"]}, ["sub/b.csv"]),
            ({"include": ["/a.txt", "./sub/**"]}, ["a.txt", "sub/b.csv"]),
            ({"include": ["*.txt"], "exclude": ["a*"]}, []),
            ({"exclude": ["sub/"]}, ["a.txt"]),
            ({"exclude": ["[z-a]", "[!a].txt"]}, ["a.txt", "sub/b.csv"]),
        ],
    )
    def test_globs_choose_members(self, link: str, options: dict[str, list[str]], taken: list[str]) -> None:
        """As in .gitignore; a glob that makes no sense stands for itself."""
        assert sorted(sync(link, "data", **options).added) == taken


class TestDryRun:
    @pytest.mark.parametrize("options", [{}, {"mirror": True}, {"once": True}, {"force": True}])
    def test_it_says_what_would_happen_and_changes_nothing(
        self, proj: Path, link: str, options: dict[str, bool]
    ) -> None:
        """Neither a new DEST nor an old one is touched, and the plan is what then happens."""
        planned = sync(link, "data", dry_run=True, **options)
        assert (sorted(planned.added), planned.status) == (["a.txt", "sub/b.csv"], "planned")
        assert os.listdir() == []
        sync(link, "data")
        fill(Path("data"), {"sub/b.csv": "mine"})
        fill(proj, {"sub/b.csv": "theirs", "new.txt": "new"})
        (proj / "a.txt").unlink()
        before = {path: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in Path().rglob("*")}
        planned = sync(link, "data", dry_run=True, **options)
        assert {path: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in Path().rglob("*")} == before
        done = sync(link, "data", **options)
        for name in ("added", "updated", "unchanged", "removed", "backed_up"):
            assert getattr(planned, name) == getattr(done, name)


class TestFiles:
    def test_a_file_link_is_a_file(self, box: Sandbox) -> None:
        """DEST is the file, or a folder for it; by default the server's name in the working folder."""
        link = box.file_link("my data.csv", b"1,2\n")
        Path("there").mkdir()
        for dest, path in (
            (None, "my data.csv"),
            ("x.csv", "x.csv"),
            ("there", "there/my data.csv"),
            ("new/", "new/my data.csv"),
        ):
            result = sync(link, dest)
            assert (os.fspath(result), len(result.added)) == (path, 1)
            assert Path(path).read_bytes() == b"1,2\n"
            assert sync(link, dest, once=True).status == "up-to-date"

    def test_a_file_is_updated_and_kept(self, box: Sandbox) -> None:
        """As in a folder: replaced when it differs, with a backup when the user changed it."""
        link = box.file_link("d.bin", b"1")
        sync(link, "d.bin")
        assert sync(link, "d.bin").status == "up-to-date"
        box.file_link("d.bin", b"22")
        assert sync(link, "d.bin").updated == ["d.bin"]
        Path("d.bin").write_bytes(b"mine")
        result = sync(link, "d.bin")
        assert (result.updated, result.backed_up) == (["d.bin"], ["d.bin"])
        assert Path(BACKUP, "d.bin").read_bytes() == b"mine"

    def test_an_item_in_a_folder_link(self, box: Sandbox, proj: Path) -> None:
        """A path behind a folder link is a file or a folder, as the server says."""
        whole = box.folder_link(proj)
        item = whole.replace("?", "/sub/b.csv?")
        folder = whole.replace("?", "/sub?")
        assert os.fspath(sync(item)) == "b.csv"
        assert os.fspath(sync(item, "c.csv")) == "c.csv"
        assert os.fspath(sync(folder)) == "sub"
        assert tree("sub") == {"b.csv": "b" * 5000}
        assert Path("c.csv").read_text() == "b" * 5000

    @pytest.mark.parametrize("style", ["scl", "h", "sh"])
    def test_every_form_of_folder_link(self, box: Sandbox, proj: Path, style: str) -> None:
        """The older form is redirected to the present one; both arrive."""
        sync(box.folder_link(proj, style=style), "data")  # type: ignore[arg-type]
        assert tree("data") == WHOLE

    def test_a_redirector_is_its_link(self, box: Sandbox, link: str) -> None:
        """Also for --once: what it led to the first time need not be asked again."""
        short = box.redirector(link, absolute=True)
        sync(short, "data", once=True)
        asked(box)
        assert sync(short, "data", once=True).status == "up-to-date"
        assert asked(box) == 0

    def test_any_address_of_a_file_or_a_zip(self) -> None:
        """A zip elsewhere is unpacked, unless DEST says that it is wanted as a file; other files are files."""
        zipped, plain = zip_of(Entry(b"top/a.txt", b"a")), b"1,2\n"
        answers = [Answer(200, zipped), Answer(200, zipped), Answer(200, zipped), Answer(200, plain)]
        with serving([*answers, Answer(200, plain)]) as (base, _):
            assert os.fspath(sync(f"{base}/some/data.zip?sig=x")) == "data"
            sync(f"{base}/some/data.zip", "copy.zip")
            sync(f"{base}/t.csv", "t.csv")
        assert tree("data") == {"top/": "", "top/a.txt": "a"}
        assert Path("copy.zip").read_bytes() == zipped

    def test_a_secret_names_the_link(self, box: Sandbox, link: str) -> None:
        """secret:NAME is read where secrets are; the link it holds is masked from then on."""
        box.add_secret("DATASET_LINK", link)
        sync("secret:DATASET_LINK", "data")
        assert tree("data") == WHOLE
        assert masking.redact(f"<{link}>") == f"<{masking.MASK}>"

    def test_no_server_can_choose_another_place(self, box: Sandbox) -> None:
        """A name with folders in it is a name without them, and the one of our state is refused."""
        for given, made in (
            ("../../evil.txt", "evil.txt"),
            ("..%5cevil2.txt", "evil2.txt"),
            ('we"ird\n.txt', 'we"ird_.txt'),
        ):
            quoted = given.replace('"', "%22").replace("\n", "%0A")
            head = {"Content-Disposition": f"attachment; filename*=UTF-8''{quoted}"}
            with serving(Answer(200, b"x", head)) as (base, _):
                assert os.fspath(sync(f"{base}/file")) == made
        ours = Answer(200, b"x", {"Content-Disposition": "attachment; filename=.colab_magics"})
        with serving(ours) as (base, _), pytest.raises(LayoutError, match="give DEST another name"):
            sync(f"{base}/file")
        zipped = zip_of(Entry(b"a", b"a"))
        with serving(Answer(200, zipped, {"Content-Disposition": "attachment; filename=...zip"})) as (base, _):
            assert os.fspath(sync(f"{base}/file.zip")) == "download"
        assert not Path("../evil").exists()

    def test_a_digest_is_checked(self, box: Sandbox) -> None:
        """--sha256: the right one passes, a wrong one writes nothing, a folder has none."""
        link = box.file_link("d.bin", b"data")
        right = "3A6EB0790F39AC87C94F3856B2DD2C5D110E6811602261A9A923D3BB23ADC8B7"
        with pytest.raises(ArchiveError, match="nothing was written: check the digest"):
            sync(link, "d.bin", sha256="0" * 64)
        assert os.listdir() == []
        assert sync(link, "d.bin", sha256=right, once=True).added == ["d.bin"]
        assert is_complete(link, "d.bin", sha256=right)
        with pytest.raises(ArchiveError, match="64 hexadecimal digits"):
            sync(link, "d.bin", sha256="abc")
        with pytest.raises(LinkError, match="--sha256 is for a link to one file"):
            sync(box.folder_link(box.folder("f")), "f", sha256=right)

    def test_a_password_is_a_secret(self, box: Sandbox, proj: Path) -> None:
        """Named, it opens the link; typed, it is refused and not repeated; missing, the error says how to give it."""
        link = box.folder_link(proj, password="open-sesame-3")
        box.add_secret("PW", "open-sesame-3")
        with pytest.raises(LinkError, match="--password secret:NAME"):
            sync(link, "data")
        with pytest.raises(TokenError, match="secret:NAME") as caught:
            sync(link, "data", password="open-sesame-3")
        assert "open-sesame-3" not in str(caught.value)
        sync(link, "data", password="secret:PW")
        assert tree("data") == WHOLE


class TestUnpack:
    @pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
    def test_an_archive_behind_a_file_link(self, box: Sandbox, suffix: str) -> None:
        """It is unpacked into DEST, by default a folder of its name without what makes it an archive."""
        link = box.file_link(f"set.{suffix}", archive(suffix, {"a.txt": b"a", "sub/b.txt": b"b"}))
        assert os.fspath(sync(link, unpack=True)) == "set"
        assert tree("set") == {"a.txt": "a", "sub/": "", "sub/b.txt": "b"}
        assert sync(link, unpack=True).status == "up-to-date"
        assert sync(link, unpack=True, once=True).status == "up-to-date"
        box.file_link(f"set.{suffix}", archive(suffix, {"a.txt": b"A!", "sub/b.txt": b"b"}))
        assert sync(link, unpack=True).updated == ["a.txt"]

    def test_what_is_no_archive(self, box: Sandbox) -> None:
        """The error says what can be unpacked, and nothing is left."""
        link = box.file_link("set.zip", b"no zip at all" * 99)
        with pytest.raises(ArchiveError, match=r"zip, tar, tar\.gz"):
            sync(link, unpack=True)
        assert os.listdir() == []


def archive(suffix: str, files: dict[str, bytes]) -> bytes:
    if suffix == "zip":
        return zip_of(*(Entry(name.encode(), data) for name, data in files.items()))
    if suffix == "tar.zst":
        zstandard = pytest.importorskip("zstandard")
        packed: bytes = zstandard.ZstdCompressor().compress(tar_of(*files.items()))
        return packed
    return tar_of(*files.items(), packed=suffix.removeprefix("tar").removeprefix("."))


BAD = {
    "outside": zip_of(Entry(b"a.txt", b"new"), Entry(b"../evil", b"x")),
    "crc": zip_of(Entry(b"a.txt", b"new"), Entry(b"sub/b.csv", b"x", crc=7)),
    "cut": zip_of(Entry(b"a.txt", b"new" * 999), Entry(b"sub/b.csv", b"x"))[:-40],
    "headless": zip_of(Entry(b"a.txt", b"new"), Entry(b"sub/b.csv", b"x"), directory=False),
    "escape": zip_of(Entry(b"l", b"..", mode=stat.S_IFLNK | 0o777), Entry(b"l/x", b"x")),
    "device": zip_of(Entry(b"a.txt", b"new"), Entry(b"dev", mode=stat.S_IFBLK | 0o666)),
    "locked": zip_of(Entry(b"a.txt", b"new"), Entry(b"x", b"x", flags=0x801)),
    "disagrees": zip_of(Entry(b"a.txt", b"new", local_name=b"b.txt")),
    "no zip": b"PK\x03\x04 and then something else",
    "tar": tar_of(("a.txt", b"new")),
}


class TestWhatGoesWrong:
    @pytest.mark.parametrize("kind", BAD)
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_bad_archive_changes_nothing(self, box: Sandbox, proj: Path, link: str, kind: str, exists: bool) -> None:
        """Whatever is wrong with it: DEST is as it was, the error names the link or the member, without the key."""
        if exists:
            sync(link, "data")
        before = tree(".")
        box.fail(link, body=BAD[kind])
        with pytest.raises(ArchiveError) as caught:
            sync(link, "data")
        assert tree(".") == before
        assert key_of(link) not in str(caught.value)
        assert not Path("../evil").exists()
        box.heal(link)
        assert tree(sync(link, "data")) == WHOLE

    @pytest.mark.parametrize(
        "failure",
        [
            {"page": "gone"},
            {"page": "restricted"},
            {"page": "traffic"},
            {"page": "too-large"},
            {"page": "too-many-files"},
            {"page": "login"},
            {"status": 410},
            {"status": 500},
            {"status": 503, "retry_after": 999},
            {"status": 429, "retry_after": 0},
            {"cut_after": 0},
            {"cut_after": 150},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_failed_download_changes_nothing(
        self, box: Sandbox, link: str, failure: dict[str, object], exists: bool
    ) -> None:
        """DEST is as it was, nothing is left beside it, and the next run works."""
        if exists:
            sync(link, "deep/data")
        before = tree(".")
        box.fail(link, **failure)  # type: ignore[arg-type]
        with pytest.raises(ColabMagicsError) as caught:
            sync(link, "deep/data")
        assert tree(".") == before
        assert key_of(link) not in str(caught.value) + repr(caught.value)
        box.heal(link)
        assert tree(sync(link, "deep/data")) == WHOLE

    def test_nothing_of_the_key_stays_anywhere(self, box: Sandbox, link: str) -> None:
        """Neither the manifest, nor the result, nor any file in DEST or the caches holds what grants access."""
        result = sync(link, "data")
        key = key_of(link)
        for path in [*Path().rglob("*"), *Path.home().rglob("*")]:
            assert key not in str(path)
            assert not path.is_file() or key.encode() not in path.read_bytes()
        assert key not in repr(result) + str(vars(result)) + "".join(result.changes())

    def test_a_token_typed_as_a_link_is_refused(self) -> None:
        """And not repeated."""
        token = "ghp_" + "a1B2" * 9
        with pytest.raises(TokenError, match="revoke") as caught:
            sync(token, "data")
        assert token not in str(caught.value)


def test_the_results_line_says_what_happened(link: str, proj: Path) -> None:
    """One line with the counts; the result can be used as a path."""
    assert repr(sync(link, "data")).startswith("data: 2 added (")
    fill(proj, {"a.txt": "A!"})
    result = sync(link, "data")
    assert repr(result).startswith("data: 1 updated, 1 unchanged (")
    assert (Path(result) / "a.txt").read_text() == "A!"
    assert isinstance(result, SyncResult)
    assert result.seconds < time.monotonic()
