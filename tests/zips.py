"""Archives as nobody's tool makes them: a writer that puts down whatever it is told."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from dataclasses import dataclass, field

__all__ = ["Entry", "tar_of", "zip_of"]


@dataclass
class Entry:
    """A member of a zip, and how it departs from the rule.

    Attributes
    ----------
    name, data : bytes
        As they stand in the archive.
    method : {0, 8}
        Stored or deflated.
    descriptor : {None, 'signed', 'bare'}
        Whether sizes and CRC stand behind the content, and in which form.
    mode : int
        Unix mode, with type bits where there are any.
    flags : int
        Added to those that follow from the rest.
    crc, size, compressed : int or None
        What the records claim, where that is not the truth.
    local_name : bytes or None
        The name in the local header.
    zip64 : bool
        Whether the sizes stand in 64-bit fields.
    extra : bytes
        Further extra fields, in both headers.
    level : int
        How hard it is packed; 0 copies it in stored blocks.
    date, time : int
        In DOS's packing.
    """

    name: bytes
    data: bytes = b""
    method: int = 8
    descriptor: str | None = "signed"
    mode: int = 0o744
    flags: int = 0x800
    crc: int | None = None
    size: int | None = None
    compressed: int | None = None
    local_name: bytes | None = None
    zip64: bool = False
    extra: bytes = b""
    level: int = 6
    date: int = (2024 - 1980) << 9 | 5 << 5 | 17
    time: int = 12 << 11 | 30 << 5
    offset: int = field(default=0, init=False)


def zip_of(*entries: Entry, prefix: bytes = b"", comment: bytes = b"", directory: bool = True) -> bytes:
    """Return a zip of `entries`; without `directory` it ends behind the last member."""
    out = bytearray(prefix)
    central = bytearray()
    for entry in entries:
        packed = _packed(entry)
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        compressed = len(packed) if entry.compressed is None else entry.compressed
        flags = entry.flags | (8 if entry.descriptor else 0)
        name = entry.name if entry.local_name is None else entry.local_name
        early = (0, 0, 0) if entry.descriptor else (crc, compressed, size)
        local_extra, central_extra, shown = entry.extra, entry.extra, (compressed, size)
        if entry.zip64:
            local_extra += struct.pack("<HHQQ", 1, 16, early[2], early[1])
            central_extra += struct.pack("<HHQQ", 1, 16, size, compressed)
            early, shown = (early[0], 0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)
        entry.offset = len(out)
        head = (b"PK\x03\x04", 20, flags, entry.method, entry.time, entry.date, *early, len(name), len(local_extra))
        out += struct.pack("<4s5H3L2H", *head) + name + local_extra + packed
        if entry.descriptor:
            sizes = struct.pack("<LQQ" if entry.zip64 else "<LLL", crc, compressed, size)
            out += (b"PK\x07\x08" if entry.descriptor == "signed" else b"") + sizes
        record = (b"PK\x01\x02", 3 << 8 | 20, 20, flags, entry.method, entry.time, entry.date, crc, *shown)
        rest = (len(entry.name), len(central_extra), 0, 0, 0, entry.mode << 16, entry.offset)
        central += struct.pack("<4s6H3L5H2L", *record, *rest) + entry.name + central_extra
    if directory:
        start, count = len(out), len(entries)
        out += central
        out += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(central), start, len(comment)) + comment
    return bytes(out)


def tar_of(*members: tuple[str, bytes | str | None] | tarfile.TarInfo, packed: str = "") -> bytes:
    """Return a tar.

    Parameters
    ----------
    *members : (str, bytes), (str, str), (str, None) or tarfile.TarInfo
        A file with its content, a symlink with its target, a folder; or any member without content.
    packed : {'', 'gz', 'bz2', 'xz'}
        How it is compressed.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{packed}", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.mtime = 1_700_000_000
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def _packed(entry: Entry) -> bytes:
    if entry.method != 8:
        return entry.data
    packer = zlib.compressobj(entry.level, zlib.DEFLATED, -15)
    return packer.compress(entry.data) + packer.flush()
