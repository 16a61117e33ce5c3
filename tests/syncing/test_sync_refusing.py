"""Places that refuse: what can be kept is kept, one warning says what could not, and nothing is done twice."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from refusing import mounted
from servers import Answer, serving

from colab_magics.core import sync
from colab_magics.core.common.progress import Silent
from colab_magics.core.common.results import SyncResult
from colab_magics.sandbox import Sandbox

Fetch = Callable[..., SyncResult]
EVERYTHING = ("chmod=EPERM", "utimens=ENOSYS", "symlink=ENOTSUP", "rename_folder=EPERM")


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def shared(box: Sandbox) -> Path:
    """A folder with a program, a symlink, folders, and times in odd and even seconds."""
    folder = box.folder("proj")
    (folder / "sub").mkdir()
    for number, name in enumerate(["a.txt", "b.txt", "sub/c.txt", "run.sh"]):
        (folder / name).write_text(name * 100)
        os.utime(folder / name, (1_700_000_000 + number, 1_700_000_000 + number))
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("a.txt")
    return folder


def zipped(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(folder.rglob("*")):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            info.external_attr = path.lstat().st_mode << 16
            if not path.is_dir():
                archive.writestr(info, os.readlink(path) if path.is_symlink() else path.read_bytes())
    return made.getvalue()


@pytest.fixture(params=["zip", "tar"])
def fetch(request: pytest.FixtureRequest, box: Sandbox, shared: Path) -> Iterator[Fetch]:
    """A sync of it: from a zip that is unpacked as it arrives, or from a tar."""
    if request.param == "zip":
        with serving(Answer(200, zipped(shared))) as (base, _):
            yield partial(sync, f"{base}/proj.zip")
        return
    archive = box.folder("files") / "proj.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(shared.iterdir()):
            tar.add(path, path.name)
    yield partial(sync, box.file_link(archive), unpack=True)


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".colab_magics" not in path.parts)
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: ((folder / name).stat().st_mtime_ns, (folder / name).stat().st_ino) for name in files(folder)}


@pytest.fixture
def everything_refused(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", *EVERYTHING) as place:
        yield place


def test_all_arrives_where_nothing_but_content_is_kept(fetch: Fetch, shared: Path, everything_refused: Path) -> None:
    """One warning names times, rights and the symlink; folders that cannot be renamed are made a file at a time."""
    dest, said = everything_refused / "proj", Said()
    result = fetch(dest, progress=said)
    assert files(dest) == {name: text for name, text in files(shared).items() if name != "link"}
    assert sorted(result.added) == ["a.txt", "b.txt", "run.sh", "sub/c.txt"]
    lost = "does not keep times, rights and 1 symlink (link); everything else is there"
    assert said.lines == [f"the file system of {str(dest)!r} {lost}"]
    assert [path.name for path in everything_refused.iterdir()] == ["proj"]
    assert sorted(os.listdir(dest / ".colab_magics")) == ["manifest.json"]


def test_a_second_run_there_changes_nothing(fetch: Fetch, everything_refused: Path) -> None:
    """A time that was not kept and a symlink that is not there are no reason to write or back up anything."""
    dest = everything_refused / "proj"
    fetch(dest)
    before = stamps(dest)
    for options in ({}, {"mirror": True}, {"once": True}):
        result = fetch(dest, **options)
        assert (result.status, result.backed_up) == ("up-to-date", [])
    assert stamps(dest) == before


@pytest.mark.parametrize(
    "refusals",
    [
        ("chmod=EACCES", "utimens=EACCES", "symlink=EACCES", "rename_folder=EACCES"),
        ("symlink=EROFS", "rename_folder=EBUSY"),
        ("symlink=ENOSYS", "rename_folder=ENOTEMPTY"),
    ],
)
def test_however_it_is_refused(fetch: Fetch, shared: Path, tmp_path: Path, refusals: tuple[str, ...]) -> None:
    """As SMB, shared folders of virtual machines and object stores say it."""
    with mounted(tmp_path / "disk", *refusals) as place:
        fetch(place / "proj")
        assert files(place / "proj") == {name: text for name, text in files(shared).items() if name != "link"}
        assert fetch(place / "proj").status == "up-to-date"


def test_a_users_folder_in_the_way_is_backed_up_there(fetch: Fetch, everything_refused: Path) -> None:
    """Where folders cannot be renamed, their files are moved."""
    dest = everything_refused / "proj"
    (dest / "a.txt" / "deep").mkdir(parents=True)
    (dest / "a.txt" / "deep" / "mine.txt").write_text("mine")
    assert fetch(dest).backed_up == ["a.txt"]
    assert (dest / ".colab_magics/backup/a.txt/deep/mine.txt").read_text() == "mine"
    assert (dest / "a.txt").read_text() == "a.txt" * 100


def test_times_in_steps_of_two_seconds_are_no_changes(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk made of a time is what is remembered, also when the first file's needed no rounding."""
    with mounted(tmp_path / "disk", "coarse") as place:
        fetch(place / "proj")
        read: list[str] = []
        monkeypatch.setattr("colab_magics.core.syncing.disktree.DiskTree.crc", lambda _, name: read.append(name))
        assert fetch(place / "proj").status == "up-to-date"
        assert read == []
