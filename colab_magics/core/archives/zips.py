"""Zip archives, as PKWARE's APPNOTE 6.3 describes them, in the dialect that Dropbox speaks.

That is: a first entry called ``/``, everything deflated and followed by a data descriptor, folders after the
files in them, modes without type bits.
"""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from colab_magics.core.archives.members import PIECE, Member, checked, moment_of, safe_name
from colab_magics.errors import ArchiveError

__all__ = ["Zip", "member_of", "opened"]

_ENCRYPTED = 0x1
_LONGEST_TARGET = 4096  # bytes; PATH_MAX on Linux
# What the standard library raises, beside its own class, on records that make no sense.
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError, OverflowError)


@contextmanager
def opened(path: Path, shown: str) -> Iterator[Zip]:
    """Open the zip at `path`; messages call it `shown`."""
    with path.open("rb") as source:
        try:
            file = zipfile.ZipFile(source)
        except NotImplementedError as error:
            raise ArchiveError(
                f"{shown} is a zip that cannot be unpacked here: {error}; share it as an older kind"
            ) from None
        except _BROKEN as error:
            raise ArchiveError(f"{shown} is not a whole zip archive ({error}); run it again to fetch it anew") from None
        with file:
            yield Zip(file)


class Zip:
    """An open zip.

    Parameters
    ----------
    file : zipfile.ZipFile
        It.
    """

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        found: dict[str, Member] = {}
        for info in file.infolist():
            member = member_of(info, self._target)
            if member:
                found.pop(member.name, None)  # as `unzip -o`: of two members with one name, the last stays
                found[member.name] = member
        self.members = checked(list(found.values()))

    def _target(self, info: zipfile.ZipInfo) -> bytes:
        return b"".join(self._pieces(info)) if info.file_size <= _LONGEST_TARGET else b"/"

    def read(self, member: Member) -> Iterator[bytes]:
        """Yield a file's content in pieces; raise ArchiveError unless it is whole."""
        return self._pieces(member.entry)

    def _pieces(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        left = info.file_size
        try:
            with self._file.open(info) as stream:
                while piece := stream.read(PIECE):
                    left -= len(piece)
                    yield piece
        except _BROKEN as error:
            raise ArchiveError(f"the archive's member {info.filename!r} is damaged ({error}); run it again") from None
        except (NotImplementedError, RuntimeError) as error:
            raise ArchiveError(f"the archive's member {info.filename!r} cannot be unpacked here: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            # The bz2 module speaks of damaged data so.
            raise ArchiveError(f"the archive's member {info.filename!r} is damaged ({error}); run it again") from None
        if left:
            raise ArchiveError(f"the archive's member {info.filename!r} is {left} bytes short; run it again")


def member_of(info: zipfile.ZipInfo, target: Callable[[zipfile.ZipInfo], bytes]) -> Member | None:
    """Return what an entry of the central directory stands for; None for the archive's own root.

    Parameters
    ----------
    info : zipfile.ZipInfo
        The entry.
    target : callable
        Returns a symlink's content.
    """
    name = safe_name(info.filename)
    if name is None:
        return None
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"the archive's member {info.filename!r} is encrypted; share it without a zip password")
    mode, mtime = info.external_attr >> 16, _time(info)
    if stat.S_ISLNK(mode):
        text = target(info).decode("utf-8", "surrogateescape")
        return Member(name, "link", info.file_size, info.CRC, mtime, target=text, entry=info)
    if info.filename.endswith(("/", "\\")) or stat.S_ISDIR(mode):
        return Member(name, "folder", 0, 0, mtime, entry=info)
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise ArchiveError(
            f"the archive's member {info.filename!r} is a device or pipe; nothing was written: leave it out "
            "where it was shared"
        )
    # Dropbox gives every entry mode 0744 without type bits: that says nothing about running it.
    executable = stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR)
    return Member(name, "file", info.file_size, info.CRC, mtime, executable, entry=info)


def _time(info: zipfile.ZipInfo) -> float:
    year, month, day, hour, minute, second = info.date_time
    date, clock = (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2
    return moment_of(date << 16 | clock, info.extra)
