"""How the names in a zip are written: the format says it of some, and of the others careful programs agree."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from colab_magics.errors import ArchiveError

__all__ = ["UTF8", "check_encoding", "decoded", "fields"]

#: The flag of a name that is UTF-8.
UTF8 = 0x800
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version, CRC-32 of the name that it replaces, the name in UTF-8


def fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the content of each extra field (APPNOTE 6.3, section 4.5.1)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def check_encoding(encoding: str) -> None:
    """Refuse a name that is no encoding's."""
    try:
        "".encode(encoding)
    except LookupError:
        raise ArchiveError(
            f"--names {encoding!r} is no encoding; try shift_jis, gbk, euc_kr, cp866 or cp1252"
        ) from None


def decoded(raw: bytes, flags: int, extra: bytes, encoding: str | None) -> str:
    """Return a member's name.

    It is UTF-8 where a flag (bit 11) or a field of Info-ZIP's says so. Else it is what the person says; else UTF-8 if
    it can be that, as macOS and ``zip -r`` on Linux write it without saying so; else code page 437, which the format
    was made with. Text in another encoding is hardly ever valid UTF-8 by chance.

    Parameters
    ----------
    raw : bytes
        The name as it stands in the zip.
    flags : int
        The member's general purpose flags.
    extra : bytes
        Its extra fields.
    encoding : str or None
        What the person says of names that do not say it themselves.
    """
    if not raw.isascii() or b"\0" in raw:
        for kind, data in fields(extra):
            if kind == _UNICODE_PATH and data[:1] == b"\1" and data[1:5] == struct.pack("<L", zlib.crc32(raw)):
                raw, flags = data[5:], UTF8
        try:
            if flags & UTF8 or encoding is None:
                return raw.decode()
            return raw.decode(encoding)
        except UnicodeDecodeError:
            if flags & UTF8 or encoding is not None:
                right = "UTF-8, as it says" if flags & UTF8 else encoding
                raise ArchiveError(
                    f"the archive's member {raw.decode('latin-1')!r} has a name that is not {right}; nothing was "
                    "written: choose another encoding with --names, or rename it where it was shared"
                ) from None
        return raw.decode("cp437")
    if encoding is not None and not flags & UTF8:
        return raw.decode(encoding, "replace")
    return raw.decode()
