"""What a sync leaves in DEST, and how an unfinished one is completed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colab_magics.core.common import disk
from colab_magics.core.common.files import FOLDER, write_whole
from colab_magics.core.common.mutex import locked
from colab_magics.core.syncing import journal
from colab_magics.core.syncing.journal import Journal, places_for, recover
from colab_magics.core.syncing.manifest import Manifest, Record, join_names, work_path
from colab_magics.errors import LayoutError, TransferError

# A tar's names need not be UTF-8: surrogates are among them.
parts = st.text(min_size=1, max_size=9).map(lambda part: part.replace("/", "_"))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
origins = st.sampled_from(["folder", "file", "found"])
records = st.builds(Record, st.integers(0, 2**60), st.integers(0, 2**62), st.integers(0, 2**32 - 1), origins)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(paths, records), st.lists(paths), st.lists(paths))
def test_a_manifest_comes_back_as_it_was(
    tmp_path: Path, files: dict[str, Record], folders: list[str], members: list[str]
) -> None:
    """Whatever the names are; of the links alone, too."""
    manifest = Manifest(files, folders, {"x": {"members": join_names(members), "include": ["*"]}})
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert Manifest.load(tmp_path).members("x") == Manifest.load_links(tmp_path).members("x") == members
    assert Manifest.load_links(tmp_path).links == manifest.links


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 99}', '{"version": 1, "files": {"a": 3}}', "\udcff"]
)
def test_an_unreadable_manifest_is_an_empty_one(tmp_path: Path, text: str) -> None:
    """The worst that can follow is more work."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert Manifest.load(tmp_path) == Manifest()
    assert Manifest.load(tmp_path / "nowhere") == Manifest()


def test_a_file_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old content and nothing beside it."""
    write_whole(tmp_path / "x" / "f", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "x" / "f", b"new")
    assert [path.read_bytes() for path in (tmp_path / "x").iterdir()] == [b"old"]


def staged(dest: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        place = work_path(dest) / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def test_what_a_run_had_begun_to_move_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies after its journal stood is completed by the next, with no network."""
    dest = tmp_path / "data"
    (dest / "sub").mkdir(parents=True)
    (dest / "old").write_text("old")
    status = (dest / "old").stat()
    staged(dest, {"a": "1", "sub/b": "2"})

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_replay", die)
        with pytest.raises(KeyboardInterrupt):
            Journal(
                removals=[("old", Record(3, status.st_mtime_ns, 0))],
                folders=["empty"],
                moves=[("a", None), ("sub/b", None)],
                manifest=Manifest(folders=["empty"]),
            ).commit(dest)
    assert journal.is_pending(dest)
    assert recover(dest)
    assert sorted(path.relative_to(dest).as_posix() for path in dest.rglob("*") if FOLDER not in path.parts) == [
        "a",
        "empty",
        "sub",
        "sub/b",
    ]
    assert Manifest.load(dest).folders == ["empty"]
    assert os.listdir(dest / FOLDER) == ["manifest.json"]
    assert not recover(dest)


def test_what_the_user_did_meanwhile_is_kept(tmp_path: Path) -> None:
    """Between decision and move a file may appear, change, or become a symlink: it is never lost."""
    dest = tmp_path / "data"
    dest.mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    staged(dest, {"new": "theirs", "changed": "theirs", "same": "theirs", "linked": "theirs"})
    (dest / "new").write_text("mine")
    (dest / "changed").write_text("mine")
    (dest / "same").write_text("theirs before")
    (dest / "linked").symlink_to(tmp_path / "elsewhere")
    status = (dest / "same").stat()
    Journal(
        moves=[("new", None), ("changed", (1, 1)), ("same", (status.st_size, status.st_mtime_ns)), ("linked", None)]
    ).commit(dest)
    assert {name: (dest / name).read_text() for name in ("new", "changed", "same", "linked")} == {
        "new": "theirs",
        "changed": "theirs",
        "same": "theirs",
        "linked": "mine",
    }
    backup = dest / journal.BACKUP
    assert {path.name: path.read_text() for path in backup.iterdir()} == {"new": "mine", "changed": "mine"}


