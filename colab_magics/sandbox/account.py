"""What the account's Dropbox holds, described as its API does (dropbox/dropbox-api-spec, files.stone)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

__all__ = ["Account", "ContentHash", "RefusedError"]

_BLOCK = 4 << 20
_ONLINE = {".gdoc", ".paper"}  # what is opened online alone
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class RefusedError(Exception):
    """An answer with status 409.

    Parameters
    ----------
    *tags : str
        The tags of the error's unions, from the outside in: ``"path", "conflict", "file"``.
    **fields
        What else the innermost one holds.
    """

    def __init__(self, *tags: str, **fields: object) -> None:
        super().__init__("/".join(tags))
        self.error: dict[str, object] = {".tag": tags[-1], **fields}
        for tag in reversed(tags[:-1]):
            self.error = {".tag": tag, tag: self.error}


class ContentHash:
    """Dropbox's hash of a content: the SHA-256 of the SHA-256 digests of its blocks of 4 MiB."""

    def __init__(self) -> None:
        self._whole, self._block, self._room = hashlib.sha256(), hashlib.sha256(), _BLOCK

    def update(self, data: bytes) -> ContentHash:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            self._block.update(view[: self._room])
            taken = min(len(view), self._room)
            view, self._room = view[taken:], self._room - taken
            if not self._room:
                self._whole.update(self._block.digest())
                self._block, self._room = hashlib.sha256(), _BLOCK
        return self

    def hexdigest(self) -> str:
        """Return it, in 64 hexadecimal digits."""
        whole = self._whole.copy()
        if self._room < _BLOCK:
            whole.update(self._block.digest())
        return whole.hexdigest()


class Account:
    """The files of one account: those below a folder, whoever writes them there.

    Parameters
    ----------
    root : Path
        The folder. Names are looked up in any case, as Dropbox does.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._hashes: dict[tuple[int, int, int], str] = {}

    def find(self, path: str, *tags: str) -> Path:
        """Return what stands at `path`; refuse with `tags` when nothing does, or when it is no path."""
        if not re.fullmatch(r"(/[^/]+)*", path) or {".", ".."} & set(path.split("/")):
            raise RefusedError(*tags, "malformed_path")
        place = self._resolved(path)
        if not place.exists():
            raise RefusedError(*tags, "not_found")
        return place

    def _resolved(self, path: str, top: Path | None = None) -> Path:
        place = top or self.root
        for part in path.split("/")[1:]:
            following = place / part
            if not following.exists() and place.is_dir():
                named = (name for name in os.listdir(place) if name.casefold() == part.casefold())
                following = place / next(named, part)
            place = following
        return place

    def metadata(self, place: Path, top: Path | None = None, *, hashed: bool = True) -> dict[str, Any]:
        """Describe a file or a folder; with `top`, the folder of a share link, nothing is said of where that is."""
        entry: dict[str, Any] = {".tag": "folder", "name": place.name}
        entry["id"] = f"id:{hashlib.sha256(os.fsencode(place)).hexdigest()[:22]}"
        if top is None:
            shown = "/" + place.relative_to(self.root).as_posix()
            entry |= {"path_display": shown, "path_lower": shown.lower()}
        if place.is_dir():
            return entry
        status = place.stat()
        moments = {"client_modified": status.st_mtime, "server_modified": status.st_ctime}
        entry |= {name: datetime.fromtimestamp(int(at), timezone.utc).strftime(_TIME) for name, at in moments.items()}
        entry |= {".tag": "file", "rev": self.rev(status), "size": status.st_size}
        entry["is_downloadable"] = place.suffix not in _ONLINE
        return entry | {"content_hash": self.content_hash(place)} if hashed else entry

    @staticmethod
    def rev(status: os.stat_result) -> str:
        """Return the revision of a file; another one whenever something is written to it."""
        return f"0{status.st_ino:010x}{status.st_ctime_ns:016x}"

    def content_hash(self, place: Path) -> str:
        """Return the hash of a file's content."""
        status = place.stat()
        key = status.st_ino, status.st_ctime_ns, status.st_size
        if key not in self._hashes:
            made = ContentHash()
            with place.open("rb") as file:
                while block := file.read(_BLOCK):
                    made.update(block)
            self._hashes[key] = made.hexdigest()
        return self._hashes[key]

    def below(self, place: Path, *, recursive: bool) -> Iterator[Path]:
        """Yield what is in a folder, each folder before what is in it."""
        for entry in sorted(place.iterdir()):
            yield entry
            if recursive and entry.is_dir():
                yield from self.below(entry, recursive=True)

    def commit(self, commit: dict[str, Any], content: Path, content_hash: str) -> dict[str, Any]:
        """Put an uploaded content to its place, or refuse; `commit` is a ``CommitInfo``."""
        path, mode = commit["path"], commit.get("mode", "add")
        if not re.fullmatch(r"(/[^/]+)+", path):
            raise RefusedError("path", "malformed_path")
        tag, rev = (mode, None) if isinstance(mode, str) else (mode[".tag"], mode.get("update"))
        with self._lock:
            place = self._resolved(path)
            if any(parent.is_file() for parent in place.parents):
                raise RefusedError("path", "conflict", "file_ancestor")
            strict = commit.get("strict_conflict", False)
            if place.is_file() and not strict and self.content_hash(place) == content_hash:
                return self.metadata(place)
            if place.is_dir() or (not place.exists() and tag == "update" and strict):
                self._conflict(commit, "folder" if place.is_dir() else "file")
            elif place.exists() and tag != "overwrite" and (tag == "add" or self.rev(place.stat()) != rev):
                self._conflict(commit, "file")
                place = _beside(place, "conflicted copy" if tag == "update" else "1")
            place.parent.mkdir(parents=True, exist_ok=True)
            if stamp := commit.get("client_modified"):
                at = datetime.strptime(stamp, _TIME).replace(tzinfo=timezone.utc).timestamp()
                os.utime(content, (at, at))
            content.replace(place)
            return self.metadata(place)

    @staticmethod
    def _conflict(commit: dict[str, Any], kind: str) -> None:
        if not commit.get("autorename") or kind == "folder":
            raise RefusedError("path", "conflict", kind)

    def delete(self, path: str, rev: str | None) -> dict[str, Any]:
        """Delete a file or a folder, a file only at the revision `rev` if that is given."""
        with self._lock:
            place = self.find(path, "path_lookup")
            entry = self.metadata(place)
            if rev is not None and entry.get("rev") != rev:
                raise RefusedError("path_write", "conflict", "file")
            shutil.rmtree(place) if place.is_dir() else place.unlink()
            return entry


def _beside(place: Path, word: str) -> Path:
    number = 1
    while (
        other := place.with_name(f"{place.stem} ({word}{f' {number}' if number > 1 else ''}){place.suffix}")
    ).exists():
        number += 1
    return other
