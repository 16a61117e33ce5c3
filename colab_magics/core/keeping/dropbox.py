"""A folder of one's own Dropbox as the place where files are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from colab_magics.core.common.addresses import DROPBOX
from colab_magics.core.common.attributes import set_mtime
from colab_magics.core.common.settings import Settings
from colab_magics.core.dropbox import batch, files
from colab_magics.core.dropbox.api import Api, ApiError
from colab_magics.core.dropbox.credentials import LoginCredentials, login_of
from colab_magics.core.http import several
from colab_magics.core.http.partial import OtherContentError
from colab_magics.core.keeping.destinations import Batches, ChangedError, Copy, Held, Put
from colab_magics.core.secrets.secrets import Secret
from colab_magics.errors import TokenError, TransferError

__all__ = ["DropboxDestination", "address_of", "secrets_for"]

_NAMES = ("app_key", "refresh_token", "dropbox_url")


def address_of(dest: str) -> str:
    """Return ``dropbox:/PATH`` as it is written each time, so that one folder is known by one name."""
    return "dropbox:/" + "/".join(part for part in dest.removeprefix("dropbox:").split("/") if part)


def secrets_for(settings: Settings) -> dict[str, str]:
    """Return what a `DropboxDestination` in another process needs to know of a login.

    Raises
    ------
    TokenError
        When nobody logged in.
    """
    login = login_of(settings)
    return dict(zip(_NAMES, (login.app_key, login.refresh_token.reveal(), settings.dropbox_url), strict=True))


class DropboxDestination:
    """A folder of a Dropbox; a file's revision is its mark, its ``content_hash`` its digest.

    Parameters
    ----------
    dest : str
        ``dropbox:/PATH``.
    secrets : mapping of str to str
        As `secrets_for` returns it.
    """

    unconfirmed = ""

    def __init__(self, dest: str, secrets: Mapping[str, str]) -> None:
        self.shown = dest
        self._root = address_of(dest).removeprefix("dropbox:").rstrip("/")
        login = LoginCredentials(secrets["app_key"], Secret(secrets["refresh_token"], "the login to Dropbox"))
        self._api = Api(login, secrets.get("dropbox_url", DROPBOX))
        self.batches: Batches | None = _Batches(self._api, self._root)

    def copies(self) -> dict[str, Copy]:
        """Return every file that stands there."""
        with _told():
            if files.metadata(self._api, self._root) is None:
                return {}
            return {found.name: _copy(found) for found in files.list_folder(self._api, self._root) if found.is_file}

    def put(self, name: str, held: Held, replaces: Copy | None) -> Copy:
        """Put a file there whole or not at all, and verify it."""
        pieces, status = held.pieces(files.PIECE), held.status
        with _told():
            found = files.upload(
                self._api,
                f"{self._root}/{name}",
                pieces,
                status.st_size,
                rev=replaces.mark if replaces else None,
                mtime=status.st_mtime,
                check=held.check,
            )
        return _copy(found)

    def holds(self, name: str, copy: Copy, path: str) -> bool:  # noqa: ARG002 - the digest says it all
        """Tell whether a local file has the content of a copy."""
        return os.stat(path).st_size == copy.size and files.digests_of(Path(path)).hash == copy.digest

    def fetch(self, name: str, copy: Copy, path: str) -> None:
        """Write a copy's content to a new local file."""
        arg, entry = {"path": f"{self._root}/{name}"}, files.Entry(name, True, copy.size, copy.mark, copy.digest)
        shown = f"{self.shown}: {name}"
        content = files.wanted(self._api, "files/download", arg, shown, Path(path), entry, notes=False)
        with _told():
            several.fetch([content], self._api.progress)
        set_mtime(Path(path), copy.mtime_ns)

    def delete(self, name: str, copy: Copy) -> None:
        """Remove a copy."""
        with _told():
            files.delete(self._api, f"{self._root}/{name}", copy.mark)

    def confirmed(self, name: str, copy: Copy) -> bool:  # noqa: ARG002 - for other destinations
        """Say yes: what Dropbox has said the hash of is there."""
        return True

    def clear(self) -> None:
        """Do nothing: Dropbox itself forgets an upload that nobody finished."""


class _Batches:
    """Puts small files there, many in one call, which would take a call each otherwise."""

    most, largest = batch.MOST, batch.SMALL

    def __init__(self, api: Api, root: str) -> None:
        self._api, self._root = api, root

    def put(self, puts: Sequence[Put]) -> list[Copy | Exception]:
        """Put each as by `DropboxDestination.put`; return of each what that returns or raises."""
        with _told():
            results = batch.upload_small(self._api, [self._small(put) for put in puts])
        return [self._result(result) for result in results]

    def _small(self, put: Put) -> batch.Small:
        held, rev = put.held, put.replaces.mark if put.replaces else None
        return batch.Small(f"{self._root}/{put.name}", partial(_content, held), held.check, rev, held.status.st_mtime)

    @staticmethod
    def _result(result: files.Entry | Exception) -> Copy | Exception:
        return _copy(result) if isinstance(result, files.Entry) else _meant(result)


def _content(held: Held) -> bytes:
    return b"".join(held.pieces(batch.SMALL))


def _copy(found: files.Entry) -> Copy:
    return Copy(found.size, found.rev, found.hash, int(found.mtime) * 1_000_000_000)


@contextmanager
def _told() -> Iterator[None]:
    """Raise what is meant by an error of the API."""
    try:
        yield
    except (ApiError, TokenError, OtherContentError) as error:
        raise _meant(error) from None


def _meant(error: Exception) -> Exception:
    """Return a conflict as what it is, and a login that is no longer good as what may be better later."""
    if isinstance(error, OtherContentError) or (isinstance(error, ApiError) and "conflict" in error.tags):
        return ChangedError()
    return TransferError(str(error)) if isinstance(error, TokenError) else error
