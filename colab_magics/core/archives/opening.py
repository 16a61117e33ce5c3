"""An archive of any kind -> its members, unpacked: from a file, or while its bytes come."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from colab_magics.core.archives.directory import find_end
from colab_magics.core.archives.members import Archive, Source, Target

__all__ = ["is_zip", "take", "unpack"]

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
_MEMBER, _EMPTY = b"PK\x03\x04", b"PK\x05\x06"


def is_zip(path: Path) -> bool:
    """Tell whether a file begins as a zip does (a member, or the end of an empty one)."""
    with path.open("rb") as file:
        return file.read(4) in {_MEMBER, _EMPTY}


def unpack(path: Path, target: Target) -> Archive:
    """Unpack a zip or tar archive that is a file.

    Raises
    ------
    ArchiveError
        When it is neither, is cut short, or has a member that cannot be written safely.
    """
    # A tar can end with a zip and a zip can follow a program: what a file begins with comes first.
    with path.open("rb") as file:
        head = file.read(512)
        tarred = head.startswith(_COMPRESSED) or head[257:262] == b"ustar"
        zipped = head[:4] in {_MEMBER, _EMPTY} or (not tarred and find_end(file) is not None)
    # One of the two readers is needed, and seldom the other one's compressors.
    reader = import_module(f"colab_magics.core.archives.{'zips' if zipped else 'tars'}")
    archive: Archive = reader.opened(path, target)
    return archive


def take(source: Source, target: Target) -> Archive:
    """Unpack a zip while it comes: what `source` begins with must be one's first member.

    It is read once, in any case: from the first member on that cannot be unpacked before the directory is known, what
    comes is kept on the disk until it is. When the source breaks it can be called again, with a new one.

    Raises
    ------
    ArchiveError, TransferError, OSError
        When it is damaged, has a member that cannot be written safely, or does not fit.
    """
    from colab_magics.core.archives.stream.receiver import receive  # here: a run with nothing to do needs no threads

    return receive(source, target)
