"""Archives of every kind, good and bad."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zips import Entry, tar_of, zip_of

from colab_magics import sandbox
from colab_magics.core.archives.members import Archive, Everything, Member, Target, safe_name
from colab_magics.core.archives.opening import unpack
from colab_magics.core.common.disk import Budget
from colab_magics.errors import ArchiveError
from colab_magics.sandbox.zipformat import folder_zip


def opened(path: Path, **options: Any) -> Archive:
    """Unpack an archive into ``tree`` beside it."""
    options = {"choice": Everything(), "budget": Budget(path.parent, "data"), **options}
    return unpack(path, Target(path.parent / "tree", **options))


def read(path: Path, **options: Any) -> dict[str, bytes | str | None]:
    """Return an archive's members: a file's content, a symlink's target, None for a folder."""
    archive = opened(path, **options)
    archive.materialise({member.name for member in archive.members if member.kind != "folder"})
    return {member.name: content(path.parent / "tree" / member.name, member) for member in archive.members}


def content(place: Path, member: Member) -> bytes | str | None:
    if member.kind == "file":
        data = place.read_bytes()
        assert (len(data), zlib.crc32(data)) == (member.size, member.crc)
        return data
    if member.kind == "link":
        assert os.readlink(place) == member.target
    return member.target


def put(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", ["deflate", "stored"])
@pytest.mark.parametrize("signature", [True, False])
def test_dropboxs_own_zip(tmp_path: Path, method: str, signature: bool) -> None:
    """The `/` entry is nothing, folders come last and count when empty, mode 0744 makes nothing executable."""
    folder = tmp_path / "folder"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "deep" / "ü.bin").write_bytes(bytes(range(256)) * 999)
    path = put(tmp_path, b"".join(folder_zip(folder, method=method, signature=signature)))  # type: ignore[arg-type]
    assert read(path) == {
        "a.txt": b"a",
        "sub/deep/ü.bin": bytes(range(256)) * 999,
        "sub/deep": None,
        "sub": None,
        "empty": None,
    }
    archive = opened(path)
    assert not any(member.executable for member in archive.members)


@pytest.mark.parametrize("packed", ["", "gz", "bz2", "xz"])
def test_tars_of_every_compression(tmp_path: Path, packed: str) -> None:
    """A tar is a tar, however it is compressed and whatever it is called."""
    path = put(tmp_path, tar_of(("d", None), ("d/a", b"a" * 70_000), ("l", "d/a"), ("./b", b""), packed=packed))
    assert read(path) == {"d": None, "d/a": b"a" * 70_000, "l": "d/a", "b": b""}


def test_a_tar_compressed_with_zstd(tmp_path: Path) -> None:
    """With the package zstandard (or Python 3.14) a tar.zst of several frames is read too."""
    zstandard = pytest.importorskip("zstandard")
    plain = tar_of(("a", b"a" * 70_000), ("b", b"b"))
    pack = zstandard.ZstdCompressor().compress
    path = put(tmp_path, pack(plain[:30_000]) + pack(plain[30_000:]))
    assert read(path) == {"a": b"a" * 70_000, "b": b"b"}
    with pytest.raises(ArchiveError, match="not a whole archive"):
        read(put(tmp_path, pack(plain)[:-20]))


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    """What a file begins with decides: the last member of a tar can well be a zip."""
    inner = zip_of(Entry(b"x", b"x"))
    assert read(put(tmp_path, tar_of(("inner.zip", inner)))) == {"inner.zip": inner}


