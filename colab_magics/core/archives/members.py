"""What a sync needs of an archive: members with safe names and whole content, whatever the format."""

from __future__ import annotations

import importlib
import os
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from colab_magics.errors import ArchiveError

__all__ = [
    "PIECE",
    "Archive",
    "Member",
    "Names",
    "checked",
    "clamped",
    "looks_like_zip",
    "moment_of",
    "open_archive",
    "safe_name",
]

#: Bytes read and written at a time.
PIECE = 1 << 18

_LONGEST_NAME = 255  # bytes a name's part may have on the file systems in use
_UNSAFE = re.compile(r"[\\:\0]")
# In names that are joined with NUL, what needs a look at each: characters that are not the same everywhere, and parts
# that are dots or empty (but at the end, where the name is a folder's).
_ODD = ("\\", ":", "//", "\0/", "\0\0", "/./", "/../", "\0./", "\0../", "/.\0", "/..\0", "\0.\0", "\0..\0")
_TIMESTAMP = 0x5455  # Info-ZIP's extended timestamp: seconds since 1970 in UTC
_LATEST = 2.0**33  # seconds since 1970; what every file system in use can hold
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


class Member(NamedTuple):
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
        raise ArchiveError(
            f"the archive's member {name!r} would be written outside the folder; nothing was written: "
            "ask for an archive that is made inside its folder"
        )
    if "\0" in plain:
        raise ArchiveError(
            f"the archive's member {name!r} has a name that no file can have; nothing was written: rename it "
            "where it was shared"
        )
    for part in parts:
        if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
            raise ArchiveError(
                f"the archive's member {name[:60]!r}... has a name longer than {_LONGEST_NAME} bytes; nothing was "
                "written: rename it where it was shared"
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
    # A tar can end with a zip and a zip can follow a program: what a file begins with comes first.
    tarred = not looks_like_zip(path) and _begins_as_tar(path)
    is_zip = not tarred and (looks_like_zip(path) or zipfile.is_zipfile(path))
    # One of the two readers is needed, and seldom the other one's compressors.
    room = importlib.import_module(f"colab_magics.core.archives.{'zips' if is_zip else 'tars'}")
    with room.opened(path, shown) as archive:
        yield archive


def checked(members: list[Member]) -> list[Member]:
    """Refuse members that lie below a file or a symlink of the same archive, and links that lead out of DEST."""
    kinds = {member.name: member.kind for member in members}
    sound: set[str] = {""}
    for member in members:
        parent = member.name.rpartition("/")[0]
        while parent not in sound:
            if kinds.get(parent, "folder") != "folder":
                raise ArchiveError(
                    f"the archive's member {member.name!r} lies below {parent!r}, which is a {kinds[parent]} in the "
                    "same archive; nothing was written: ask for an archive that holds one or the other"
                )
            sound.add(parent)
            parent = parent.rpartition("/")[0]
        if member.kind == "link" and not _stays(member.name, member.target or "/"):
            raise ArchiveError(
                f"the archive's symlink {member.name!r} points outside the folder; nothing was written: leave it out "
                "where it was shared, or with --exclude"
            )
    return members


class Names:
    """Makes the names of many members safe: as `safe_name`, which looks at each folder once here."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def many(self, names: list[str]) -> list[str | None]:
        """Return names as `safe` does."""
        text = "\0".join(["", *names, ""])
        if any(odd in text for odd in _ODD) or max(map(len, names)) > _LONGEST_NAME // 4:
            return list(map(self.safe, names))
        if "/\0" in text:
            return list(map(str.removesuffix, names, repeat("/")))
        return [*names]

    def safe(self, name: str) -> str | None:
        """Return a member's name as `safe_name` does."""
        parent, _, last = name.rpartition("/")
        if len(last) > _LONGEST_NAME // 4 or last in {"", ".", ".."} or name[0] == "/" or _UNSAFE.search(last):
            return safe_name(name)
        known = self._parents.get(parent)
        if known is None:
            whole = safe_name(name) or ""
            known = self._parents[parent] = whole.rpartition("/")[0]
        return f"{known}/{last}" if known else last


def moment_of(dos: int, extra: bytes) -> float:
    """Return when a zip's member changed last, in seconds since 1970, as every file system can hold it.

    Parameters
    ----------
    dos : int
        Date and time in DOS's packing, the date in the upper 16 bits. It has no zone: unzip reads it as local
        time, and so do we.
    extra : bytes
        The extra fields; Info-ZIP's extended timestamp among them, in UTC, is the better source.
    """
    while len(extra) >= 9:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _TIMESTAMP and length >= 5 and extra[4] & 1:
            return clamped(float(struct.unpack_from("<i", extra, 5)[0]))
        extra = extra[4 + length :]
    return _dos_moment(dos)


@lru_cache(4096)
def _dos_moment(dos: int) -> float:
    date = (dos >> 25) + 1980, dos >> 21 & 15, dos >> 16 & 31
    clock = dos >> 11 & 31, dos >> 5 & 63, (dos & 31) * 2
    try:
        return clamped(datetime(*date, *clock).timestamp())  # noqa: DTZ001 - it has none
    except (ValueError, OverflowError):
        return datetime(1980, 1, 1).timestamp()  # noqa: DTZ001 - the earliest that it can say


def clamped(moment: float) -> float:
    """Return a time that every file system can hold: an archive can claim any number."""
    return min(max(moment, 0.0), _LATEST) if moment == moment else 0.0  # a NaN is unequal to itself


def _begins_as_tar(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith(_COMPRESSED) or head[257:262] == b"ustar"


def _stays(name: str, target: str) -> bool:
    # `..` behind another part could climb through a second symlink, where text alone cannot tell how far.
    parts = [part for part in target.split("/") if part not in {"", "."}]
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    depth = name.count("/")
    return not os.path.isabs(target) and climbs <= depth and ".." not in parts[climbs:]
