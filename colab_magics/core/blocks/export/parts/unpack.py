"""Unpack the archive ARGV[1] into the folder ARGV[2], or say why not: a part of exported scripts, which stands alone.

Names stay below the folder, contents are proved, and files get the times and rights that they have in the archive.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from typing import IO, Any

Entry = tuple[
    str, str, float, bool, Any
]  # the name, its kind (file, folder or a link's target after @), time, runs, record


def safe(name: str) -> str:
    """Return a member's path below the folder; empty for the archive's own root."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in {"", "."}]
    if parts and (".." in parts or plain.startswith("/") or plain[1:3] == ":/" or "\0" in plain):
        sys.exit(f"the archive's member {name!r} would be written outside the folder; nothing was written")
    if "\n" in name:
        sys.exit(f"the archive's member {name!r} has a line break in its name; nothing was written: rename it")
    return "/".join(parts)


def moment(info: zipfile.ZipInfo) -> float:
    """Return when a zip's member changed: Info-ZIP's UTC time where it is there, else the DOS time as local time."""
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and length >= 5 and len(extra) >= 9 and extra[4] & 1:
            return float(struct.unpack_from("<i", extra, 5)[0])
        extra = extra[4 + length :]
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))


def zip_entries(archive: zipfile.ZipFile) -> Iterator[Entry]:
    """Yield a zip's members."""
    for info in archive.infolist():
        if info.flag_bits & 1:
            sys.exit(f"the archive's member {info.filename!r} is encrypted; share it without a zip password")
        mode = info.external_attr >> 16
        name = safe(info.filename) if info.filename != "/" else ""
        if stat.S_ISLNK(mode):
            yield name, "@" + os.fsdecode(archive.read(info)), moment(info), False, info
        elif info.filename.endswith(("/", "\\")) or stat.S_ISDIR(mode):
            yield name, "folder", 0, False, info
        elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
            # Dropbox gives every entry mode 0744 without type bits: that says nothing about running it.
            yield name, "file", moment(info), stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR), info
        else:
            sys.exit(f"the archive's member {info.filename!r} is a device or pipe; nothing was written")


def tar_entries(archive: tarfile.TarFile) -> Iterator[Entry]:
    """Yield a tar's members."""
    for info in archive:
        name = safe(info.name)
        if info.issym():
            yield name, "@" + info.linkname, info.mtime, False, info
        elif info.isdir():
            yield name, "folder", 0, False, info
        elif info.isfile() or info.islnk():
            yield name, "file", info.mtime, bool(info.mode & stat.S_IXUSR), info
        else:
            sys.exit(f"the archive's member {info.name!r} is a device or pipe; nothing was written")


def stays(name: str, target: str) -> bool:
    """Tell whether a symlink leads to a place below the folder."""
    parts = [part for part in target.split("/") if part not in {"", "."}]
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return not target.startswith("/") and climbs <= name.count("/") and ".." not in parts[climbs:]


def copy(source: IO[bytes] | None, place: str) -> None:
    """Write what `source` holds; a zip's checksum is proved at its end."""
    with open(place, "wb") as file:
        while source and (piece := source.read(1 << 18)):
            file.write(piece)


def main(path: str, into: str) -> None:
    """Unpack it."""
    with open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
    archive: Any = zipfile.ZipFile(path) if is_zip else tarfile.open(path)  # noqa: SIM115 - closed below
    with archive:
        members = {entry[0]: entry for entry in (zip_entries if is_zip else tar_entries)(archive) if entry[0]}
        for name, kind, *_ in members.values():
            parents = name.split("/")[:-1]
            above = ["/".join(parents[:number]) for number in range(1, len(parents) + 1)]
            if any(parent in members and members[parent][1] != "folder" for parent in above):
                sys.exit(f"the archive's member {name!r} lies below a file or symlink of the same archive")
            if kind.startswith("@") and not stays(name, kind[1:]):
                sys.exit(f"the archive's symlink {name!r} points outside the folder; nothing was written")
        for name, kind, mtime, runs, record in members.values():
            place = os.path.join(into, name)
            if kind == "folder":
                os.makedirs(place, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if kind.startswith("@"):
                os.symlink(kind[1:], place)
                continue
            with (archive.open if is_zip else archive.extractfile)(record) as source:
                copy(source, place)
            if runs:
                mask = os.umask(0o077)
                os.umask(mask)
                os.chmod(place, os.stat(place).st_mode | (0o111 & ~mask))
            os.utime(place, (mtime, min(max(mtime, 0.0), 2.0**33)))


try:
    main(*sys.argv[1:])
except (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    tarfile.TarError,
    zipfile.BadZipFile,
) as error:
    sys.exit(f"what came is not a whole archive that can be unpacked here ({error}); run it again")
except Exception as error:  # noqa: BLE001 - zlib and lzma have errors of their own, and may not be here
    sys.exit(f"what came is damaged ({error}); run it again")