def test_hard_links_become_files(tmp_path: Path) -> None:
    """A hard link, and one to a hard link, has the content of what it shares it with."""
    first, second = tarfile.TarInfo("b"), tarfile.TarInfo("c")
    first.type = second.type = tarfile.LNKTYPE
    first.linkname, second.linkname = "a", "b"
    assert read(put(tmp_path, tar_of(("a", b"abc"), first, second))) == {"a": b"abc", "b": b"abc", "c": b"abc"}
    first.linkname = "nowhere"
    with pytest.raises(ArchiveError, match="hard link to 'nowhere'"):
        read(put(tmp_path, tar_of(("a", b"abc"), first)))


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/passwd",
        "C:\\evil",
        "c:/evil",
        "..\\evil",
        "\\evil",
        "a/..",
        "..",
        "\\\\host\\x",
    ],
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_a_name_that_leads_outside_is_refused(tmp_path: Path, name: str, form: str) -> None:
    """Zip-slip of every kind is one error that names the member."""
    data = (
        zip_of(Entry(b"ok", b"1"), Entry(name.encode(), b"2")) if form == "zip" else tar_of(("ok", b"1"), (name, b"2"))
    )
    with pytest.raises(ArchiveError, match="outside the folder; nothing was written") as caught:
        read(put(tmp_path, data))
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a//b/./c", "a/b/c"),
        ("a\\b", "a/b"),
        ("./", None),
        ("/", None),
        ("//", None),
        ("a..b", "a..b"),
        ("C:x", "C:x"),
        ("ü/ ", "ü/ "),
    ],
)
def test_odd_but_harmless_names_are_taken(name: str, safe: str | None) -> None:
    """Doubled slashes, dots and backslashes become a plain path; the archive's own root is no member."""
    assert safe_name(name) == safe


def test_a_name_too_long_is_refused() -> None:
    """No file system in use has names of more than 255 bytes: the error says to rename it."""
    with pytest.raises(ArchiveError, match=r"longer than 255 bytes.*rename"):
        safe_name("d/" + "ü" * 128)
    with pytest.raises(ArchiveError, match="no file can have"):
        safe_name("a\0b")


@pytest.mark.parametrize(
    "target", ["/etc", "../..", "..", "d/../../x", "p/..", "d/../..", "", "../../../../x", "x/../../y"]
)
def test_a_symlink_that_may_lead_outside_is_refused(tmp_path: Path, target: str) -> None:
    """Also one whose `..` could climb through another symlink, which text alone cannot follow."""
    entries = Entry(b"p", b"d", mode=stat.S_IFLNK | 0o777), Entry(b"l", target.encode(), mode=stat.S_IFLNK | 0o777)
    with pytest.raises(ArchiveError, match="symlink 'l' points outside"):
        read(put(tmp_path, zip_of(*entries)))
    with pytest.raises(ArchiveError, match="symlink 'l' points outside"):
        read(put(tmp_path, tar_of(("p", "d"), ("l", target))))


@pytest.mark.parametrize("target", ["a", "./a", "d/a", "d//a", "."])
def test_a_symlink_that_stays_is_a_member(tmp_path: Path, target: str) -> None:
    """Symlinks within the archive are kept as such."""
    entry = Entry(b"l", target.encode(), mode=stat.S_IFLNK | 0o777)
    assert read(put(tmp_path, zip_of(entry))) == {"l": target}
    assert read(put(tmp_path, tar_of(("d/e/l", "../../a")))) == {"d/e/l": "../../a"}


@pytest.mark.parametrize("below", ["l/x", "l/y/z"])
def test_nothing_is_written_through_an_archives_symlink(tmp_path: Path, below: str) -> None:
    """A symlink and a file below it, the classic escape, do not go together; in either order."""
    link, file = Entry(b"l", b"d", mode=stat.S_IFLNK | 0o777), Entry(below.encode(), b"x")
    for entries in ((link, file), (file, link)):
        with pytest.raises(ArchiveError, match=f"'{below}' lies below 'l', which is a link"):
            read(put(tmp_path, zip_of(*entries)))
    with pytest.raises(ArchiveError, match="or lies below it"):
        read(put(tmp_path, tar_of(("l", b"file"), (below, b"x"))))


