"""Mirror, once, dry run and selections, over real HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import BACKUP, WHOLE, asked, fill, tree

from colab_magics.core.syncing.sync import is_complete, sync
from colab_magics.errors import TransferError
from colab_magics.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("impatient")


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
