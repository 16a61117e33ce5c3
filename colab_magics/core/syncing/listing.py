"""What a link holds, as Dropbox's API lists it: the account's own folder or file, or a shared folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from colab_magics.core.archives.members import Member
from colab_magics.core.common import cancellation
from colab_magics.core.dropbox import files
from colab_magics.core.dropbox.api import Api, ApiError
from colab_magics.core.dropbox.files import Entry
from colab_magics.core.http.links import Link
from colab_magics.core.http.responses import Answer
from colab_magics.errors import LinkError

__all__ = ["Listing", "list_account", "list_shared"]


@dataclass(frozen=True)
class Listing:
    """What a link holds.

    Attributes
    ----------
    api : Api
        Where it comes from.
    answer : Answer
        What is said of all of it; the validator of a file is its content_hash.
    entries : list of Entry
        The files and folders; of a file itself alone.
    route : str
        Where a file's content is asked for.
    argument : callable
        Returns what it is asked for with.
    has_zip : bool
        Whether all of it may be asked for as a zip.
    """

    api: Api
    answer: Answer
    entries: list[Entry]
    route: str
    argument: Callable[[Entry], dict[str, Any]]
    has_zip: bool

    def holds(self, members: Iterable[Member]) -> bool:
        """Tell whether the members of a zip are among what was listed."""
        return {member.name for member in members if member.kind == "file"} <= {entry.name for entry in self.entries}


def list_account(api: Api, link: Link) -> Listing:
    """List ``dropbox:/PATH``.

    Raises
    ------
    LinkError
        When nothing is there.
    """
    path = link.url.removeprefix("dropbox:").rstrip("/")
    try:
        entries = files.list_folder(api, path)  # first: it is mostly a folder, and each question takes a while
    except ApiError as error:
        if error.tags not in {("path", "not_folder"), ("path", "not_found")}:
            raise
        found = files.metadata(api, path)
        if found is None:
            raise LinkError(f"{link.shown} is not there; check its path, and whose login it is") from None
        answer = Answer(found.name, False, found.size, found.hash or None, found.mtime)
        return Listing(api, answer, [found], "files/download", lambda _: {"path": path}, has_zip=False)
    answer = Answer(link.name or "Dropbox", True, None, None)

    # The API's zip has the folder itself around everything, and so must hold nothing else that is called so.
    top = path.rpartition("/")[2].casefold()
    has_zip = top != "" and not any(entry.name.partition("/")[0].casefold() == top for entry in entries)
    return Listing(api, answer, entries, "files/download", lambda entry: {"path": f"{path}/{entry.name}"}, has_zip)


def list_shared(api: Api, link: Link, password: str | None) -> Listing:
    """List a shared folder, one call a folder.

    Raises
    ------
    ApiError, TokenError
        When these credentials do not open it.
    """
    shared = {"url": link.url} | ({"link_password": password} if password else {})
    found, entries = dict[str, Any](), list[Entry]()

    def name() -> None:
        found.update(api.call("sharing/get_shared_link_metadata", shared, link.shown))

    def content() -> None:
        entries.extend(files.list_shared(api, link.url, password, link.shown))

    cancellation.for_each(lambda ask: ask(), (name, content), at_once=2, name="list")

    def argument(entry: Entry) -> dict[str, Any]:
        return {**shared, "path": f"/{entry.name}"}

    answer = Answer(found["name"], True, None, None)
    return Listing(api, answer, entries, "sharing/get_shared_link_file", argument, has_zip=True)
