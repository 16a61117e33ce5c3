"""An archive's bytes -> members -> safe names and whole content.

Zip as PKWARE's APPNOTE 6.3 describes it, in the dialect that Dropbox speaks: a first entry called ``/``,
everything deflated and followed by a data descriptor, folders after the files in them, modes without type
bits. Tar in every compression that this Python can read.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from colab_magics.errors import ArchiveError

__all__ = ["PIECE", "Archive", "Member", "looks_like_zip", "open_archive", "safe_name"]

#: Bytes read and written at a time.
PIECE = 1 << 18

_ENCRYPTED = 0x1
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878's magic number
_TIMESTAMP = 0x5455  # Info-ZIP's extended timestamp: seconds since 1970 in UTC
_LONGEST_NAME = 255  # bytes a name's part may have on the file systems in use


@dataclass(frozen=True)
class Member:
    """A file, folder or symlink in an archive.

    Attributes
    ----------
    name : str
        POSIX path below DEST, safe to join.
    kind : {'file', 'folder', 'link'}
        What it is.
    size : int
        Length of the content in bytes.
    crc : int
        CRC-32 of the content.
    mtime : float
        Last change, in seconds since 1970 (UTC).
    executable : bool
        Whether the archive knows that it may be run.
    target : str or None
        Where a symlink points.
    entry : object
        The archive's own record.
    """

    name: str
    kind: Literal["file", "folder", "link"]
    size: int
    crc: int
    mtime: float
    executable: bool = False
    target: str | None = None
    entry: Any = None


class Archive(Protocol):
    """What a sync needs of an archive."""

    @property
    def members(self) -> list[Member]:
        """Every member, in the archive's order, each name once."""

    def read(self, member: Member) -> Iterator[bytes]:
        """Yield a file's content in pieces; raise ArchiveError unless it is whole."""


def looks_like_zip(path: Path) -> bool:
    """Tell whether a file begins as a zip does (a member, or the end of an empty one)."""
    with path.open("rb") as file:
        return file.read(4) in {b"PK\x03\x04", b"PK\x05\x06"}


def safe_name(name: str) -> str | None:
    """Return a member's name as a path that stays below DEST.

    Parameters
    ----------
    name : str
        The name in the archive.

    Returns
    -------
    str or None
        The POSIX path; None for the archive's own root, which Dropbox writes as ``/``.

    Raises
    ------
    ArchiveError
        When the name would lead out of DEST or cannot be a file's name.
    """
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in {"", "."}]
    if not parts:
        return None
    if ".." in parts or plain.startswith("/") or re.match(r"[A-Za-z]:/", plain):
        raise ArchiveError(f"the archive's member {name!r} would be written outside the folder; nothing was written")
    if "\0" in plain:
        raise ArchiveError(f"the archive's member {name!r} has a name that no file can have; nothing was written")
    for part in parts:
        if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
            raise ArchiveError(
                f"the archive's member {name[:60]!r}... has a name longer than {_LONGEST_NAME} bytes; "
                "rename it where it was shared"
            )
    return "/".join(parts)


@contextmanager
def open_archive(path: Path, *, shown: str = "the archive") -> Iterator[Archive]:
    """Open a zip or tar archive.

    Parameters
    ----------
    path : Path
        The file.
    shown : str, optional
        What messages call it.

    Yields
    ------
    Archive

    Raises
    ------
    ArchiveError
        When it is neither, is cut short, or has a member that cannot be written safely.
    """
    if looks_like_zip(path) or zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as file:
                yield _Zip(file)
        except (zipfile.BadZipFile, struct.error) as error:
            raise ArchiveError(f"{shown} is not a whole zip archive ({error}); run it again to fetch it anew") from None
        return
    try:
        with _open_tar(path) as tar:
            yield _Tar(tar)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArchiveError(
            f"{shown} is not a whole archive of a kind that can be unpacked here (zip, tar, tar.gz, tar.bz2, "
            f"tar.xz, tar.zst): {error}"
        ) from None


