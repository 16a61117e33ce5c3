"""A folder as the zip that Dropbox makes of it, byte for byte, streamed.

The format is that of folder downloads from dropbox.com: written in one pass to a connection of unknown
length, so each member's size and CRC follow it in a *data descriptor* (APPNOTE.TXT 4.3.9).
"""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Method", "folder_zip"]

Method = Literal["deflate", "stored"]

# Bit 3: sizes and CRC stand in a descriptor behind the data. Bit 11: names are UTF-8.
_FLAGS = 0x0808
# Permission bits only: no file type, so that a reader knows a directory by its trailing slash alone.
_EXTERNAL = 0o744 << 16
_MADE_BY_UNIX = 3 << 8
_VERSION = 20
_VERSION_ZIP64 = 45
_MAX16 = 0xFFFF
_MAX32 = 0xFFFFFFFF
# A member this large gets 64-bit fields from the start: its compressed size is not known yet, and deflate
# can add a little to what it cannot shrink.
_BIG_MEMBER = 0xFFFFFFFF - (16 << 20)
_READ = 256 << 10
_PIECE = 64 << 10


@dataclass(slots=True)
class _Entry:
    name: bytes
    when: tuple[int, int]
    zip64: bool
    offset: int
    crc: int = 0
    compressed: int = 0
    size: int = 0


def folder_zip(
    folder: str | os.PathLike[str],
    *,
    method: Method = "deflate",
    signature: bool = True,
    root_entry: bool = True,
    level: int = 6,
    top: str = "",
) -> Iterator[bytes]:
    r"""Write what `folder` holds as one zip, the way Dropbox does.

    The first entry is ``/``; there is no wrapping top folder; a directory's entry comes after everything in
    it; every entry (directories too) has method *deflate*, flags ``0x0808``, zeros for CRC and sizes in its
    local header, a data descriptor with signature, version 2.0, no extra field, and mode 0744 without type
    bits. Symbolic links and special files are left out: Dropbox does not store them as such.

    Parameters
    ----------
    folder : path
        The folder. It is read while the zip is consumed.
    method : {'deflate', 'stored'}
        Dropbox has been seen to send both; each with descriptors.
    signature : bool
        Whether each descriptor starts with ``PK\x07\x08``, which the specification leaves open.
    root_entry : bool
        Whether the ``/`` entry comes first.
    level : int
        zlib's compression level, for `method` ``'deflate'``.
    top : str
        The name of a folder around everything, as in the zips of Dropbox's API.

    Returns
    -------
    iterator of bytes
        Pieces of about 64 KiB or more. Their concatenation is the zip. It needs memory for the names and
        sizes of the members, never for their content.

    Raises
    ------
    ValueError
        `method` is neither of the two.
    NotADirectoryError
        There is no folder at `folder`.
    """
    if method not in ("deflate", "stored"):
        raise ValueError(f"method must be 'deflate' or 'stored', not {method!r}")
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"no folder at {os.fspath(folder)}")
    writer = _Writer(8 if method == "deflate" else 0, level, signature)
    return _gather(writer.archive(os.fspath(folder), f"{top}/" if top else "", root_entry=root_entry))


def _gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # Headers are tens of bytes: one system call for each would cost more than the compression does.
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


