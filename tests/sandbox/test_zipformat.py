"""The folder zip: byte for byte what Dropbox writes, and readable by everybody else's readers."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from colab_magics.sandbox import zipformat
from colab_magics.sandbox.zipformat import Method, folder_zip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a nested file, an empty folder, an empty file and a name that is not ASCII."""
    root = tmp_path / "shared"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"hello " * 1000)
    (root / "none.bin").touch()
    (root / "sub" / "größe.csv").write_text("x\n1\n")
    (root / "sub" / "deep" / "z").write_bytes(bytes(range(256)))
    for path in [root, *root.rglob("*")]:
        os.utime(path, (0, time.mktime((2021, 5, 4, 13, 14, 16, 0, 0, -1))))
    return root


def whole(folder: Path, **options: object) -> bytes:
    return b"".join(folder_zip(folder, **options))  # type: ignore[arg-type]


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_first_entry_is_the_slash_in_exactly_dropboxs_bytes(folder: Path) -> None:
    """The archive begins with the local header, empty deflate stream and descriptor of ``/``."""
    when = (13 << 11 | 14 << 5 | 8, 41 << 9 | 5 << 5 | 4)
    expected = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0x0808, 8, *when, 0, 0, 0, 1, 0) + b"/"
    expected += b"\x03\x00" + struct.pack("<4s3L", b"PK\x07\x08", 0, 2, 0)
    assert whole(folder).startswith(expected)


def test_a_file_has_zeros_in_its_header_and_its_sizes_behind_it(folder: Path) -> None:
    """CRC and sizes stand only in the descriptor, with its signature, and in the central directory."""
    data = whole(folder)
    start = data.index(b"PK\x03\x04", 4)
    fields = struct.unpack_from("<4s5H3L2H", data, start)
    assert fields[1:4] == (20, 0x0808, 8)
    assert fields[6:] == (0, 0, 0, len("a.txt"), 0)
    packer = zlib.decompressobj(-15)
    begin = start + 30 + len("a.txt")
    assert packer.decompress(data[begin:]) == b"hello " * 1000
    end = len(data) - len(packer.unused_data)
    descriptor = struct.unpack_from("<4s3L", data, end)
    assert descriptor == (b"PK\x07\x08", zlib.crc32(b"hello " * 1000), end - begin, 6000)


def test_every_entry_is_marked_as_dropbox_marks_it(folder: Path) -> None:
    """Deflate, flags 0x0808, version 2.0, no extra field and mode 0744 without type bits, directories too."""
    with zipfile.ZipFile(io.BytesIO(whole(folder))) as archive:
        for info in archive.infolist():
            assert (info.compress_type, info.flag_bits, info.extract_version) == (8, 0x0808, 20)
            assert (info.create_version, info.create_system, info.extra) == (20, 3, b"")
            assert info.external_attr == 0o744 << 16
            assert info.date_time == (2021, 5, 4, 13, 14, 16)


def test_directories_follow_what_is_in_them(folder: Path) -> None:
    """No wrapping folder; each directory, empty ones too, has an entry after its files and subfolders."""
    assert list(contents(whole(folder))) == [
        "/",
        "a.txt",
        "none.bin",
        "empty/",
        "sub/größe.csv",
        "sub/deep/z",
        "sub/deep/",
        "sub/",
    ]


@pytest.mark.parametrize("method", ["deflate", "stored"])
@pytest.mark.parametrize("signature", [True, False])
def test_zipfile_reads_every_variant(folder: Path, method: Method, signature: bool) -> None:
    """Stored or deflated, with or without descriptor signatures, the content is the folder's."""
    found = contents(whole(folder, method=method, signature=signature))
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {name: data for name, data in found.items() if not name.endswith("/")} == files


