"""What the account holds, and putting files there."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from colab_magics.core.common import cancellation
from colab_magics.core.dropbox.api import Api, ApiError
from colab_magics.core.dropbox.content_hash import ContentHash, block_digests
from colab_magics.core.http.links import Link
from colab_magics.core.http.partial import Crc, OtherContentError, Part
from colab_magics.core.http.responses import Answer
from colab_magics.core.http.several import Content
from colab_magics.errors import TransferError

__all__ = [
    "PIECE",
    "Digests",
    "Entry",
    "commit_of",
    "delete",
    "digests_of",
    "entry_of",
    "finished_before",
    "list_folder",
    "list_shared",
    "metadata",
    "upload",
    "wanted",
]

#: Bytes of a piece: a multiple of Dropbox's blocks of 4 MiB, below its limit of 150 MiB.
PIECE = 16 << 20
_AT_ONCE = 3  # pieces on their way, to have as many bytes there as give Dropbox's full speed
_READ = 1 << 20  # bytes read at a time
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_HASH = re.compile(r"[0-9a-f]{64}")
_LOST = {"not_found", "closed"}


class Entry(NamedTuple):
    """A file or folder.

    Attributes
    ----------
    name : str
        Its path below the folder that was listed; of a single one its own name.
    is_file : bool
        Whether it is a file. All that follows is a file's.
    size : int
        Bytes.
    rev : str
        Its revision.
    hash : str
        Its content_hash; empty where Dropbox does not tell.
    mtime : float
        When its content was made, in seconds since 1970.
    """

    name: str
    is_file: bool
    size: int = 0
    rev: str = ""
    hash: str = ""
    mtime: float = 0.0


def entry_of(found: dict[str, Any], name: str | None = None) -> Entry:
    """Read a file's or folder's metadata."""
    name = name or found["name"]
    if found.get(".tag", "file") != "file":
        return Entry(name, is_file=False)
    made = datetime.fromisoformat(f"{found['client_modified'][:19]}+00:00").timestamp()
    digest = str(found.get("content_hash", ""))
    return Entry(name, True, found["size"], found["rev"], digest if _HASH.fullmatch(digest) else "", made)


def metadata(api: Api, path: str) -> Entry | None:
    """Return what stands at a path; None when nothing does."""
    if path in {"", "/"}:
        return Entry("", is_file=False)
    try:
        return entry_of(api.call("files/get_metadata", {"path": path}, f"dropbox:{path}"))
    except ApiError as error:
        if error.tags == ("path", "not_found"):
            return None
        raise


def list_folder(api: Api, path: str) -> list[Entry]:
    """List all that is below a folder, however deep.

    Raises
    ------
    ApiError
        When it is no folder.
    """
    shown, path = f"dropbox:{path}", path.rstrip("/")
    for _ in range(3):
        try:
            # What cannot be downloaded, as a document of Paper, is no file.
            asked = {"path": path, "recursive": True, "limit": 2000, "include_non_downloadable_files": False}
            answer = api.call("files/list_folder", asked, shown)
            found: list[dict[str, Any]] = answer["entries"]
            while answer["has_more"]:
                answer = api.call("files/list_folder/continue", {"cursor": answer["cursor"]}, shown)
                found += answer["entries"]
            return _below(path.lower(), found)
        except ApiError as error:
            if error.tags != ("reset",):
                raise
    raise TransferError(f"{shown} changes while it is listed; run it again")


def list_shared(api: Api, url: str, password: str | None, shown: str) -> list[Entry]:
    """List all that is in a shared folder, which the API tells of one folder at a time."""
    shared = {"url": url} | ({"password": password} if password else {})
    found: list[Entry] = []

    def one(folder: str) -> None:
        asked = {"path": folder, "shared_link": shared, "limit": 2000, "include_non_downloadable_files": False}
        answer = api.call("files/list_folder", asked, shown)
        entries: list[dict[str, Any]] = answer["entries"]
        while answer["has_more"]:
            answer = api.call("files/list_folder/continue", {"cursor": answer["cursor"]}, shown)
            entries += answer["entries"]
        found.extend(entry_of(entry, f"{folder}/{entry['name']}".lstrip("/")) for entry in entries)

    folders, seen = [""], 0
    while folders:
        cancellation.for_each(one, folders, at_once=min(8, len(folders)), name="list")
        folders, seen = [f"/{entry.name}" for entry in found[seen:] if not entry.is_file], len(found)
    return found


def _below(top: str, found: list[dict[str, Any]]) -> list[Entry]:
    """Return entries with their paths below `top`; only the last part of a ``path_display`` has its case for sure."""
    names = {entry["path_lower"]: entry["name"] for entry in found}
    known = {top: ""}

    def name_of(path: str) -> str:
        if path not in known:
            parent, _, last = path.rpartition("/")
            above = name_of(parent)
            known[path] = f"{above}/{names.get(path, last)}".lstrip("/")
        return known[path]

    return [entry_of(entry, name_of(entry["path_lower"])) for entry in found if entry["path_lower"] != top]


def upload(
    api: Api,
    path: str,
    pieces: Iterator[bytes],
    size: int,
    *,
    rev: str | None,
    mtime: float,
    check: Callable[[], object] = lambda: None,
) -> Entry:
    """Put a file there, whole or not at all, and verify it.

    Parameters
    ----------
    api : Api
        Where.
    path : str
        What it will be called; its parents are made.
    pieces : iterator of bytes
        Its content in pieces of `PIECE` bytes, the last as long as is left. Each is read once.
    size : int
        Bytes of all of it.
    rev : str or None
        The revision that it replaces; None where nothing stands. The same content is no conflict.
    mtime : float
        When it was made, in seconds since 1970.
    check : callable, optional
        Raises what is to be raised instead; called when all is read, before it stands there.

    Raises
    ------
    ApiError
        With the tag ``conflict`` when something else stands there.
    TransferError
        When it did not arrive.
    """
    shown, whole = f"dropbox:{path}", hashlib.sha256()
    commit = commit_of(path, rev, mtime)

    if size <= PIECE:
        content = next(pieces, b"")
        digests = block_digests(content)
        check()
        arg = {**commit, "content_hash": hashlib.sha256(digests).hexdigest()}
        found = api.upload("files/upload", arg, content, shown)
        whole.update(digests)
    else:
        arg = {"session_type": "concurrent"}
        session = api.upload("files/upload_session/start", arg, b"", shown)["session_id"]
        _append_all(api, session, pieces, size, whole.update, shown)
        check()
        found = _finish(api, {"session_id": session, "offset": size}, commit, whole.hexdigest(), shown)
    entry = entry_of(found)
    if entry.hash != whole.hexdigest():
        raise TransferError(f"{shown} does not hold what was sent; it is sent again")
    return entry


def commit_of(path: str, rev: str | None, mtime: float) -> dict[str, Any]:
    """Return the ``CommitInfo`` that writes over the revision `rev` and no other, or where nothing stands yet."""
    if not path.isascii() and path != path.encode("utf-8", "replace").decode():
        raise TransferError(f"dropbox:{path!r} has a name that is no text, which Dropbox does not take; rename it")
    made = datetime.fromtimestamp(int(mtime), tz=timezone.utc).strftime(_TIME)
    mode = {".tag": "update", "update": rev} if rev else "add"
    return {"path": path, "mute": True, "mode": mode, "client_modified": made}


def _append_all(
    api: Api, session: str, pieces: Iterator[bytes], size: int, hashed: Callable[[bytes], object], shown: str
) -> None:
    """Send a file's pieces, several at once, since Dropbox answers each only after a while; the last closes it."""
    offset, sent = 0, deque[Future[None]]()
    with ThreadPoolExecutor(_AT_ONCE, "upload") as pool:
        for piece in pieces:
            digests = block_digests(piece)
            hashed(digests)
            is_last = offset + len(piece) >= size
            while sent and (is_last or len(sent) == _AT_ONCE):
                sent.popleft().result()
            arg = {"cursor": {"session_id": session, "offset": offset}, "close": is_last}
            arg["content_hash"] = hashlib.sha256(digests).hexdigest()
            sent.append(pool.submit(copy_context().run, _append, api, arg, piece, shown))
            offset += len(piece)
        sent.popleft().result()


