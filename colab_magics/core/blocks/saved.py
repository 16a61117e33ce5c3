"""A block that is saved somewhere: in a file, behind an address, as a secret."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from colab_magics.core.blocks.lockfile import Lock
from colab_magics.core.common import drive
from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.settings import Settings
from colab_magics.core.secrets import secrets
from colab_magics.core.syncing import sync
from colab_magics.errors import PlanError

__all__ = ["saved_block"]

_LARGEST = 1 << 20  # bytes; a block is written by hand


def saved_block(
    name: str,
    *,
    sha256: str | None = None,
    frozen: Path | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> str:
    """Return the text of a saved block.

    One that is behind an address can be another one tomorrow: it is shown to `progress` when this machine sees it for
    the first time, and a digest pins it.

    Parameters
    ----------
    name : str
        A file, an ``https://`` address (or a share link), or ``secret:NAME`` of an address or of the block itself.
    sha256 : str, optional
        What its digest must be, 64 hexadecimal digits.
    frozen : Path, optional
        A lock: the block must be the one that it was made with.
    settings : Settings, optional
        By default read from the environment.
    progress : Progress, optional
        Is told the block.

    Returns
    -------
    str

    Raises
    ------
    PlanError
        When it cannot be read, or is not the one that was asked for.
    LinkError, TransferError, TokenError
        When it cannot be fetched.
    """
    settings = settings or Settings.load()
    where = secrets.named(name, settings).reveal() if name.startswith("secret:") else name
    address = re.fullmatch(r"\w+://\S+", where.strip())
    if address:
        data = _fetched(where.strip(), settings)
    elif where is not name:
        data = where.encode()
    else:
        data = _read(drive.expand(name, settings), name)
    digest = hashlib.sha256(data).hexdigest()
    wanted = sha256.lower() if sha256 else Lock.read(frozen).block if frozen else ""
    if wanted not in {"", digest}:
        raise PlanError(
            f"the block {name!r} has the digest {digest}, and not the one that {'--sha256' if sha256 else 'the lock'} "
            "says; look at what it is now, and give that digest where it is meant"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise PlanError(f"the block {name!r} cannot be read: it is not UTF-8 text") from None
    seen = user_cache_path("colab_magics") / "blocks" / digest
    if address and not wanted and not seen.exists():
        numbered = (f"  {number:>3}  {line}" for number, line in enumerate(text.splitlines(), 1))
        progress.say("\n".join([f"{name} holds this block; to run no other, add --sha256 {digest}", *numbered]))
        try:
            seen.parent.mkdir(parents=True, exist_ok=True)
            seen.touch()
        except OSError:
            pass  # it is shown again
    return text


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PlanError(f"the block {name!r} cannot be read: {error.strerror}") from None


def _fetched(address: str, settings: Settings) -> bytes:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise PlanError("a block is only fetched over https, since it says what this machine runs; give that address")
    with tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
        path = sync.sync(address, Path(folder, "block"), settings=settings).path
        if path.is_dir() or path.stat().st_size > _LARGEST:
            raise PlanError("what is behind this address is no block: a block is one small file of text")
        return path.read_bytes()