def test_stored_members_hold_the_bytes_themselves(folder: Path) -> None:
    """A stored member is followed by a descriptor, signature left out on demand."""
    data = whole(folder, method="stored", signature=False, root_entry=False)
    body = bytes(range(256))
    at = data.index(body)
    assert data[at + 256 : at + 268] == struct.pack("<3L", zlib.crc32(body), 256, 256)
    assert b"PK\x07\x08" not in data
    assert struct.unpack_from("<H", data, 8) == (0,)


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs the unzip program")
def test_unzip_extracts_all_and_complains_of_the_slash_only(folder: Path, tmp_path: Path) -> None:
    """``unzip`` ends with status 2 over the ``/`` entry, is content with ``-x /``, and extracts all of it."""
    archive = tmp_path / "shared.zip"
    archive.write_bytes(whole(folder))
    for extra, status in (([], 2), (["-x", "/"], 0)):
        out = tmp_path / f"out{len(extra)}"
        done = subprocess.run(["unzip", "-q", str(archive), "-d", str(out), *extra], capture_output=True, check=False)
        assert done.returncode == status, done.stderr
        assert (out / "sub" / "größe.csv").read_text() == "x\n1\n"
        assert (out / "empty").is_dir()


def test_symlinks_and_special_files_are_left_out(tmp_path: Path) -> None:
    """A link, even to a folder, and a pipe have no entry."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "real").write_text("x")
    (root / "link").symlink_to("real")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe")
    assert list(contents(whole(root))) == ["/", "real"]


@pytest.mark.parametrize(("year", "expected"), [(1975, (1980, 1, 1, 0, 0, 0)), (2110, (2107, 12, 31, 23, 59, 58))])
def test_times_that_dos_cannot_hold_are_clamped(tmp_path: Path, year: int, expected: tuple[int, ...]) -> None:
    """A date before 1980 or after 2107 becomes the nearest one that fits."""
    path = tmp_path / "f"
    path.touch()
    os.utime(path, (0, time.mktime((year, 6, 1, 12, 0, 0, 0, 0, -1))))
    with zipfile.ZipFile(io.BytesIO(whole(tmp_path))) as archive:
        assert archive.getinfo("f").date_time == expected


def test_many_members_need_zip64s_end_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When 16 bits cannot count the members, the 64-bit end record does, and readers follow it."""
    monkeypatch.setattr(zipformat, "_MAX16", 4)
    for number in range(6):
        (tmp_path / str(number)).write_text(str(number))
    data = whole(tmp_path)
    assert b"PK\x06\x06" in data
    end = data.index(b"PK\x06\x06")
    assert struct.unpack_from("<2Q", data, end + 24) == (7, 7)
    locator = data.index(b"PK\x06\x07")
    assert struct.unpack_from("<Q", data, locator + 8) == (end,)


@pytest.mark.parametrize("method", ["deflate", "stored"])
def test_members_over_4_gb_use_64_bit_fields(folder: Path, monkeypatch: pytest.MonkeyPatch, method: Method) -> None:
    """With the limit lowered, big members and far offsets are written in zip64 fields, and read back."""
    before = contents(whole(folder))
    monkeypatch.setattr(zipformat, "_BIG_MEMBER", 1000)
    data = whole(folder, method=method)
    assert contents(data) == before
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.getinfo("a.txt").extract_version == 45
        assert archive.getinfo("sub/deep/z").extract_version == 20
    header = data.index(b"PK\x03\x04", 4)
    assert struct.unpack_from("<2L2H", data, header + 18) == (0xFFFFFFFF, 0xFFFFFFFF, 5, 20)


def test_the_zip_comes_in_pieces(tmp_path: Path) -> None:
    """A file larger than a piece is streamed: the writer holds neither it nor the archive."""
    with (tmp_path / "big").open("wb") as big:
        big.truncate(8 << 20)
    pieces = list(folder_zip(tmp_path, method="stored"))
    assert len(pieces) > 16
    assert max(map(len, pieces)) < 1 << 20


def test_wrong_arguments_are_refused_before_the_first_byte(tmp_path: Path) -> None:
    """An unknown method and a missing folder are errors of the call, not of the iteration."""
    with pytest.raises(ValueError, match="'bzip2'"):
        folder_zip(tmp_path, method="bzip2")  # type: ignore[arg-type]
    with pytest.raises(NotADirectoryError):
        folder_zip(tmp_path / "missing")
