"""What a sync leaves in ``DEST/.colab_magics/``: the manifest of what it wrote."""

from __future__ import annotations

import json
import os
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from colab_magics.core.common.files import FOLDER, write_whole

__all__ = [
    "MANIFEST",
    "Manifest",
    "Record",
    "dump_columns",
    "join_names",
    "sibling_path",
    "work_path",
]

#: The manifest's name in it.
MANIFEST = "manifest.json"

_VERSION = 1
_COLUMNS = {"sizes": "Q", "mtimes": "q", "crcs": "I"}  # numbers of 64 and 32 bits
_ORIGINS = {"d": "folder", "f": "file", "u": "found"}
_LETTERS = {origin: letter for letter, origin in _ORIGINS.items()}
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
_WORK = "work"
_HASH = 32  # bytes of a content_hash


class Record(NamedTuple):
    """A file as a sync left it.

    Attributes
    ----------
    size : int
        Length in bytes.
    mtime_ns : int
        Its time stamp on this disk, in nanoseconds. With the size it says whether somebody changed the file.
    crc : int
        CRC-32 of the content.
    origin : {'folder', 'file', 'found'}
        Written by the sync of a folder or of a file link, or found there with the same content.
    """

    size: int
    mtime_ns: int
    crc: int
    origin: str = "folder"

    def fits(self, status: os.stat_result) -> bool:
        """Tell whether the file on disk is still the one that was recorded."""
        return status.st_size == self.size and status.st_mtime_ns == self.mtime_ns


@dataclass
class Manifest:
    """What is known of a DEST.

    Attributes
    ----------
    files : dict of str to Record
        Each file that syncs wrote or found, by its POSIX path below DEST.
    folders : list of str
        Folders that syncs made.
    links : dict of str to dict
        For each link (by its identity) the members and folders that it held, and how they were asked for;
        an entry exists only once a sync of that link was complete.
    hashes : dict of str to (int, str)
        For files that came by Dropbox's API their CRC-32 and content_hash; it holds as long as `files` says the former.
    """

    files: dict[str, Record] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    links: dict[str, dict[str, object]] = field(default_factory=dict)
    hashes: dict[str, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, dest: Path) -> Manifest:
        """Read DEST's manifest; a missing or unreadable one is an empty one, so the worst case is more work."""
        try:
            data = _read(dest)
            origins = [_ORIGINS[letter] for letter in data["origins"]]
            columns = [_unpacked(code, data[column]) for column, code in _COLUMNS.items()]
            rows = map(Record._make, zip(*columns, origins, strict=True))
            files = dict(zip(split_names(data["names"]), rows, strict=True))
            hashes, hashed = b64decode(data.get("hashes", "")), split_names(data.get("hashed", ""))
            made = [hashes[start : start + _HASH].hex() for start in range(0, len(hashes), _HASH)]
            known = {name: (files[name].crc, each) for name, each in zip(hashed, made, strict=True)}
            return cls(files, list(data["folders"]), dict(data["links"]), known)
        except _UNREADABLE:
            return cls()

    @classmethod
    def load_links(cls, dest: Path) -> Manifest:
        """Read what DEST's manifest says of links, and nothing of single files, which is quick."""
        try:
            return cls(links=dict(_read(dest)["links"]))
        except _UNREADABLE:
            return cls()

    def dump(self) -> bytes:
        """Return the manifest as the bytes of its file."""
        records = self.files.values()
        numbers = (
            array("Q", [record.size for record in records]),
            array("q", [record.mtime_ns for record in records]),
            array("I", [record.crc for record in records]),
        )
        origins = "".join([_LETTERS[record.origin] for record in records])
        known = {name: digest for name, (crc, digest) in self.hashes.items() if digest and self._crc(name) == crc}
        return dump_columns(self.links, self.folders, self.files, *numbers, origins, known)

    def _crc(self, name: str) -> int | None:
        record = self.files.get(name)
        return record.crc if record else None

    def save(self, dest: Path) -> None:
        """Write the manifest of DEST, whole or not at all; one that says the same already is not touched."""
        path, data = dest / FOLDER / MANIFEST, self.dump()
        try:
            if path.read_bytes() == data:
                return
        except OSError:
            pass
        write_whole(path, data)

    def members(self, identity: str, kind: str = "members") -> list[str]:
        """Return the members (or, for the kind ``'folders'``, the folders) that a link's last complete sync left."""
        names = self.links.get(identity, {}).get(kind)
        return split_names(names) if isinstance(names, str) else []


def dump_columns(
    links: dict[str, dict[str, object]],
    folders: list[str],
    names: Iterable[str],
    sizes: array[int],
    mtimes: array[int],
    crcs: array[int],
    origins: str,
    hashes: dict[str, str],
) -> bytes:
    """Return a manifest as the bytes of its file; of its files what stands in their `Record`, in columns."""
    data = {
        "version": _VERSION,
        "links": links,
        "folders": folders,
        # Columns are read many times as fast as rows.
        "names": join_names(names),
        "sizes": _packed(sizes),
        "mtimes": _packed(mtimes),
        "crcs": _packed(crcs),
        "origins": origins,
    }
    if hashes:
        data |= {"hashed": join_names(hashes), "hashes": b64encode(bytes.fromhex("".join(hashes.values()))).decode()}
    return json.dumps(data, separators=(",", ":")).encode()


def _packed(column: array[int]) -> str:
    """Return a column of numbers as text: little-endian, in base64, which is written and read at once."""
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return b64encode(column).decode()


def _unpacked(code: str, text: str) -> array[int]:
    column = array(code, b64decode(text))
    if sys.byteorder == "big":
        column.byteswap()
    return column


def join_names(names: Iterable[str]) -> str:
    """Return POSIX paths as one text: two slashes stand in none of them."""
    return "//".join(names)


def split_names(text: str) -> list[str]:
    """Return the paths that `join_names` joined."""
    return text.split("//") if text else []


def _read(dest: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((dest / FOLDER / MANIFEST).read_text("utf-8"))
    if data["version"] != _VERSION:
        raise ValueError("of another version")
    return data


def work_path(dest: Path) -> Path:
    """Return where a sync into an existing DEST downloads and stages: on the same file system."""
    return dest / FOLDER / _WORK


def sibling_path(dest: Path) -> Path:
    """Return where a sync into a new DEST downloads and stages: beside it, to become it in one rename."""
    return dest.with_name(f".{dest.name}{FOLDER}")