@pytest.mark.parametrize(
    "steps",
    [
        "nonsense",
        "[]",
        "{}",
        '{"removals": [], "backups": [["a", "../../x"]], "drops": [], "folders": [], "moves": []}',
        '{"removals": [], "backups": [], "drops": [], "folders": ["/tmp/x"], "moves": []}',
        '{"removals": [["../x", 1, 1]], "backups": [], "drops": [], "folders": [], "moves": []}',
    ],
)
def test_a_journal_that_is_not_ours_is_no_order(tmp_path: Path, steps: str) -> None:
    """One that came with a folder from elsewhere moves nothing, least of all outside DEST; it is cleared."""
    dest = tmp_path / "data"
    (dest / FOLDER).mkdir(parents=True)
    (dest / "a").write_text("a")
    (tmp_path / "x").write_text("x")
    (dest / FOLDER / "journal.json").write_text(steps)
    assert not recover(dest)
    assert (dest / "a").read_text() + (tmp_path / "x").read_text() == "ax"
    assert not journal.is_pending(dest)


def test_no_backup_takes_the_place_of_another(tmp_path: Path) -> None:
    """Numbers as `cp` gives them, also among those of one sync."""
    (tmp_path / journal.BACKUP).mkdir(parents=True)
    (tmp_path / journal.BACKUP / "x").touch()
    places = [place for _, place in places_for(tmp_path, ["x", "x.~1~", "x/y", "z"])]
    assert places == [
        f"{journal.BACKUP}/x.~1~",
        f"{journal.BACKUP}/x.~1~.~1~",
        f"{journal.BACKUP}/x.~1~/y",
        f"{journal.BACKUP}/z",
    ]


def test_a_lock_is_one_threads_at_a_time(tmp_path: Path) -> None:
    """Whichever way DEST is spelled; the second is told that it waited."""
    (tmp_path / "data").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "data")
    waited: list[bool] = []

    def second() -> None:
        with locked(tmp_path / "same") as had_to_wait:
            waited.append(had_to_wait)

    with locked(tmp_path / "data") as had_to_wait:
        assert not had_to_wait
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        assert waited == []
    thread.join(timeout=30)
    assert waited in ([True], [False])  # False where that thread came to it only after the first had ended


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        ("ENOSPC", TransferError, "is full .* free some room"),
        ("EDQUOT", TransferError, "is full"),
        ("EFBIG", TransferError, "no file as large"),
        ("EACCES", TransferError, "choose another place, or change its rights"),
        ("EROFS", TransferError, "choose another place"),
        ("ENAMETOOLONG", TransferError, "choose a shorter place"),
        ("ENOTDIR", LayoutError, "move it away"),
        ("EIO", TransferError, "run it again"),
    ],
)
def test_a_disks_refusal_is_one_line_that_says_what_to_do(
    tmp_path: Path, number: str, kind: type[Exception], words: str
) -> None:
    """Each with the place, as the user gave it."""
    code = getattr(disk.errno, number)
    with pytest.raises(kind, match=words) as caught, disk.disk_errors(tmp_path, "my data"):
        raise OSError(code, os.strerror(code), "/some/path")
    assert "'my data'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_fit_is_refused_ahead(tmp_path: Path) -> None:
    """With what it needs and what there is."""
    disk.check_room(tmp_path / "a" / "b", 1, "data")
    with pytest.raises(TransferError, match=r"'data' needs 1000\.0 TB and its disk has .* left; free some room"):
        disk.check_room(tmp_path, 10**15, "data")


def test_a_disk_without_room_to_spare_is_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that 262 kB do not fit into 1.2 MB."""
    monkeypatch.setattr(disk, "_free", lambda _: 1_200_000)
    with pytest.raises(TransferError, match=r"the disk of 'data' is full \(1\.2 MB left\); free some room"):
        disk.check_room(tmp_path, 262_144, "data")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (8_100_000, "8.1 MB"), (123_456_789, "123 MB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    """Three digits at most, in powers of 1000."""
    assert disk.size_text(size) == text