def _append(api: Api, arg: dict[str, Any], piece: bytes, shown: str) -> None:
    try:
        api.upload("files/upload_session/append_v2", arg, piece, shown)
    except ApiError as error:
        # The last piece arrived with an earlier try, although its answer did not.
        if error.tags != ("closed",):
            raise


def _finish(api: Api, cursor: dict[str, Any], commit: dict[str, Any], digest: str, shown: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = api.upload(
            "files/upload_session/finish", {"cursor": cursor, "commit": commit}, b"", shown
        )
    except ApiError as error:
        return finished_before(api, commit["path"], error, digest)
    return found


def finished_before(api: Api, path: str, error: ApiError, digest: str) -> dict[str, Any]:
    """Return what stands there if an earlier try, whose answer did not arrive, has put it; else raise `error`."""
    if error.tags[:1] != ("lookup_failed",) or not _LOST.intersection(error.tags):
        raise error
    found: dict[str, Any] = api.call("files/get_metadata", {"path": path}, f"dropbox:{path}")
    if found.get("content_hash") != digest:
        raise error
    return found


class Digests(Crc):
    """What is known of a content that comes: ``size`` in bytes, ``crc`` (CRC-32) and ``hash`` (content_hash)."""

    def __init__(self) -> None:
        super().__init__()
        self._hash = ContentHash()

    @property
    def hash(self) -> str:
        """Its content_hash."""
        return self._hash.hexdigest()

    def take(self, piece: bytes) -> None:
        """Count the next piece."""
        super().take(piece)
        self._hash.update(piece)

    def join(self, other: Digests) -> None:  # type: ignore[override]  # of the same kind, as all that are joined
        """Count bytes that follow and were counted already."""
        super().join(other)
        self._hash.join(other._hash)


def digests_of(path: Path) -> Digests:
    """Read a file."""
    made = Digests()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ):
            cancellation.check()
            made.take(piece)
    return made


