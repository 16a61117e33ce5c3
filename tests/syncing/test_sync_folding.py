"""A disk that does not tell upper from lower case, as those of Windows and macOS do not: here a real exFAT."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Answer, serving
from zips import Entry, zip_of

from colab_magics.core.common.progress import Silent
from colab_magics.core.syncing.sync import sync
from colab_magics.errors import ArchiveError
from colab_magics.sandbox import Sandbox

PROGRAMS = ("mkfs.exfat", "mount.exfat-fuse", "losetup", "umount")


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """Mount such a disk, where that can be had."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = {program: shutil.which(program, path=path) for program in PROGRAMS}
    missing = [program for program, place in found.items() if place is None]
    if missing or os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip(f"mounting an exFAT needs root, /dev/fuse and {', '.join(missing or PROGRAMS)}")
    with tempfile.TemporaryDirectory() as folder:
        image, place = f"{folder}/image", Path(folder, "disk")
        place.mkdir()
        Path(image).write_bytes(b"")
        os.truncate(image, 32 << 20)
        subprocess.run([found["mkfs.exfat"], image], check=True, capture_output=True)  # type: ignore[list-item]
        done = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device can be had: {done.stderr.strip()}")
        device = done.stdout.strip()
        try:
            subprocess.run([found["mount.exfat-fuse"], device, place], check=True, capture_output=True)  # type: ignore[list-item]
            yield place
        finally:
            subprocess.run(["umount", place], check=False)
            subprocess.run(["losetup", "-d", device], check=False)


@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\n"], ids=["streamed", "from a file"])
def test_two_members_that_are_one_file_there(disk: Path, prefix: bytes) -> None:
    """Neither is written over the other: one line says which, and nothing is left."""
    data = zip_of(Entry(b"A.txt", b"upper"), Entry(b"a.txt", b"lower"), prefix=prefix)
    with (
        serving(Answer(200, data)) as (base, _),
        pytest.raises(ArchiveError, match=r"'a\.txt' has the name of another"),
    ):
        sync(f"{base}/x.zip", disk / "data")
    assert os.listdir(disk) == []


def test_what_changed_its_case_is_not_lost(disk: Path, box: Sandbox) -> None:
    """``--mirror`` does not remove the old name, which is the new one too; content and backups are as elsewhere."""
    folder = box.folder("data")
    (folder / "Readme.md").write_text("one")
    link = box.folder_link(folder)
    dest = disk / "proj"
    sync(link, dest)
    (folder / "Readme.md").rename(folder / "README.md")
    result = sync(link, dest, mirror=True)
    assert (result.removed, result.backed_up) == ([], [])
    assert (dest / "README.md").read_text() == "one"
    shutil.rmtree(dest)


def test_a_symlink_that_cannot_be_there_is_named_and_the_rest_arrives(disk: Path, box: Sandbox) -> None:
    """Once more changes nothing: the disk's own steps of time and the missing symlink are no reason to."""
    archive = box.folder("files") / "data.tar"
    with tarfile.open(archive, "w") as tar:
        for number, name in enumerate(["Read me.txt", "sub/b.csv"]):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = 3, 1_700_000_000 + number, 0o755
            tar.addfile(info, io.BytesIO(b"abc"))
        info = tarfile.TarInfo("latest")
        info.type, info.linkname = tarfile.SYMTYPE, "sub/b.csv"
        tar.addfile(info)
    said: list[str] = []

    class Said(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    dest, link = disk / "linked", box.file_link(archive)
    result = sync(link, dest, unpack=True, progress=Said())
    assert sorted(result.added) == ["Read me.txt", "sub/b.csv"]
    assert len(said) == 1
    assert "1 symlink (latest); everything else is there" in said[0]
    assert (dest / "sub/b.csv").read_bytes() == b"abc"
    for options in ({}, {"mirror": True}, {"once": True}, {"force": True}):
        again = sync(link, dest, unpack=True, **options)
        assert (again.status, again.backed_up) == ("up-to-date", [])
    shutil.rmtree(dest)
