"""Git LFS as a host serves it: its Batch API with the basic transfer, for downloads.

Written after git-lfs's own documents: ``docs/spec.md`` for pointers, ``docs/api/batch.md``,
``docs/api/basic-transfers.md``.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colab_magics.sandbox.server import Exchange

__all__ = ["Large", "answer_batch", "answer_download", "keep", "pointer"]

_TYPE = "application/vnd.git-lfs+json"


class Large(bytes):
    """A file's content that a repository holds as a Git LFS pointer; the content itself lies beside the repository."""


def pointer(content: bytes) -> bytes:
    """Return what git stores in place of the content."""
    oid = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()


def keep(content: bytes, repository: Path) -> None:
    """Put the content where `answer_download` finds it."""
    folder = repository / "lfs"
    folder.mkdir(exist_ok=True)
    (folder / hashlib.sha256(content).hexdigest()).write_bytes(content)


def answer_batch(exchange: Exchange, repository: Path, address: str) -> None:
    """Answer where objects can be downloaded.

    Parameters
    ----------
    exchange : Exchange
        The request.
    repository : Path
        The repository's folder.
    address : str
        The address that `answer_download` is reached at. It wants the same authentication as everything else: what
        the answer says carries none.
    """
    asked = json.loads(exchange.body)
    try:
        operation, wishes = asked["operation"], [(str(wish["oid"]), wish["size"]) for wish in asked["objects"]]
    except (KeyError, TypeError):
        raise ValueError("not what docs/api/batch.md says") from None
    if operation != "download":
        _say(exchange, 403, {"message": "The sandbox is read-only"})
        return
    objects: list[dict[str, object]] = []
    for oid, size in wishes:
        place = repository / "lfs" / oid
        if re.fullmatch(r"[0-9a-f]{64}", oid) and place.is_file():
            action = {"download": {"href": f"{address}/{oid}"}}
            objects.append({"oid": oid, "size": place.stat().st_size, "actions": action})
        else:
            missing = {"code": 404, "message": "Object does not exist on the server"}
            objects.append({"oid": oid, "size": size, "error": missing})
    _say(exchange, 200, {"transfer": "basic", "objects": objects, "hash_algo": "sha256"})


def answer_download(exchange: Exchange, repository: Path, oid: str) -> None:
    """Answer with an object's content."""
    try:
        content = (repository / "lfs" / oid).read_bytes()
    except OSError:
        _say(exchange, 404, {"message": "Object does not exist on the server"})
        return
    exchange.reply(200, content, "application/octet-stream")


def _say(exchange: Exchange, status: int, answer: object) -> None:
    exchange.reply(status, json.dumps(answer), _TYPE)
