"""Where a sync goes: a folder, or one file in a folder; and where an earlier sync of a link has gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from colab_magics.core.common import drive
from colab_magics.core.common.files import FOLDER
from colab_magics.core.common.results import SyncResult
from colab_magics.core.common.settings import Settings
from colab_magics.core.http.links import Link
from colab_magics.core.http.responses import Answer
from colab_magics.core.syncing.disktree import DiskTree
from colab_magics.core.syncing.journal import is_pending
from colab_magics.core.syncing.manifest import MANIFEST, Manifest
from colab_magics.core.syncing.options import Options
from colab_magics.errors import LayoutError

__all__ = ["Dest", "Place", "done_already", "done_before", "earlier_etag", "place_of", "validator"]

_ARCHIVE_SUFFIX = re.compile(r"(\.tar)?\.(zip|tar|tgz|txz|tbz2|tzst|gz|xz|bz2|zst)$", re.IGNORECASE)

#: DEST as it was typed.
Dest = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Place:
    """Where a sync goes.

    Attributes
    ----------
    shown : Path
        DEST as messages and the result show it.
    root : Path
        The folder that holds the state, absolute and free of symlinks.
    name : str or None
        The file in it, when the link is one file.
    """

    shown: Path
    root: Path
    name: str | None = None


def place_of(link: Link, answer: Answer, dest: Dest, options: Options, settings: Settings) -> Place:
    """Return where a sync goes.

    Parameters
    ----------
    link : Link
        What is synced.
    answer : Answer
        What the server says of it: its name, and whether it is a folder.
    dest : str, path-like or None
        As typed.
    options : Options
        How the sync was asked for.
    settings : Settings
        Says where the drive is.
    """
    name = answer.name or link.name
    one_file = not options.unpack and _is_one_file(link, answer, dest)
    if dest is None:
        path = shown = Path((name or "download") if one_file else _without_suffix(name, is_folder=answer.is_folder))
    else:
        path = drive.expand(dest, settings)
        shown = path if os.fspath(dest).startswith("drive:") else Path(os.fspath(dest))
        if one_file and (path.is_dir() or os.fspath(dest).endswith(("/", os.sep))):
            path, shown = path / (name or "download"), shown / (name or "download")
    if not one_file:
        return Place(shown, Path(os.path.realpath(path)))
    if path.name.casefold() == FOLDER:
        raise LayoutError(f"{FOLDER!r} is where syncs keep their state; give DEST another name")
    return Place(shown, Path(os.path.realpath(path.parent)), path.name)


def _is_one_file(link: Link, answer: Answer, dest: Dest) -> bool:
    """Tell whether a link's content becomes one file; a zip that is not Dropbox's does when DEST is called so too."""
    if link.kind != "url":
        return not answer.is_folder
    name = next((name for name in (answer.name, link.name) if name and "." in name), "")
    return not name.lower().endswith(".zip") or (dest is not None and os.fspath(dest).lower().endswith(".zip"))


def done_before(link: Link, dest: Dest, options: Options, settings: Settings) -> SyncResult | None:
    """Return the result of having nothing to do, if ``--once`` can tell that without the network."""
    if not options.once or options.force:
        return None
    return next(filter(None, (done_already(link, place, options) for place in _earlier(link, dest, settings))), None)


def earlier_etag(link: Link, dest: Dest, options: Options, settings: Settings) -> tuple[Place | None, str | None]:
    """Return where an earlier sync like this one has gone, and the validator (ETag) of what it brought."""
    for place in _earlier(link, dest, settings) if not options.force else ():
        entry = Manifest.load_links(place.root).links[link.identity]
        if "etag" in entry and all(entry.get(key) == value for key, value in options.signature.items()):
            return place, str(entry["etag"])
    return None, None


def done_already(link: Link, place: Place, options: Options) -> SyncResult | None:
    """Return the result of having nothing to do, when ``--once`` was done completely and is still whole."""
    if not options.once or options.force or is_pending(place.root):
        return None
    manifest = Manifest.load_links(place.root)
    entry = manifest.links.get(link.identity)
    if not entry or entry.get("name") != place.name:
        return None
    if any(entry.get(key) != value for key, value in options.signature.items()):
        return None
    members = manifest.members(link.identity)
    if not _all_there(place.root, members + manifest.members(link.identity, "folders")):
        return None
    return SyncResult(place.shown, unchanged=members, status="up-to-date")


def validator(link: Link, place: Place, manifest: Manifest, options: Options) -> str | None:
    """Return the validator (ETag) of what is there, if it is all there and nobody touched it."""
    entry = manifest.links.get(link.identity, {})
    etag = entry.get("etag") if entry.get("name") == place.name else None
    if not etag or options.force:
        return None
    if any(entry.get(key) != value for key, value in options.signature.items()):
        return None
    tree = DiskTree(place.root)
    for name in manifest.members(link.identity):
        record, status = manifest.files.get(name), tree.status(name)
        if status is None or (record and not record.fits(status)):
            return None
    return str(etag)


def _all_there(root: Path, names: list[str]) -> bool:
    """Tell whether something stands at each of `names`; folders are listed, which is quicker than to ask for each."""
    if len(names) < 100:
        return all(os.path.lexists(f"{root}/{name}") for name in names)
    found: set[str] = set()
    try:
        for parent in {name.rpartition("/")[0] for name in names}:
            prefix = f"{parent}/" if parent else ""
            found.update([prefix + name for name in os.listdir(f"{root}/{parent}")])
    except OSError:
        return False
    return found.issuperset(names)


def _earlier(link: Link, dest: Dest, settings: Settings) -> Iterator[Place]:
    """Yield the places where an earlier sync of `link` into `dest` may have gone."""
    if dest is None:
        folders = [Path(), *sorted(path.parent.parent for path in Path().glob(f"*/{FOLDER}/{MANIFEST}"))]
        for folder in folders:
            yield from _with_name(link, folder, folder, None)
        return
    path = drive.expand(dest, settings)
    shown = path if os.fspath(dest).startswith("drive:") else Path(os.fspath(dest))
    yield from _with_name(link, path, shown, None)
    if path.name:
        yield from _with_name(link, path.parent, shown.parent, path.name)


def _with_name(link: Link, folder: Path, shown: Path, wanted: str | None) -> Iterator[Place]:
    """Yield `folder`, or the file in it that the link is; when `wanted` names a file, that file alone."""
    entry = Manifest.load_links(folder).links.get(link.identity)
    name = entry.get("name") if entry else None
    if entry is None or (wanted is not None and name != wanted):
        return
    root = Path(os.path.realpath(folder))
    yield Place(shown, root) if name is None else Place(shown / str(name), root, str(name))


def _without_suffix(name: str | None, *, is_folder: bool) -> str:
    pattern = re.compile(r"\.zip$", re.IGNORECASE) if is_folder else _ARCHIVE_SUFFIX
    bare = pattern.sub("", name or "").strip()
    return "download" if bare in {"", ".", ".."} or bare.casefold() == FOLDER else bare
