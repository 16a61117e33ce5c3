"""Make DEST hold what a share link holds.

The decision (`colab_magics.core.syncing.decision`) says what happens to each member; the deed here downloads to a file
beside DEST, proves the whole archive, and only then changes DEST: a new one appears in one rename, an existing
one through a journal that a later run can complete.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from colab_magics import masking
from colab_magics.core.archives.members import Archive, Target
from colab_magics.core.archives.names import check_encoding
from colab_magics.core.archives.opening import is_zip, take, unpack
from colab_magics.core.common import drive, mutex
from colab_magics.core.common.attributes import Losses, collected
from colab_magics.core.common.disk import Budget, check_room, disk_errors
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.results import SyncResult
from colab_magics.core.common.selection import Selection
from colab_magics.core.common.settings import Settings
from colab_magics.core.http import links
from colab_magics.core.http.body import Response
from colab_magics.core.http.client import Client, Received, retrying
from colab_magics.core.http.links import Link
from colab_magics.core.http.partial import PART
from colab_magics.core.secrets import secrets
from colab_magics.core.syncing import journal
from colab_magics.core.syncing.decision import Decision, decide
from colab_magics.core.syncing.destination import (
    Dest,
    Place,
    done_already,
    done_before,
    earlier_etag,
    place_of,
    validator,
)
from colab_magics.core.syncing.disktree import DiskTree, sha256_of
from colab_magics.core.syncing.filter import Choice
from colab_magics.core.syncing.manifest import Manifest, Record, join_names, sibling_path
from colab_magics.core.syncing.options import Options
from colab_magics.core.syncing.staging import OneFile, bring_in, stage, work_folder
from colab_magics.errors import ArchiveError, LayoutError, LinkError, TokenError, TransferError

if TYPE_CHECKING:
    from colab_magics.core.dropbox.api import Api
    from colab_magics.core.dropbox.credentials import Credentials
    from colab_magics.core.secrets.secrets import Secret
    from colab_magics.core.syncing.listing import Listing

__all__ = ["is_complete", "sync"]

_declined: set[str] = set()  # the links, by their identity, that the API did not list
_MEMBER = b"PK\x03\x04"  # what a zip begins with
_LISTED = 2  # times that what changes meanwhile is listed again


def sync(
    link: str,
    dest: Dest = None,
    *,
    once: bool = False,
    mirror: bool = False,
    force: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    unpack: bool = False,
    sha256: str | None = None,
    password: str | None = None,
    names: str | None = None,
    via: str = "auto",
    dry_run: bool = False,
    approve: Callable[[Manifest, str], None] | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> SyncResult:
    """Make `dest` hold what a share link holds.

    Parameters
    ----------
    link : str
        A Dropbox share link to a folder or a file, any other ``http(s)`` address, ``dropbox:/PATH`` of one's own
        Dropbox, or ``secret:NAME``.
    dest : str or path-like, optional
        The folder, or for a link to one file the file (or an existing folder for it); by default the name that
        the server gives, in the working folder.
    once : bool, optional
        Do nothing, without the network, once a sync of this link is complete and whole; replace no file.
    mirror : bool, optional
        Also remove what an earlier sync wrote and the link no longer holds.
    force : bool, optional
        Forget what is known and fetch again.
    include, exclude : sequence of str, optional
        Globs that choose members of a folder or an archive.
    unpack : bool, optional
        The link is an archive's: unpack it into `dest`.
    sha256 : str, optional
        The digest that a file link's content must have, in hexadecimal.
    password : str, optional
        ``secret:NAME`` of the link's password.
    names : str, optional
        The encoding of a zip's names that do not say it themselves: ``shift_jis``, ``gbk``.
    via : {'auto', 'zip', 'api'}, optional
        How a folder comes where Dropbox's API can be asked: as a zip, file by file, or as is quicker.
    dry_run : bool, optional
        Say what would happen and change nothing. Where the API is not asked a folder is fetched for that, and thrown
        away.
    approve : callable, optional
        Is shown what the manifest will say, with the link's identity in it, before `dest` changes; what it raises
        leaves `dest` as it was.
    settings : Settings, optional
        By default read from the environment.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    SyncResult

    Raises
    ------
    LinkError, TransferError, ArchiveError, TokenError, LayoutError
        As their names say; DEST is then as it was.

    Examples
    --------
    >>> from pathlib import Path
    >>> from colab_magics import core, sandbox
    >>> with sandbox.start() as box:
    ...     link = box.file_link("points.csv", "x,y")
    ...     first, again = core.sync(link, "data/points.csv"), core.sync(link, "data/points.csv")
    >>> first.status, first.added, again.unchanged
    ('synced', ['points.csv'], ['points.csv'])
    >>> Path(first).read_text()
    'x,y'
    """
    settings = settings or Settings.load()
    began = time.monotonic()
    if password is not None and not password.startswith("secret:"):
        raise TokenError(
            "a password is given as secret:NAME, never itself; change it, since a notebook or a history has it now"
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ArchiveError(f"--sha256 takes 64 hexadecimal digits, not {sha256!r}")
    if names is not None:
        check_encoding(names)
    understood = _understood(link, settings)
    key = secrets.named(password, settings) if password else None
    selection = Selection(tuple(include), tuple(exclude))
    options = Options(selection, once, mirror, force, unpack, sha256 and sha256.lower(), dry_run, names, via)
    with Client(settings.dropbox_url, password=key, progress=progress) as client:
        result = _Run(understood, options, client, settings, progress, approve, key).into(dest)
    result.seconds = time.monotonic() - began
    return result


def is_complete(
    link: str,
    dest: Dest = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    unpack: bool = False,
    sha256: str | None = None,
    names: str | None = None,
    settings: Settings | None = None,
) -> bool:
    """Tell, without the network, whether ``sync(..., once=True)`` with these arguments would find nothing to do."""
    settings = settings or Settings.load()
    selection = Selection(tuple(include), tuple(exclude))
    options = Options(selection, once=True, unpack=unpack, sha256=sha256 and sha256.lower(), names=names)
    return done_before(_understood(link, settings), dest, options, settings) is not None


def _understood(link: str, settings: Settings) -> Link:
    secrets.refuse_literal([link])
    if link.startswith("secret:"):
        link = secrets.named(link, settings).reveal()
    understood = links.parse(link, dropbox_url=settings.dropbox_url)
    for secret in understood.secrets:
        masking.register(secret)
    return understood


class _Run:
    """One call of `sync`."""

    def __init__(
        self,
        link: Link,
        options: Options,
        client: Client,
        settings: Settings,
        progress: Progress,
        approve: Callable[[Manifest, str], None] | None,
        password: Secret | None,
    ) -> None:
        self.typed, self.link, self.approve = link, link, approve
        self.options, self.client, self.settings, self.progress = options, client, settings, progress
        self.password = password
        self.losses = Losses()

    def into(self, dest: Dest) -> SyncResult:
        if done := done_before(self.typed, dest, self.options, self.settings):
            self._clear_beside(done)
            return done
        self.link = self.client.resolve(self.typed)
        if self.link.note:
            self.progress.say(self.link.note)
        if credentials := self._credentials():
            from colab_magics.core.dropbox.api import Api  # here: as above

            with Api(credentials, self.settings.dropbox_url, self.progress) as api:
                if listing := self._listing(api):
                    place = place_of(self.link, listing.answer, dest, self.options, self.settings)
                    return self._locked(place, partial(self._by_file, api, listing))
        return self._as_it_comes(dest)

    def _as_it_comes(self, dest: Dest) -> SyncResult:
        """Sync what the link itself answers with."""
        earlier, etag = earlier_etag(self.link, dest, self.options, self.settings)
        with self.client.open(self.link, etag=etag) as response:
            if earlier and response.is_unchanged:
                return self._locked(earlier, partial(self._work, response))
            if self.options.sha256 is not None and response.answer.is_folder:
                raise LinkError(
                    "--sha256 is for one file, since Dropbox makes a folder's zip anew each time; leave it out"
                )
            place = place_of(self.link, response.answer, dest, self.options, self.settings)
            return self._locked(place, partial(self._work, response))

    def _credentials(self) -> Credentials | None:
        """Return whom to be at Dropbox's API, if that is to be asked."""
        if self.link.kind not in {"account", "folder"}:
            if self.options.via == "api":
                raise LinkError("--via api is for folders of Dropbox; leave it out")
            return None
        from colab_magics.core.dropbox.credentials import find, login_of  # here: most syncs have nothing to do

        if self.link.kind == "account":
            return login_of(self.settings)
        if self.options.via == "zip" or (self.options.via == "auto" and self.link.identity in _declined):
            return None
        found = find(self.settings)
        if self.options.via == "api" and found is None:
            raise TokenError("--via api needs a login to a Dropbox: colab-magics login dropbox")
        return found

    def _listing(self, api: Api) -> Listing | None:
        """Return what the API lists; None when it does not, and all is to come as a zip."""
        from colab_magics.core.dropbox.api import ApiError  # here: as above
        from colab_magics.core.syncing.listing import list_account, list_shared

        if self.link.kind == "account":
            return list_account(api, self.link)
        try:
            listing = list_shared(api, self.link, self.password.reveal() if self.password else None)
            if all(entry.hash for entry in listing.entries if entry.is_file):
                return listing
            reason = "it tells no hashes"
        except (ApiError, TokenError) as error:
            if self.options.via == "api":
                raise
            reason = str(error)
        self.progress.say(f"Dropbox's API does not list {self.link.shown} ({reason}); it comes as a zip")
        _declined.add(self.link.identity)
        return None

    def _clear_beside(self, done: SyncResult) -> None:
        """Clear what a run left that died just behind the rename which made DEST complete."""
        beside = sibling_path(Path(os.path.realpath(done.path)))
        if not self.options.dry_run and beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)

    def _locked(self, place: Place, do: Callable[[Place, Path], SyncResult]) -> SyncResult:
        shown = str(place.shown)
        with (
            disk_errors(place.root, shown),
            mutex.locked(place.root, self.progress, shown=shown),
            collected() as self.losses,
        ):
            if place.root.exists() and not place.root.is_dir():
                raise LayoutError(f"{shown!r} is a file; choose another place for the folder, or move it away")
            if place.name is not None and (place.root / place.name).is_dir():
                raise LayoutError(f"{shown!r} is a folder; choose another name for the file, or move it away")
            if not self.options.dry_run:
                journal.recover(place.root)
            if done := done_already(self.typed, place, self.options):
                return done
            self._warn_of_drive(place)
            with work_folder(place.root, dry_run=self.options.dry_run) as work:
                if self.options.force:
                    (work / PART).unlink(missing_ok=True)
                result = do(place, work)
            if warning := self.losses.warning(shown):
                self.progress.say(warning)
            return result

    def _by_file(self, api: Api, listing: Listing, place: Place, work: Path) -> SyncResult:
        """Sync what the API lists, file by file, unless a zip is quicker."""
        from colab_magics.core.syncing.by_file import ByFile  # here: as above

        manifest, answer, shown = Manifest.load(place.root), listing.answer, str(place.shown)
        if self.options.sha256 is not None and answer.is_folder:
            raise LinkError("--sha256 is for one file; leave it out")
        if self.options.via == "zip" and not listing.has_zip:
            raise LinkError(f"{self.link.shown} does not come as a zip; leave --via out")
        etag = validator(self.link, place, manifest, self.options)
        if etag is not None and answer.etag == etag:
            return self._still_there(place, manifest)
        is_archive, transferred = self.options.unpack and not answer.is_folder, 0
        for tries in range(_LISTED, -1, -1):
            name = None if answer.is_folder else place.name or answer.name
            archive = ByFile(listing, name, place.root, work, manifest, self.options)
            way = archive.zip_reason(self.options.via)
            if self.options.dry_run:
                self.progress.say(f"{shown}: {way or archive.plan}")
            elif way and (made := self._as_zip(listing, place, work)):
                return made
            if self.options.dry_run and not is_archive:
                break
            try:
                archive.fetch(shown, self.progress)
                break
            except TransferError as error:
                if not tries or not archive.is_outdated(error):
                    raise
                self.progress.say(f"{shown}: {self.link.shown} changed meanwhile; looking again")
                listing = self._listing(api) or listing
            finally:
                transferred += archive.transferred
        received = Received(answer, answer.size or 0, 0, transferred)
        if not self.options.dry_run:
            self._check_digest(archive.content)
        if is_archive:
            unpacked = unpack(archive.content(), self._target(place, work, manifest))
            return self._apply(place, work, manifest, unpacked, received)
        manifest.hashes |= archive.hashes
        return self._apply(place, work, manifest, archive, received, archive.tree)

    def _as_zip(self, listing: Listing, place: Place, work: Path) -> SyncResult | None:
        """Sync a folder that is listed as the zip of it; None when Dropbox makes none that was listed so."""
        if self.link.kind != "account":
            with self.client.open(self.link) as response:
                return self._work(response, place, work)
        from colab_magics.core.dropbox.api import ApiError  # here: as above

        manifest, path = Manifest.load(place.root), self.link.url.removeprefix("dropbox:").rstrip("/")
        target = replace(self._target(place, work, manifest), top=path.rpartition("/")[2])
        ask = partial(listing.api.download, "files/download_zip", {"path": path}, self.link, {})
        try:
            with retrying(self.link.shown, ask, self.progress) as response:
                archive = self.client.read(response, lambda source: take(source, target), ask)
            reason = "" if listing.holds(archive.members) else "it holds something else than was listed"
        except ApiError as error:
            reason = str(error)
        if reason and self.options.via == "zip":
            raise TransferError(f"{self.link.shown} does not come as a zip: {reason}; leave --via out")
        if reason:
            self.progress.say(f"{self.link.shown} does not come as a zip ({reason}); it comes file by file")
            return None
        size = target.budget.received
        return self._apply(place, work, manifest, archive, Received(listing.answer, size, 0, size))

    def _work(self, response: Response, place: Place, work: Path) -> SyncResult:
        manifest = Manifest.load(place.root)
        etag = validator(self.link, place, manifest, self.options)
        if etag is not None and (response.is_unchanged or response.answer.etag == etag):
            return self._still_there(place, manifest)
        if response.is_unchanged:  # but what is here is no longer what the manifest says
            response = self.client.open(self.link)
        answer, target = response.answer, self._target(place, work, manifest)
        if place.name is None and not answer.is_resumable and response.head.startswith(_MEMBER):
            archive = self.client.read(response, lambda source: take(source, target))
            size = target.budget.received
            return self._apply(place, work, manifest, archive, Received(answer, size, 0, size))
        received = self.client.download(response, work / PART, room=partial(check_room, work, shown=str(place.shown)))
        self._check_digest(lambda: work / PART)
        if place.name is not None:
            return self._apply(place, work, manifest, OneFile(place.name, work / PART, received, target.tree), received)
        if answer.is_folder and not self.options.unpack and not is_zip(work / PART):
            raise ArchiveError(
                f"{self.link.shown} did not answer with a zip of its folder; open it in a browser and run it again"
            )
        return self._apply(place, work, manifest, unpack(work / PART, target), received)

    def _target(self, place: Place, work: Path, manifest: Manifest) -> Target:
        """Return where an archive is unpacked to."""
        return Target(
            work / "tree",
            Budget(work, str(place.shown)),
            Choice(place.root, manifest, self.options),
            f"what {self.link.shown} sent",
            self.options.names,
            self.progress,
        )

    def _apply(
        self,
        place: Place,
        work: Path,
        manifest: Manifest,
        archive: Archive,
        received: Received,
        tree: DiskTree | None = None,
    ) -> SyncResult:
        options = self.options
        decision = decide(
            archive.members,
            tree or DiskTree(place.root),
            manifest,
            selection=options.selection if place.name is None else None,
            once=options.once,
            mirror=options.mirror and place.name is None,
            force=options.force,
            settled=archive.settled,
        )
        self._say_left(place, decision)
        size = sum(member.size for member in decision.written)
        check_room(place.root, size, str(place.shown), written=0 if options.dry_run else size)
        if not options.dry_run:
            records = stage(archive, decision, work / "tree", "folder" if place.name is None else "file")
            decision.drop(self.losses.links)
            self._remember(place, manifest, decision, records, received)
            if self.approve:
                self.approve(manifest, self.typed.identity)
            bring_in(place.root, str(place.shown), work, decision, manifest, whole=place.name is None)
        return SyncResult(
            place.shown,
            added=[member.name for member in decision.added],
            updated=[member.name for member in decision.updated],
            unchanged=[member.name for member in decision.unchanged],
            removed=list(dict.fromkeys([*decision.removed, *(name for name, _ in decision.removals)])),
            backed_up=list(decision.backups),
            bytes_received=received.transferred,
            status="planned" if options.dry_run else "synced" if decision.changes else "up-to-date",
        )

    def _still_there(self, place: Place, manifest: Manifest) -> SyncResult:
        """Return the result when the server says that its content is what DEST holds."""
        if not self.options.dry_run:
            manifest.links[self.typed.identity] = manifest.links[self.link.identity]
            manifest.save(place.root)
        status = "planned" if self.options.dry_run else "up-to-date"
        return SyncResult(place.shown, unchanged=manifest.members(self.link.identity), status=status)

    def _remember(
        self, place: Place, manifest: Manifest, decision: Decision, records: dict[str, Record], received: Received
    ) -> None:
        """Bring the manifest to what will be true of DEST."""
        manifest.files.update(decision.records)
        manifest.files.update(records)
        gone = {name for name, _ in decision.removals} | {*decision.backups}
        for name in [name for name in manifest.files if gone and name not in records and _is_gone(name, gone)]:
            manifest.files.pop(name)
        names = [member.name for member in decision.written + decision.unchanged]
        entry = self._entry(place, names, decision.folders + decision.standing, received)
        manifest.links.update({link.identity: entry for link in (self.typed, self.link)})
        manifest.folders = sorted({*manifest.folders, *decision.folders} - {*decision.drops})

    def _entry(self, place: Place, names: list[str], folders: list[str], received: Received) -> dict[str, object]:
        """Return what the manifest says of this sync."""
        entry: dict[str, object] = {
            **self.options.signature,
            "name": place.name,
            "members": join_names(sorted(names)),
            "folders": join_names(sorted(folders)),
        }
        return {**entry, "etag": received.answer.etag} if received.answer.etag else entry

    def _warn_of_drive(self, place: Place) -> None:
        """Say when DEST is on a mounted Drive, where each file costs a second rather than a moment."""
        mounted = drive.find_drive(self.settings) if self.settings.drive_root is None else None
        if mounted is not None and place.name is None and place.root.is_relative_to(os.path.realpath(mounted)):
            self.progress.say(f"{place.shown} lies on Drive, which is slow for many small files: better a local folder")

    def _say_left(self, place: Place, decision: Decision) -> None:
        if decision.left:
            names = ", ".join(decision.left[:3]) + (", ..." if len(decision.left) > 3 else "")
            why = "since a symlink or a kept file stands there"
            self.progress.say(f"{place.shown}: {len(decision.left)} left alone, {why}: {names}")

    def _check_digest(self, place: Callable[[], Path]) -> None:
        """Refuse a file that has not the digest which was asked for, if one was."""
        wanted = self.options.sha256
        if wanted is not None and (digest := sha256_of(place())) != wanted:
            raise ArchiveError(
                f"what {self.link.shown} sent has the SHA-256 {digest}, not {wanted}; nothing "
                "was written: check the digest, or who changed the file"
            )


def _is_gone(name: str, gone: set[str]) -> bool:
    """Tell whether a file, or a folder that it lay in, was taken away."""
    while name:
        if name in gone:
            return True
        name = name.rpartition("/")[0]
    return False