def wanted(
    api: Api,
    route: str,
    arg: dict[str, Any],
    shown: str,
    into: Path,
    entry: Entry,
    *,
    came: Callable[[int], object] = lambda _: None,
    proved: Callable[[Digests], object] = lambda _: None,
    notes: bool = True,
) -> Content:
    """Return a file's content, for `colab_magics.core.http.several.fetch` to write to `into`.

    Parameters
    ----------
    api : Api
        Where from.
    route : str
        ``files/download`` or ``sharing/get_shared_link_file``.
    arg : dict
        Its argument.
    shown : str
        What messages call it.
    into : Path
        The file. It is gone on with after what is there of the same content.
    entry : Entry
        It.
    came : callable, optional
        Is told of the bytes of each piece that comes, before it is written.
    proved : callable, optional
        Is called, in one of several threads, when all is there and is what was listed.
    notes : bool, optional
        Whether a note beside the file may be made, for the next run to go on.
    """
    listed = Answer(None, False, entry.size, f'"{entry.hash or entry.rev}"')
    part, link = Part(into, entry.hash or entry.name, Digests, listed, notes=notes), Link(shown, "account")

    def whole() -> None:
        digests = part.counted()
        part.forget()
        if not isinstance(digests, Digests) or digests.hash != (entry.hash or digests.hash):
            into.unlink(missing_ok=True)
            raise OtherContentError(f"{shown} is not what was listed, or changed meanwhile; run it again")
        proved(digests)

    return Content(shown, part, lambda headers: api.download(route, arg, link, headers), came, whole)


def delete(api: Api, path: str, rev: str) -> None:
    """Delete the revision `rev` of a file, and no other; what is gone already is none."""
    try:
        api.call("files/delete_v2", {"path": path, "parent_rev": rev}, f"dropbox:{path}")
    except ApiError as error:
        if "not_found" not in error.tags:
            raise
