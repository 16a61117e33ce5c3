"""What a sync needs of an archive: members with safe names and whole content, whatever the format."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from colab_magics.core.archives.names import fields
from colab_magics.core.common.disk import Budget
from colab_magics.core.common.files import LONGEST_TARGET
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.errors import ArchiveError

__all__ = [
    "PIECE",
    "Archive",
    "Choice",
    "Everything",
    "Member",
    "Source",
    "Target",
    "check_link",
    "checked",
    "clamped",
    "moment_of",
    "safe_name",
    "safe_or_none",
]

#: Bytes read and written at a time.
PIECE = 1 << 18

_LONGEST_NAME = 255  # bytes a name's part may have on the file systems in use
_DEEPEST = 250  # folders in each other; what clears folders away, in Python itself, cannot go much deeper
_TIMESTAMP = 0x5455  # Info-ZIP's extended timestamp: seconds since 1970 in UTC
_LATEST = 2.0**33  # seconds since 1970; what every file system in use can hold


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
        Where a symlink points; None also for one that was not wanted.
    """

    name: str
    kind: Literal["file", "folder", "link"]
    size: int
    crc: int
    mtime: float
    executable: bool = False
    target: str | None = None


class Source(Protocol):
    """Bytes that come, as a response's body does."""

    @property
    def head(self) -> bytes:
        """The first of them, which are still part of what is read."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill `view`; return how many bytes came, which is fewer only at the end."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the rest in pieces."""


class Choice(Protocol):
    """Which members are written as they arrive.

    Attributes
    ----------
    settled : set of str
        Those that need not be, since they are there already.
    """

    settled: set[str]

    def takes(self, name: str) -> bool:
        """Tell whether a member was asked for at all; what was not cannot stop the rest."""

    def writes(self, name: str, crc: int | None, size: int | None) -> bool:
        """Tell whether it is to be written, from its CRC-32 and its size as far as they are known."""


class Everything:
    """Chooses every member."""

    def __init__(self) -> None:
        self.settled: set[str] = set()

    def takes(self, _name: str) -> bool:
        """Say yes."""
        return True

    def writes(self, _name: str, _crc: int | None, _size: int | None) -> bool:
        """Say yes."""
        return True


@dataclass
class Target:
    """Where an archive is unpacked to, and how.

    Attributes
    ----------
    tree : Path
        The folder to write to. What is in it is cleared away before.
    budget : Budget
        What may be unpacked.
    choice : Choice
        Which members are written.
    shown : str
        What messages call the archive.
    names : str or None
        The encoding of names that do not say it themselves.
    progress : Progress
        Hears of the bytes that come.
    top : str or None
        The folder that a zip may have around everything; names do not tell of it.
    """

    tree: Path
    budget: Budget
    choice: Choice
    shown: str = "the archive"
    names: str | None = None
    progress: Progress = SILENT
    top: str | None = None


class Archive(Protocol):
    """An archive that has proved good; what of it was to be written lies beside DEST.

    Attributes
    ----------
    members : list of Member
        Every member, each name once.
    settled : set of str
        Those that DEST holds already, just as they are.
    """

    members: list[Member]
    settled: AbstractSet[str]

    def materialise(self, wanted: Collection[str]) -> None:
        """Make just the files and symlinks called `wanted` stand in the folder that was unpacked to."""


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
    return safe_or_none(name, lambda _: True, is_folder=True)


def safe_or_none(name: str, takes: Callable[[str], bool], *, is_folder: bool) -> str | None:
    """Return a name as `safe_name` does; also None when it is a bad one that nobody asked for."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in {"", "."}]
    if not parts and is_folder:
        return None
    joined = "/".join(parts)
    problem = _problem(plain, parts)
    if problem is None or not takes(joined):
        return joined if problem is None else None
    shown = repr(name) if len(name) <= 100 else f"{name[:60]!r}..."
    raise ArchiveError(f"the archive's member {shown} {problem}")


def _problem(plain: str, parts: list[str]) -> str | None:
    """Return why a name cannot be used, and what to do."""
    renamed = "nothing was written: rename it where it was shared, or leave it out with --exclude"
    if ".." in parts or (parts and plain.startswith("/")) or re.match(r"[A-Za-z]:/", plain):
        return (
            "would be written outside the folder; nothing was written: ask for an archive that is made inside its "
            "folder, or leave it out with --exclude"
        )
    if "\0" in plain or not parts:
        return f"has a name that no file can have; {renamed}"
    try:
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
            return f"has a name longer than {_LONGEST_NAME} bytes; {renamed}"
    except UnicodeEncodeError:
        return (
            "has a name that this Python cannot write with its locale; nothing was written: start it with "
            "PYTHONUTF8=1, or in a UTF-8 locale"
        )
    if len(parts) > _DEEPEST:
        return f"lies in more than {_DEEPEST} folders; {renamed}"
    return None


def checked(members: list[Member], takes: Callable[[str], bool]) -> list[Member]:
    """Refuse members that lie below a file or a symlink of the same archive; what `takes` declines stops nothing."""
    kinds = {member.name: member.kind for member in members}
    sound: set[str] = {""}
    for member in members:
        parent = member.name.rpartition("/")[0]
        while parent not in sound:
            if kinds.get(parent, "folder") != "folder" and takes(member.name) and takes(parent):
                raise ArchiveError(
                    f"the archive's member {member.name!r} lies below {parent!r}, which is a {kinds[parent]} in the "
                    "same archive; nothing was written: ask for an archive that holds one or the other"
                )
            sound.add(parent)
            parent = parent.rpartition("/")[0]
    return members


def check_link(name: str, target: str) -> None:
    """Refuse a symlink that leads out of DEST, or cannot be one."""
    if "\0" in target or len(os.fsencode(target)) > LONGEST_TARGET:
        raise ArchiveError(
            f"the archive's symlink {name!r} has a target that none can have; nothing was written: leave it out where "
            "it was shared, or with --exclude"
        )
    if not _stays(name, target):
        raise ArchiveError(
            f"the archive's symlink {name!r} points outside the folder; nothing was written: leave it out where it "
            "was shared, or with --exclude"
        )


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
    if not extra:
        return _dos_moment(dos)
    for kind, data in fields(extra):
        if kind == _TIMESTAMP and len(data) >= 5 and data[0] & 1:
            return clamped(float(struct.unpack_from("<i", data, 1)[0]))
    return _dos_moment(dos)


@lru_cache(4096)
def _dos_moment(dos: int) -> float:
    date = (dos >> 25) + 1980, dos >> 21 & 15, dos >> 16 & 31
    clock = dos >> 11 & 31, dos >> 5 & 63, (dos & 31) * 2
    try:
        return clamped(datetime(*date, *clock).timestamp())  # noqa: DTZ001 - it has none
    except (ValueError, OverflowError):
        return datetime(1980, 1, 1).timestamp()  # noqa: DTZ001 - the earliest that it can say


def clamped(moment: Any) -> float:
    """Return a time that every file system can hold: an archive can claim any number."""
    return float(min(max(moment, 0.0), _LATEST)) if moment == moment else 0.0  # a NaN is unequal to itself


def _stays(name: str, target: str) -> bool:
    # `..` behind another part could climb through a second symlink, where text alone cannot tell how far.
    parts = [part for part in target.split("/") if part not in {"", "."}]
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    depth = name.count("/")
    return bool(target) and not os.path.isabs(target) and climbs <= depth and ".." not in parts[climbs:]
