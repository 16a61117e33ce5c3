"""Tar archives in every compression that this Python can read."""

from __future__ import annotations

import importlib
import lzma
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colab_magics.core.archives.members import PIECE, Member, checked, clamped, safe_name
from colab_magics.errors import ArchiveError

__all__ = ["Tar", "opened"]

_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878's magic number
_BLOCK = 512
_KINDS = "zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst"
_LIBRARY = {"zstandard", "compression.zstd"}  # where an error of theirs is not an OSError or ValueError


@contextmanager
def opened(path: Path, shown: str) -> Iterator[Tar]:
    """Open the tar at `path`; messages call it `shown`."""
    try:
        with path.open("rb") as head:
            zstd = head.read(4) == _ZSTD
        if zstd and sys.version_info < (3, 14):
            path = _unzstd(path)
        file = tarfile.open(path, "r:*")  # noqa: SIM115 - closed below; here only its opening may fail
    except OSError as error:
        if error.errno is not None:
            raise
        raise _refusal(shown, error) from None
    except _broken() as error:
        raise _refusal(shown, error) from None
    with file:
        yield Tar(file, shown)


class Tar:
    """An open tar.

    Parameters
    ----------
    tar : tarfile.TarFile
        It.
    shown : str
        What messages call it.
    """

    def __init__(self, tar: tarfile.TarFile, shown: str) -> None:
        self._tar, self._shown = tar, shown
        self._contents: dict[str, tarfile.TarInfo] = {}
        found: dict[str, Member] = {}
        for info in self._entries():
            member = self._member(info)
            if member:
                found.pop(member.name, None)  # as in a zip: of two with one name, the last stays
                found[member.name] = member
        self.members = checked(list(found.values()))

    def _entries(self) -> Iterator[tarfile.TarInfo]:
        with self._told():
            yield from self._tar
        # tarfile takes a header that it cannot read for the end; a whole archive ends with a block of zeros.
        with self._told():
            stream = self._tar.fileobj
            assert stream is not None  # noqa: S101 - it was opened for reading
            stream.seek(self._tar.offset)
            if stream.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError("it ends too early")
            while stream.read(PIECE):
                pass  # what compressed it checks its own sum at the very end

    def _member(self, info: tarfile.TarInfo) -> Member | None:
        name = safe_name(info.name)
        if name is None:
            return None
        mtime = clamped(info.mtime)
        if info.issym():
            return Member(name, "link", 0, 0, mtime, target=info.linkname, entry=info)
        if info.isdir():
            return Member(name, "folder", 0, 0, mtime, entry=info)
        if not (info.isfile() or info.islnk()):
            raise ArchiveError(
                f"the archive's member {info.name!r} is a device or pipe; nothing was written: leave it out where it "
                "was shared"
            )
        # A hard link stands behind the member that it shares the content of.
        content = self._contents.get(info.linkname) if info.islnk() else info
        if content is None:
            raise ArchiveError(
                f"the archive's member {info.name!r} is a hard link to {info.linkname!r}, which is not in it before; "
                "ask for an archive that is whole"
            )
        self._contents[info.name] = content
        executable = bool(info.mode & stat.S_IXUSR)
        return Member(name, "file", content.size, self._crc(content), mtime, executable, entry=content)

    def _crc(self, info: tarfile.TarInfo) -> int:
        # A tar keeps no checksum of a file's content; without one nothing says what changed.
        crc = 0
        for piece in self._pieces(info):
            crc = zlib.crc32(piece, crc)
        return crc

    def read(self, member: Member) -> Iterator[bytes]:
        """Yield a file's content in pieces; raise ArchiveError unless it is whole."""
        return self._pieces(member.entry)

    def _pieces(self, info: tarfile.TarInfo) -> Iterator[bytes]:
        left = info.size
        with self._told():
            stream = self._tar.extractfile(info)
            while stream and (piece := stream.read(PIECE)):
                left -= len(piece)
                yield piece
        if left:
            raise ArchiveError(f"the archive's member {info.name!r} is {left} bytes short; run it again")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno is not None:
                raise
            raise _refusal(self._shown, error) from None  # so the gzip and bz2 modules speak of damaged data
        except ArchiveError:
            raise
        except _broken() as error:
            raise _refusal(self._shown, error) from None


def _broken() -> tuple[type[Exception], ...]:
    kinds: list[type[Exception]] = [tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError]
    return (*kinds, *(sys.modules[name].ZstdError for name in _LIBRARY & set(sys.modules)))


def _refusal(shown: str, error: Exception) -> ArchiveError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ArchiveError(
        f"{shown} is not a whole archive of a kind that can be unpacked here ({_KINDS}): {reason}; run it again, "
        "or without --unpack"
    )


def _unzstd(path: Path) -> Path:
    """Decompress beside `path`: before Python 3.14 the standard library does not know zstd."""
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise ArchiveError("tar.zst needs Python 3.14, or the package zstandard: pip install zstandard") from None
    plain = path.with_name(f"{path.name}.tar")
    with path.open("rb") as packed, plain.open("wb") as out:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        while piece := reader.read(PIECE):
            out.write(piece)
    return plain
