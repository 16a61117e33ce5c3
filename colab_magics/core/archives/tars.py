"""Tar archives in every compression that this Python can read: read once, from the first byte to the last."""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import stat
import sys
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from colab_magics.core.archives.members import PIECE, Member, Target, check_link, checked, clamped, safe_or_none
from colab_magics.core.archives.tree import Tree
from colab_magics.core.archives.unpacker import Unpacker
from colab_magics.core.common.cancellation import check
from colab_magics.errors import ArchiveError, ColabMagicsError

__all__ = ["Tar", "opened"]

_BLOCK = 512
_KINDS = "zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst"
_LONGEST_HEADER = 1 << 20  # bytes that stand before a member's content: long names, attributes, maps of holes
_LIBRARY = {"zstandard", "compression.zstd"}  # where an error of theirs is not an OSError or ValueError


def opened(path: Path, target: Target) -> Tar:
    """Unpack the tar at `path`."""
    target.budget.packed = path.stat().st_size
    with _told(target.shown), path.open("rb") as file, _unpacked(file) as plain:
        source = _Bounded(plain, target)
        with (
            tarfile.open(  # type: ignore[call-overload]
                fileobj=source, mode="r:", encoding=target.names or "utf-8", errors="surrogateescape"
            ) as tar,
            Tree(target) as tree,
        ):
            return Tar(tar, source, tree, target)


class _Bounded:
    """What a tar is read from: what is no member's content is bounded, as `tarfile` reads headers of any length."""

    def __init__(self, file: BinaryIO, target: Target) -> None:
        self._file, self._target = file, target
        self._left = _LONGEST_HEADER
        self.in_content = False
        self.block = b""  # the last that was read of headers

    def begin_header(self) -> None:
        self._left, self.in_content = _LONGEST_HEADER, False

    def read(self, size: int = -1) -> bytes:
        check()
        if not self.in_content:
            if not 0 <= size <= self._left:
                raise ArchiveError(
                    f"{self._target.shown} has a header of more than {_LONGEST_HEADER >> 20} MB, which no archive "
                    "needs; nothing was written: ask for one that is made anew"
                )
            self._left -= size
            self.block = self._file.read(size)
            return self.block
        return self._file.read(size)

    def seek(self, place: int) -> int:
        if place < 0:  # there Python 3.10's tarfile goes on after one that ends at its beginning
            raise tarfile.ReadError("it holds nothing")
        gap = place - self._file.tell()
        if gap < 0:
            return self._file.seek(place)
        while gap > 0 and (piece := self._file.read(min(PIECE, gap))):
            check()
            gap -= len(piece)
            self._target.budget.spend(len(piece), written=False)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()