class _Writer:
    def __init__(self, method: int, level: int, signature: bool) -> None:
        self.method = method
        self.level = level
        self.signature = signature
        self.position = 0
        self.entries: list[_Entry] = []

    def archive(self, folder: str, top: str, *, root_entry: bool) -> Iterator[bytes]:
        for piece in self._members(folder, top, root_entry=root_entry):
            self.position += len(piece)
            yield piece
        yield from self._directory()

    def _members(self, folder: str, top: str, *, root_entry: bool) -> Iterator[bytes]:
        if root_entry:
            yield from self._member(top or "/", os.stat(folder), None)
        yield from self._folder(folder, top)

    def _folder(self, folder: str, prefix: str) -> Iterator[bytes]:
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda entry: entry.name)
        for child in children:
            if child.is_file(follow_symlinks=False):
                yield from self._member(prefix + child.name, child.stat(follow_symlinks=False), child.path)
        for child in children:
            if child.is_dir(follow_symlinks=False):
                name = f"{prefix}{child.name}/"
                yield from self._folder(child.path, name)
                yield from self._member(name, child.stat(follow_symlinks=False), None)

    def _member(self, name: str, info: os.stat_result, path: str | None) -> Iterator[bytes]:
        zip64 = stat.S_ISREG(info.st_mode) and info.st_size >= _BIG_MEMBER
        # 'replace': a name that is not UTF-8 cannot be in a Dropbox.
        entry = _Entry(name.encode("utf-8", "replace"), _dos_time(info.st_mtime), zip64, self.position)
        yield self._local_header(entry)
        packer = zlib.compressobj(self.level, zlib.DEFLATED, -15) if self.method else None
        if path is not None:
            with open(path, "rb", buffering=0) as source:
                while block := source.read(_READ):
                    entry.crc = zlib.crc32(block, entry.crc)
                    entry.size += len(block)
                    packed = packer.compress(block) if packer else block
                    entry.compressed += len(packed)
                    yield packed
        if packer:
            packed = packer.flush()
            entry.compressed += len(packed)
            yield packed
        sizes = struct.pack("<QQ" if zip64 else "<LL", entry.compressed, entry.size)
        yield (b"PK\x07\x08" if self.signature else b"") + struct.pack("<L", entry.crc) + sizes
        self.entries.append(entry)

    def _local_header(self, entry: _Entry) -> bytes:
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if entry.zip64 else b""
        size, version = (_MAX32, _VERSION_ZIP64) if entry.zip64 else (0, _VERSION)
        what = (version, _FLAGS, self.method, *entry.when, 0, size, size, len(entry.name), len(extra))
        return struct.pack("<4s5H3L2H", b"PK\x03\x04", *what) + entry.name + extra

    def _directory(self) -> Iterator[bytes]:
        start, count = self.position, len(self.entries)
        records = b"".join(map(self._central_header, self.entries))
        size = len(records)
        yield records
        if count >= _MAX16 or start >= _MAX32 or size >= _MAX32:
            version = _MADE_BY_UNIX | _VERSION_ZIP64
            yield struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, version, _VERSION_ZIP64, 0, 0, count, count, size, start)
            yield struct.pack("<4sLQL", b"PK\x06\x07", 0, start + size, 1)
        short = min(count, _MAX16)
        yield struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, short, short, min(size, _MAX32), min(start, _MAX32), 0)

    def _central_header(self, entry: _Entry) -> bytes:
        wide: list[int] = []
        size, compressed, offset = entry.size, entry.compressed, entry.offset
        if entry.zip64:
            wide += [size, compressed]
            size = compressed = _MAX32
        if offset >= _MAX32:
            wide.append(offset)
            offset = _MAX32
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = _VERSION_ZIP64 if wide else _VERSION
        what = (_MADE_BY_UNIX | version, version, _FLAGS, self.method, *entry.when, entry.crc, compressed, size)
        where = (len(entry.name), len(extra), 0, 0, 0, _EXTERNAL, offset)
        return struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *what, *where) + entry.name + extra


def _dos_time(mtime: float) -> tuple[int, int]:
    """Return the (time, date) words of `mtime` in local time, clamped to what they can hold (1980 to 2107)."""
    moment = time.localtime(mtime)
    if moment.tm_year < 1980:
        return 0, 1 << 5 | 1
    if moment.tm_year > 2107:
        return 23 << 11 | 59 << 5 | 29, 127 << 9 | 12 << 5 | 31
    clock = moment.tm_hour << 11 | moment.tm_min << 5 | min(moment.tm_sec, 59) // 2
    return clock, (moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
