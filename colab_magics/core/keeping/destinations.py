"""Where a folder is kept: what the keeper asks of such a place, and which kinds there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

__all__ = ["Batches", "ChangedError", "Copy", "Destination", "Held", "MovedError", "Put", "open_destination"]


class ChangedError(Exception):
    """What stands at DEST is not what was expected there: somebody else changed it. DEST is as it was."""


class MovedError(Exception):
    """A file of SOURCE changed while it was read; nothing of it stands at DEST."""


class Copy(NamedTuple):
    """A file as it stands at DEST.

    Attributes
    ----------
    size : int
        Bytes.
    mark : str
        Differs when the content does: a revision, or size and time.
    digest : str
        Of the content, in the destination's own kind; empty where a listing does not tell.
    mtime_ns : int
        When the content was made, in nanoseconds; 0 where the destination does not say.
    """

    size: int
    mark: str
    digest: str = ""
    mtime_ns: int = 0


@dataclass
class Held:
    """A file of SOURCE that held still, open to be read once.

    Attributes
    ----------
    path : str
        Where it lies.
    file : file
        Open, unbuffered.
    status : os.stat_result
        As it was when it held still.
    """

    path: str
    file: BinaryIO
    status: os.stat_result

    def pieces(self, size: int) -> Iterator[bytes]:
        """Read it from its beginning to its end, in pieces of `size` bytes (the last may be shorter).

        Raises
        ------
        MovedError
            When it does not have as many bytes as it had.
        """
        self.file.seek(0)
        left = self.status.st_size
        while left:
            wanted = min(size, left)
            piece = self.file.read(wanted)
            while 0 < len(piece) < wanted and (more := self.file.read(wanted - len(piece))):
                piece += more  # not every file system gives as much at once as it is asked for
            if len(piece) < wanted:
                raise MovedError
            left -= len(piece)
            yield piece

    def check(self) -> None:
        """Raise MovedError when it is another one by now; asked when all is read, before a copy takes its place."""
        now = os.fstat(self.file.fileno())
        if now.st_nlink == 0:  # removed: what was read is its last content, unless it was written to before
            same = version(now)[:2] == version(self.status)[:2] and not os.path.lexists(self.path)
        else:
            same = version(now) == version(self.status) == version(os.stat(self.path))
        if not same:
            raise MovedError


class Put(NamedTuple):
    """What `Destination.put` takes: the file, its name, and what it replaces."""

    name: str
    held: Held
    replaces: Copy | None


def version(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what differs when a file is written to, or another takes its place."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class Batches(Protocol):
    """Puts small files at a destination, several at once.

    Attributes
    ----------
    most, largest : int
        How many it takes, and of how many bytes each.
    """

    most: int
    largest: int

    def put(self, puts: Sequence[Put]) -> list[Copy | Exception]:
        """Put each as by `Destination.put`; return of each what that returns or raises."""


class Destination(Protocol):
    """A place where files are kept. Names are POSIX paths below it; a call that raises an OSError is made again later.

    Attributes
    ----------
    shown : str
        What messages call it.
    unconfirmed : str
        What a status says of copies of which `confirmed` knows nothing; empty where a verified copy is a safe one.
    batches : Batches or None
        What puts small files there together, where that gains anything.
    """

    shown: str
    unconfirmed: str
    batches: Batches | None

    def copies(self) -> dict[str, Copy]:
        """Return every file that stands there, but for what is put at this moment; none where there is no DEST yet."""

    def put(self, name: str, held: Held, replaces: Copy | None) -> Copy:
        """Put a file there whole or not at all, and verify it.

        Parameters
        ----------
        name : str
            Its name; parents are made.
        held : Held
            The file; asked by `Held.check` when all is read, before the copy takes its place.
        replaces : Copy or None
            What stands there, as `put` or `copies` returned it; None when nothing does.

        Returns
        -------
        Copy
            As it stands there now, with its digest.

        Raises
        ------
        ChangedError
            When something else than `replaces` stands there.
        MovedError
            When the file changed while it was read.
        """

    def holds(self, name: str, copy: Copy, path: str) -> bool:
        """Tell whether a local file has the content of a copy."""

    def fetch(self, name: str, copy: Copy, path: str) -> None:
        """Write a copy's content, verified, to a new local file; raise ChangedError when it is another one by now."""

    def delete(self, name: str, copy: Copy) -> None:
        """Remove a copy; raise ChangedError when it is another one by now."""

    def confirmed(self, name: str, copy: Copy) -> bool | None:
        """Tell whether a copy is at its last and safe place, as far as that is known (None: it is not)."""

    def clear(self) -> None:
        """Remove what earlier calls, cut short, have left of copies that never took their place."""


def open_destination(dest: str, key: str, secrets: Mapping[str, str]) -> Destination:
    """Return the destination that is meant.

    Parameters
    ----------
    dest : str
        An absolute path, or ``dropbox:/PATH``.
    key : str
        Tells this keeper from every other that writes there: its unfinished copies are called by it.
    secrets : mapping of str to str
        What came through a pipe, and lies in no file, argument or environment: a destination's credentials.
    """
    if dest.startswith("dropbox:"):
        from colab_magics.core.keeping.dropbox import DropboxDestination

        return DropboxDestination(dest, secrets)
    from colab_magics.core.keeping.folder import FolderDestination  # here: each kind loads only what it needs

    return FolderDestination(Path(dest), key)