class Tar:
    """A tar that is unpacked.

    Parameters
    ----------
    tar : tarfile.TarFile
        It.
    source : _Bounded
        What it reads from.
    tree : Tree
        Where its members go.
    target : Target
        As for every archive.

    Attributes
    ----------
    members, settled
        See `Archive`.
    """

    def __init__(self, tar: tarfile.TarFile, source: _Bounded, tree: Tree, target: Target) -> None:
        self._tar, self._source, self._tree, self._target = tar, source, tree, target
        self.settled: AbstractSet[str] = target.choice.settled
        self._contents: dict[str, tuple[tarfile.TarInfo, str | None]] = {}
        found: dict[str, Member] = {}
        with tree.unpacker() as unpacker:
            for info in self._entries():
                member = self._member(info, unpacker)
                if member:
                    found.pop(member.name, None)  # as in a zip: of two with one name, the last stays
                    found[member.name] = member
        self.members = checked(list(found.values()), target.choice.takes)

    def materialise(self, wanted: Collection[str]) -> None:
        """Make just the files and symlinks called `wanted` stand in the folder that was unpacked to."""
        self._tree.materialise(self.members, wanted)

    def _entries(self) -> Iterator[tarfile.TarInfo]:
        empty = True
        while True:
            self._source.begin_header()
            info = self._tar.next()
            if info is None:
                break
            self._tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all
            empty = False
            yield info
        # tarfile takes a header that it cannot read for the end; a whole archive ends with a block of zeros.
        if empty or self._source.block != bytes(_BLOCK):
            raise tarfile.ReadError("it holds nothing" if empty else "it ends too early")
        self._source.in_content = True
        while piece := self._source.read(PIECE):
            self._target.budget.spend(len(piece), written=False)  # what compressed it checks its sum at the very end

    def _member(self, info: tarfile.TarInfo, unpacker: Unpacker) -> Member | None:
        takes = self._target.choice.takes
        name = safe_or_none(info.name, takes, is_folder=info.isdir())
        mtime = clamped(info.mtime)
        if info.issym():
            if name and takes(name):
                check_link(name, info.linkname)
            return Member(name, "link", 0, 0, mtime, target=info.linkname) if name else None
        if info.isdir():
            return Member(name, "folder", 0, 0, mtime) if name else None
        asked = name is not None and takes(name)
        if not (info.isfile() or info.islnk()):
            if asked:
                raise ArchiveError(
                    f"the archive's member {info.name!r} is a device or pipe; nothing was written: leave it out where "
                    "it was shared, or with --exclude"
                )
            return None
        # A hard link stands behind the member that it shares the content of.
        content, place = self._contents.get(info.linkname, (None, None)) if info.islnk() else (info, name)
        if content is None:
            if not asked:
                return None
            raise ArchiveError(
                f"the archive's member {info.name!r} is a hard link to {info.linkname!r}, which is not in it before; "
                "ask for an archive that is whole"
            )
        self._contents[info.name] = content, place
        if name is None or not asked:
            return Member(name, "file", content.size, 0, mtime) if name else None
        self._source.in_content = True
        if place != name and place in self._tree.written:
            with self._tree.path(place).open("rb") as stream:
                crc = self._unpack(name, content.size, stream, unpacker, mtime)
        else:
            inner = self._tar.extractfile(content)
            assert inner is not None  # noqa: S101 - it is a file
            crc = self._unpack(name, content.size, inner, unpacker, mtime)
        return Member(name, "file", content.size, crc, mtime, bool(info.mode & stat.S_IXUSR))

    def _unpack(self, name: str, size: int, stream: IO[bytes], unpacker: Unpacker, mtime: float) -> int:
        """Write a content; return its checksum, of which a tar keeps none, so that nothing else says what changed."""
        self._target.budget.expect(size)
        if name in self._tree.written:
            self._tree.remove(name)
        write = self._target.choice.writes(name, None, size)
        self._tree.written.update([name] if write else [])
        unpacker.begin(name, write, 0, int(mtime) * 1_000_000_000)
        while piece := stream.read(PIECE):
            unpacker.take(piece)
        unpacker.end(None, size)
        if write and not self._target.choice.writes(name, unpacker.crc, size):
            self._tree.remove(name)
        return unpacker.crc


@contextmanager
def _unpacked(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the file, without what compresses it."""
    head = file.read(6)
    file.seek(0)
    openers: dict[bytes, Callable[[BinaryIO], Any]] = {
        b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ\x00": lzma.LZMAFile,
        b"\x28\xb5\x2f\xfd": _zstd,  # RFC 8878's magic number
    }
    for magic, opener in openers.items():
        if head.startswith(magic):
            with opener(file) as plain:
                yield plain
            return
    yield file


def _zstd(file: BinaryIO) -> Any:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile  # here: few need it

        return ZstdFile(file)
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise ArchiveError("tar.zst needs Python 3.14, or the package zstandard: pip install zstandard") from None
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True)


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Turn what the libraries raise for damaged data into one line."""
    try:
        yield
    except ColabMagicsError:
        raise
    except Exception as error:
        # Without a number it is how the gzip and bz2 modules speak of damaged data.
        if not isinstance(error, _broken()) and (not isinstance(error, OSError) or error.errno is not None):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArchiveError(
            f"{shown} is not a whole archive of a kind that can be unpacked here ({_KINDS}): {reason}; run it again, "
            "or without --unpack"
        ) from None


def _broken() -> tuple[type[Exception], ...]:
    kinds: list[type[Exception]] = [tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError]
    kinds += [RecursionError, KeyError, IndexError]  # of headers about headers, and of maps of holes
    return (*kinds, *(sys.modules[name].ZstdError for name in _LIBRARY & set(sys.modules)))