class _Zip:
    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        found: dict[str, Member] = {}
        for info in file.infolist():
            member = self._member(info)
            if member:
                found.pop(member.name, None)  # as `unzip -o`: of two members with one name, the last stays
                found[member.name] = member
        self.members = _checked(list(found.values()))

    def _member(self, info: zipfile.ZipInfo) -> Member | None:
        name = safe_name(info.filename)
        if name is None:
            return None
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveError(f"the archive's member {info.filename!r} is encrypted; share it without a zip password")
        mode = info.external_attr >> 16
        if stat.S_ISLNK(mode):
            target = self._file.read(info).decode("utf-8", "surrogateescape") if info.file_size <= 4096 else ""
            return Member(name, "link", info.file_size, info.CRC, _zip_time(info), target=target, entry=info)
        if info.filename.endswith(("/", "\\")) or stat.S_ISDIR(mode):
            return Member(name, "folder", 0, 0, _zip_time(info), entry=info)
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            raise ArchiveError(f"the archive's member {info.filename!r} is a device or pipe; nothing was written")
        # Dropbox gives every entry mode 0744 without type bits: that says nothing about running it.
        executable = stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR)
        return Member(name, "file", info.file_size, info.CRC, _zip_time(info), executable, entry=info)

    def read(self, member: Member) -> Iterator[bytes]:
        left = member.size
        try:
            with self._file.open(member.entry) as stream:
                while piece := stream.read(PIECE):
                    left -= len(piece)
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
            raise ArchiveError(f"the archive's member {member.name!r} is damaged ({error}); run it again") from None
        except (NotImplementedError, RuntimeError) as error:
            raise ArchiveError(f"the archive's member {member.name!r} cannot be unpacked here: {error}") from None
        if left:
            raise ArchiveError(f"the archive's member {member.name!r} is {left} bytes short; run it again")


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        found: dict[str, Member] = {}
        for info in tar:
            member = self._member(info)
            if member:
                found.pop(member.name, None)
                found[member.name] = member
        self.members = _checked(list(found.values()))

    def _member(self, info: tarfile.TarInfo) -> Member | None:
        name = safe_name(info.name)
        if name is None:
            return None
        if info.issym():
            return Member(name, "link", 0, 0, info.mtime, target=info.linkname, entry=info)
        if info.isdir():
            return Member(name, "folder", 0, 0, info.mtime, entry=info)
        if not (info.isfile() or info.islnk()):
            raise ArchiveError(f"the archive's member {info.name!r} is a device or pipe; nothing was written")
        try:
            content = self._tar.getmember(info.linkname) if info.islnk() else info
        except KeyError:
            raise ArchiveError(
                f"the archive's member {info.name!r} is a hard link to {info.linkname!r}, which is not in it"
            ) from None
        executable = bool(info.mode & stat.S_IXUSR)
        return Member(name, "file", content.size, self._crc(content), info.mtime, executable, entry=content)

    def _crc(self, info: tarfile.TarInfo) -> int:
        # A tar keeps no checksum of a file's content; without one nothing says what changed.
        crc = 0
        for piece in self._pieces(info):
            crc = zlib.crc32(piece, crc)
        return crc

    def _pieces(self, info: tarfile.TarInfo) -> Iterator[bytes]:
        stream = self._tar.extractfile(info)
        left = info.size
        while stream and (piece := stream.read(PIECE)):
            left -= len(piece)
            yield piece
        if left:
            raise ArchiveError(f"the archive's member {info.name!r} is {left} bytes short; run it again")

    def read(self, member: Member) -> Iterator[bytes]:
        yield from self._pieces(member.entry)


def _checked(members: list[Member]) -> list[Member]:
    """Refuse members that lie below a file or a symlink of the same archive, and links that lead out of DEST."""
    kinds = {member.name: member.kind for member in members}
    for member in members:
        parent = os.path.dirname(member.name)
        while parent:
            if kinds.get(parent, "folder") != "folder":
                raise ArchiveError(
                    f"the archive's member {member.name!r} lies below {parent!r}, which is a {kinds[parent]} in the "
                    "same archive; nothing was written"
                )
            parent = os.path.dirname(parent)
        if member.kind == "link":
            landing = os.path.normpath(os.path.join(os.path.dirname(member.name), member.target or "/"))
            if landing.startswith(("/", "../")) or landing == "..":
                raise ArchiveError(
                    f"the archive's symlink {member.name!r} points outside the folder; nothing was written"
                )
    return members


def _zip_time(info: zipfile.ZipInfo) -> float:
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _TIMESTAMP and length >= 5 and extra[4] & 1:
            return float(struct.unpack_from("<i", extra, 5)[0])
        extra = extra[4 + length :]
    try:
        # A DOS time has no zone; unzip reads it as local time, and so do we.
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as file:
        zstd = file.read(4) == _ZSTD
    if zstd and sys.version_info < (3, 14):
        path = _unzstd(path)
    with tarfile.open(path, "r:*") as tar:
        yield tar


def _unzstd(path: Path) -> Path:
    """Decompress beside `path`: before Python 3.14 the standard library does not know zstd."""
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise ArchiveError("tar.zst needs Python 3.14, or the package zstandard: pip install zstandard") from None
    plain = path.with_name(f"{path.name}.tar")
    with path.open("rb") as packed, plain.open("wb") as out:
        try:
            zstandard.ZstdDecompressor().copy_stream(packed, out)
        except zstandard.ZstdError as error:
            raise ArchiveError(f"the archive is not whole ({error}); run it again to fetch it anew") from None
    return plain
