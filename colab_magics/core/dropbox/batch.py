"""Putting many small files there: each is sent by itself, several at once, and all take their places in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from colab_magics.core.common import cancellation
from colab_magics.core.dropbox.api import Api, ApiError
from colab_magics.core.dropbox.content_hash import block_digests
from colab_magics.core.dropbox.files import Entry, commit_of, entry_of, finished_before
from colab_magics.errors import TransferError

__all__ = ["MOST", "SMALL", "Small", "upload_small"]

#: Files of one call; Dropbox takes 1,000, but each of them is open until then.
MOST = 500
#: Bytes of the largest file that gains by it: sending a larger one takes longer than the calls around it.
SMALL = 4 << 20
_AT_ONCE = 16  # files on their way: a small one takes a call's delay, not the link's time


class Small(NamedTuple):
    """A file to put there.

    Attributes
    ----------
    path : str
        What it will be called; its parents are made.
    read : callable
        Returns its content.
    check : callable
        Raises what is to be raised instead; called when all are sent, before they stand there.
    rev : str or None
        The revision that it replaces; None where nothing stands.
    mtime : float
        When it was made, in seconds since 1970.
    """

    path: str
    read: Callable[[], bytes]
    check: Callable[[], object]
    rev: str | None
    mtime: float


def upload_small(api: Api, smalls: Sequence[Small]) -> list[Entry | Exception]:
    """Put files there, each whole or not at all, and verify them.

    Parameters
    ----------
    api : Api
        Where.
    smalls : sequence of Small
        `MOST` files at most, of 150 MiB at most each; those on their way are held in memory.

    Returns
    -------
    list of Entry or Exception
        What stands there of each, or why it does not: an ApiError with the tag ``conflict`` when something else does.
    """
    results: list[Entry | Exception] = [TransferError(f"dropbox:{small.path} was not sent") for small in smalls]
    sent: dict[int, tuple[dict[str, Any], str]] = {}  # what finishes it, and its content_hash

    def send(number: int) -> None:
        small = smalls[number]
        try:
            commit, content = commit_of(small.path, small.rev, small.mtime), small.read()
            digest = hashlib.sha256(block_digests(content)).hexdigest()
            arg = {"close": True, "content_hash": digest}
            answer = api.upload("files/upload_session/start", arg, content, f"dropbox:{small.path}")
            cursor = {"session_id": answer["session_id"], "offset": len(content)}
            sent[number] = {"cursor": cursor, "commit": commit}, digest
        except Exception as error:  # noqa: BLE001 - it is that file's
            results[number] = error

    cancellation.for_each(send, range(len(smalls)), at_once=_AT_ONCE, name="upload")
    for number in sorted(sent):
        try:
            smalls[number].check()
        except Exception as error:  # noqa: BLE001 - as above
            results[number] = error
            del sent[number]
    if sent:
        entries = [finish for finish, _ in sent.values()]
        shown = f"{len(entries)} files of dropbox:"
        answer = api.call("files/upload_session/finish_batch_v2", {"entries": entries}, shown)
        for (number, (_, digest)), found in zip(sent.items(), answer["entries"], strict=True):
            results[number] = _entry(api, smalls[number].path, found, digest)
    return results


def _entry(api: Api, path: str, found: dict[str, Any], digest: str) -> Entry | Exception:
    """Return what a call says of one file; its answer may have been lost, and the call made again."""
    shown = f"dropbox:{path}"
    if found[".tag"] != "success":
        error = ApiError(shown, found["failure"])
        try:
            found = finished_before(api, path, error, digest)
        except TransferError as failure:
            return failure
    entry = entry_of(found | {".tag": "file"})
    return entry if entry.hash == digest else TransferError(f"{shown} does not hold what was sent; it is sent again")