@pytest.mark.parametrize("kind", [stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: int) -> None:
    """Neither a zip's nor a tar's device is ever made."""
    with pytest.raises(ArchiveError, match="'dev' is a device"):
        read(put(tmp_path, zip_of(Entry(b"dev", mode=kind | 0o666))))
    info = tarfile.TarInfo("dev")
    info.type = {stat.S_IFBLK: tarfile.BLKTYPE, stat.S_IFCHR: tarfile.CHRTYPE}.get(kind, tarfile.FIFOTYPE)
    with pytest.raises(ArchiveError, match="'dev' is a device"):
        read(put(tmp_path, tar_of(info)))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(b"m", b"data", flags=0x801), "'m' is encrypted"),
        (Entry(b"m", b"data", crc=1), "'m' is damaged"),
        (Entry(b"m", b"data", size=3), "'m' is damaged"),
        (Entry(b"m", b"data", size=9), "'m' is (damaged|5 bytes short)"),
        (Entry(b"m", b"data", method=0, compressed=3), "'m' is (damaged|1 bytes short)"),
        (Entry(b"m", b"data" * 99, compressed=5), "'m' is (damaged|\\d+ bytes short)"),
        (Entry(b"m", b"data", local_name=b"n"), "'m' is damaged"),
        (Entry(b"m", b"data", method=99), "'m' cannot be unpacked here"),
        (Entry(b"m", b"not bzip2", method=12), "'m' is damaged"),
        (Entry(b"m", b"not lzma at all", method=14), "'m' is damaged"),
        (Entry(b"\xff\xfe", b"data"), "has a name that is not UTF-8, as it says"),
    ],
)
def test_a_bad_member_is_one_error(tmp_path: Path, entry: Entry, words: str) -> None:
    """Whatever is wrong with it, the error names the member, and no error of the library's comes through."""
    with pytest.raises(ArchiveError, match=words):
        read(put(tmp_path, zip_of(Entry(b"ok", b"1"), entry)))


def test_of_two_members_with_one_name_the_last_stays(tmp_path: Path) -> None:
    """As with `unzip -o` and with tar."""
    assert read(put(tmp_path, zip_of(Entry(b"a", b"1"), Entry(b"./a", b"2")))) == {"a": b"2"}
    assert read(put(tmp_path, tar_of(("a", b"1"), ("b", b""), ("a", b"2")))) == {"b": b"", "a": b"2"}


def test_a_prefix_a_comment_and_zip64_are_fine(tmp_path: Path) -> None:
    """What stands before and behind a zip does not matter, and neither do 64-bit sizes where none are needed."""
    entries = Entry(b"a", b"aaa", zip64=True), Entry(b"b", b"bbb", descriptor=None, method=0)
    assert read(put(tmp_path, zip_of(*entries, comment=b"hello"))) == {"a": b"aaa", "b": b"bbb"}
    assert read(put(tmp_path, zip_of(*entries, prefix=b"#!/bin/sh\nexit\n"))) == {"a": b"aaa", "b": b"bbb"}
    assert read(put(tmp_path, zip_of())) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"hello",
        b"PK\x03\x04" + bytes(100),
        zip_of(Entry(b"a", b"aaa"), directory=False),
        zip_of(Entry(b"a", b"aaa" * 999))[:-30],
        zip_of(Entry(b"a", b"aaa" * 999))[:40],
        b"\x1f\x8b" + bytes(50),
        b"BZh9" + bytes(50),
        b"\xfd7zXZ\x00" + bytes(50),
    ],
    ids=range(10),
)
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    """Cut, empty or something else: one error that says to fetch it again, or what can be unpacked."""
    with pytest.raises(ArchiveError, match="not a whole"):
        read(put(tmp_path, data))


