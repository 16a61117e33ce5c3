"""A listing -> the files of it that DEST does not hold, fetched one by one, several at once.

What was fetched and proved lies in the folder of the run under its hash, where the next run finds it if this one is cut
short; of a file that did not come whole the rest is asked for then.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from colab_magics.core.archives.members import Member, checked, clamped, safe_or_none
from colab_magics.core.common import cancellation
from colab_magics.core.common.attributes import set_mtime
from colab_magics.core.common.disk import check_room, size_text
from colab_magics.core.common.progress import Progress
from colab_magics.core.dropbox import files
from colab_magics.core.dropbox.api import ApiError
from colab_magics.core.dropbox.files import Entry
from colab_magics.core.http import several
from colab_magics.core.http.partial import FETCHED, OtherContentError
from colab_magics.core.http.several import AT_ONCE, Content
from colab_magics.core.syncing.disktree import DiskTree
from colab_magics.core.syncing.filter import Choice
from colab_magics.core.syncing.listing import Listing
from colab_magics.core.syncing.manifest import Manifest
from colab_magics.core.syncing.options import Options

__all__ = ["ByFile"]

_RATE = 25e6  # bytes a second that a link is taken to carry
_ZIP_STARTS = 1.0  # seconds
_ZIP_MOST, _ZIP_LARGEST, _ZIP_FILES = 20 << 30, 4 << 30, 10_000  # what Dropbox puts into a zip
_UNKNOWN = -1  # no CRC-32


class ByFile:
    """A listing, seen as an archive of which only what is needed comes.

    Parameters
    ----------
    listing : Listing
        It.
    name : str or None
        What a listed file is called in DEST.
    root : Path
        DEST.
    work : Path
        The folder of the run.
    manifest : Manifest
        What earlier syncs left in DEST.
    options : Options
        How the sync was asked for.

    Attributes
    ----------
    members : list of Member
        Every file and folder.
    tree : DiskTree
        DEST, with what was read of it.
    settled : set of str
        None; each member is decided on.
    hashes : dict of str to (int, str)
        For each member whose content is here, its CRC-32 and content_hash.
    transferred : int
        Bytes that came.
    """

    settled: AbstractSet[str] = frozenset()

    def __init__(
        self, listing: Listing, name: str | None, root: Path, work: Path, manifest: Manifest, options: Options
    ) -> None:
        self.tree, self.hashes, self.transferred = DiskTree(root), dict[str, tuple[int, str]](), 0
        self._listing, self._work, self._manifest, self._options = listing, work, manifest, options
        self._folder, self._stage = work / FETCHED, work / "tree"
        self._takes = Choice(root, manifest, options).takes
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        for entry in listing.entries:
            safe = name or safe_or_none(entry.name, self._takes, is_folder=not entry.is_file)
            if safe is not None:
                self._entries[safe] = entry
        self._missing = {each: entry for each, entry in self._entries.items() if self._is_missing(each, entry)}
        self._here = dict(self._fetched_before())
        self.members = self._members()

    def _members(self) -> list[Member]:
        """Return every file and folder; the CRC-32 of a file that is not here is one that none has."""
        made = []
        for name, entry in self._entries.items():
            crc, _ = self.hashes.get(name, (_UNKNOWN if entry.is_file else 0, ""))
            made.append(Member(name, "file" if entry.is_file else "folder", entry.size, crc, clamped(entry.mtime)))
        return checked(made, self._takes)

    def _is_missing(self, name: str, entry: Entry) -> bool:
        """Tell whether a file has to come, from what DEST holds."""
        cancellation.check()
        if not entry.is_file or not self._takes(name):
            return False
        above = self.tree.obstacle(name)
        if above is not None:
            return not above[1] and not self._options.once
        status = self.tree.status(name)
        if status is None or stat.S_ISDIR(status.st_mode):
            return status is None or not self._options.once
        if self._options.once or not stat.S_ISREG(status.st_mode):
            return False
        if self._options.force or not entry.hash or status.st_size != entry.size:
            return True
        record, known = self._manifest.files.get(name), self._manifest.hashes.get(name)
        if not (record and known and record.fits(status) and record.crc == known[0]):
            read = files.digests_of(self.tree.path(name))
            known = read.crc, read.hash
            self.tree.crcs[name] = read.crc
        if known[1] == entry.hash:
            self.hashes[name] = known
        return known[1] != entry.hash

    def _fetched_before(self) -> Iterator[tuple[str, tuple[Path, int]]]:
        """Yield what an earlier run has proved: its key, the file, and its CRC-32."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if found := re.fullmatch(r"(.+)-([0-9a-f]{8})", path.name):
                if self._options.force:
                    path.unlink()
                else:
                    yield found[1], (path, int(found[2], 16))

    @property
    def _to_come(self) -> dict[str, Entry]:
        """What has to be asked for, by its key: of files with the same content one."""
        return {_key(entry): entry for entry in self._missing.values() if _key(entry) not in self._here}

    def zip_reason(self, via: str) -> str | None:
        """Return why all of it should come as a zip; None when the files should come one by one."""
        if via == "api" or not self._listing.has_zip:
            return None
        everything, some = [entry for entry in self._entries.values() if entry.is_file], self._to_come.values()
        size, coming = sum(entry.size for entry in everything), sum(entry.size for entry in some)
        largest = max((entry.size for entry in everything), default=0)
        if via == "zip":
            return f"as a zip ({size_text(size)}), as was asked for"
        if size > _ZIP_MOST or largest > _ZIP_LARGEST or len(self._entries) >= _ZIP_FILES:
            return None
        # While some connections wait for an answer, the others use the link.
        alone = max(coming / _RATE, len(some) * self._listing.api.latency / AT_ONCE)
        if alone <= size / _RATE + _ZIP_STARTS:
            return None
        return f"as a zip ({size_text(size)}), since {len(some):,} files would take longer one by one"

    @property
    def plan(self) -> str:
        """What will come, in words."""
        some = self._to_come.values()
        return f"{len(some):,} of {len(self._entries):,} by the API ({size_text(sum(entry.size for entry in some))})"

    def fetch(self, shown: str, progress: Progress) -> None:
        """Let what is missing come, and prove it.

        Raises
        ------
        TransferError
            When it does not; what came is found by the next run.
        """
        to_come = self._to_come
        check_room(self._work, sum(entry.size for entry in to_come.values()), shown)
        self._folder.mkdir(exist_ok=True)
        progress.begin(shown, sum(entry.size for entry in to_come.values()))

        def came(count: int) -> None:
            with self._lock:
                self.transferred += count
                progress.advance(count)

        def wanted(key: str, entry: Entry) -> Content:
            part, listing = self._folder / f"{key}.part", self._listing

            def proved(digests: files.Digests) -> None:
                place = self._folder / f"{key}-{digests.crc:08x}"
                part.replace(place)
                self._here[key] = place, digests.crc

            named, arg = f"{shown}: {entry.name}", listing.argument(entry)
            return files.wanted(listing.api, listing.route, arg, named, part, entry, came=came, proved=proved)

        try:
            several.fetch([wanted(*item) for item in to_come.items()], progress)
        finally:
            progress.end()
        for name, entry in self._missing.items():
            self.hashes[name] = self._here[_key(entry)][1], entry.hash
        self.members = self._members()

    def is_outdated(self, error: Exception) -> bool:
        """Tell whether a failure of `fetch` says that the listing no longer holds."""
        return isinstance(error, OtherContentError) or (isinstance(error, ApiError) and "not_found" in error.tags)

    def content(self) -> Path:
        """Return where the content of a single file is."""
        [(name, entry)] = self._entries.items()
        return self._here[_key(entry)][0] if _key(entry) in self._here else self.tree.path(name)

    def materialise(self, wanted: Collection[str]) -> None:
        """Make what was fetched stand in the folder that is staged in; where it was it stays, until all is done."""
        shutil.rmtree(self._stage, ignore_errors=True)
        used: set[Path] = set()
        for name in wanted:
            entry, place = self._entries[name], self._stage / name
            source = self._here[_key(entry)][0]
            place.parent.mkdir(parents=True, exist_ok=True)
            if source in used:
                shutil.copyfile(source, place)  # two files of DEST are never one
            else:
                try:
                    os.link(source, place)
                except OSError:  # a file system without hard links
                    shutil.copyfile(source, place)
                used.add(source)
            set_mtime(place, int(clamped(entry.mtime)) * 1_000_000_000)


def _key(entry: Entry) -> str:
    """Return what the content of a file is called while it is fetched."""
    return entry.hash or hashlib.sha256(f"{entry.name}\0{entry.rev}".encode("utf-8", "surrogatepass")).hexdigest()