@pytest.mark.parametrize("packed", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("cut", [1, 300, 9_800, 10_241, 11_000])
def test_a_tar_that_was_cut_is_refused(tmp_path: Path, packed: str, cut: int) -> None:
    """Also between two members, where a tar's own reader sees nothing wrong."""
    data = tar_of(("a", os.urandom(6_000)), ("b", b"b"), packed=packed)
    assert len(data) > 5_000
    keep = len(data) - cut
    if packed == "" and cut < 9_000:
        keep = 7_680 + cut - 1  # both members whole, and of the zeros that end a tar none, or too few
    if keep <= 0:
        keep = 700
    with pytest.raises(ArchiveError, match=r"not a whole archive|bytes short"):
        read(put(tmp_path, data[:keep]))


def test_a_damaged_tar_loses_no_member_in_silence(tmp_path: Path) -> None:
    """A header that cannot be read is not taken for the end."""
    data = bytearray(tar_of(("a", b"a" * 512), ("b", b"b"), ("c", b"c")))
    data[1024 + 3] ^= 0xFF
    with pytest.raises(ArchiveError, match="not a whole archive"):
        read(put(tmp_path, bytes(data)))


@pytest.mark.parametrize("mtime", [-1.0, 1e30, float("inf"), float("nan"), 253402300800.0])
def test_a_time_no_disk_can_hold_is_brought_into_range(tmp_path: Path, mtime: float) -> None:
    """A tar can claim any time; what comes out can be set on a file."""
    info = tarfile.TarInfo("a")
    info.pax_headers = {"mtime": str(mtime)}
    archive = opened(put(tmp_path, tar_of(info)))
    stamp = archive.members[0].mtime
    (tmp_path / "f").touch()
    os.utime(tmp_path / "f", ns=(int(stamp * 1e9),) * 2)


def test_times_come_from_the_archive(tmp_path: Path) -> None:
    """A DOS time is local time, as unzip reads it; the extended timestamp, where there is one, is exact."""
    exact = b"UT\x05\x00\x01" + (1_700_000_001).to_bytes(4, "little")
    path = put(tmp_path, zip_of(Entry(b"dos"), Entry(b"exact", extra=exact), Entry(b"none", date=0, time=0)))
    archive = opened(path)
    times = {member.name: member.mtime for member in archive.members}
    assert times["dos"] == time.mktime((2024, 5, 17, 12, 30, 0, 0, 0, -1))
    assert times["exact"] == 1_700_000_001
    assert 315_000_000 < times["none"] < 316_000_000


def test_rights_are_kept_where_the_archive_knows_them(tmp_path: Path) -> None:
    """Type bits say that a mode was meant; without them, as at Dropbox, it says nothing."""
    meant, unmeant = Entry(b"x", mode=stat.S_IFREG | 0o755), Entry(b"y", mode=0o755)
    archive = opened(put(tmp_path, zip_of(meant, unmeant)))
    assert [member.executable for member in archive.members] == [True, False]


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0:", exclude_categories=["Cs"]), min_size=1, max_size=8
)
files = st.dictionaries(
    st.lists(names.filter(lambda n: n not in {".", ".."} and len(n.encode()) < 99), min_size=1, max_size=3).map(
        "/".join
    ),
    st.binary(max_size=300),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(files, st.data())
def test_a_zip_of_anything_is_what_zipfile_reads(
    tmp_path: Path, members: dict[str, bytes], data: st.DataObject
) -> None:
    """Any mixture of methods and descriptors gives what Python's own reader gives."""
    parents = {name[: at + 1] for name in members for at, mark in enumerate(name) if mark == "/"}
    members = {name: content for name, content in members.items() if f"{name}/" not in parents}
    entries = [
        Entry(
            name.encode(),
            content,
            method=data.draw(st.sampled_from([0, 8])),
            descriptor=data.draw(st.sampled_from([None, "signed", "bare"])),
            zip64=data.draw(st.booleans()),
        )
        for name, content in members.items()
    ]
    path = put(tmp_path, zip_of(*entries))
    with zipfile.ZipFile(path) as oracle:
        assert read(path) == {name: oracle.read(name) for name in oracle.namelist()}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="the oracle of this test is the unzip program")
def test_the_sandboxs_zip_is_what_unzip_reads(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """The format under test is one that Info-ZIP takes, but for the entry of the root."""
    folder = box.folder("data")
    (folder / "a.csv").write_text("x\n" * 99)
    path = put(tmp_path, b"".join(folder_zip(folder)))
    subprocess.run(["unzip", "-q", str(path), "-x", "/", "-d", str(tmp_path / "out")], check=True)
    assert read(path) == {"a.csv": (tmp_path / "out" / "a.csv").read_bytes()}
