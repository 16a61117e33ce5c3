"""Make DEST hold what a share link holds.

The decision (`colab_magics.core.decision`) says what happens to each member; the deed here downloads to a file
beside DEST, proves the whole archive, and only then changes DEST: a new one appears in one rename, an existing
one through a journal that a later run can complete.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from colab_magics.core import layout, links, secrets, state
from colab_magics.core.archive import PIECE, Archive, Member, looks_like_zip, open_archive, safe_name
from colab_magics.core.decision import Decision, DiskTree, Selection, decide
from colab_magics.core.disk import check_room, disk_errors
from colab_magics.core.links import Link
from colab_magics.core.progress import SILENT, Progress
from colab_magics.core.results import SyncResult
from colab_magics.core.settings import Settings
from colab_magics.core.state import Journal, Manifest, Record
from colab_magics.core.transfer import Client, Received
from colab_magics.errors import ArchiveError, LayoutError, LinkError, TokenError

__all__ = ["sync"]

_ARCHIVE_SUFFIX = re.compile(r"(\.tar)?\.(zip|tar|tgz|txz|tbz2|tzst|gz|xz|bz2|zst)$", re.IGNORECASE)


def sync(
    link: str,
    dest: str | os.PathLike[str] | None = None,
    *,
    once: bool = False,
    mirror: bool = False,
    force: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    unpack: bool = False,
    sha256: str | None = None,
    password: str | None = None,
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> SyncResult:
    """Make `dest` hold what a share link holds.

    Parameters
    ----------
    link : str
        A Dropbox share link to a folder or a file, any other ``http(s)`` address, or ``secret:NAME``.
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
    dry_run : bool, optional
        Say what would happen and change nothing. A folder is fetched for that, and thrown away.
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
    """
    settings = settings or Settings.load()
    began = time.monotonic()
    if password is not None and not password.startswith("secret:"):
        raise TokenError(
            "a password is given as secret:NAME, never itself; change it, since it is now in this notebook"
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ArchiveError(f"--sha256 takes 64 hexadecimal digits, not {sha256!r}")
    understood = _understood(link, settings)
    key = secrets.named(password, settings) if password else None
    selection = Selection(tuple(include), tuple(exclude))
    options = _Options(selection, once, mirror, force, unpack, sha256 and sha256.lower(), dry_run)
    with Client(settings.dropbox_url, password=key, progress=progress) as client:
        result = _Run(understood, options, client, settings, progress).into(dest)
    result.seconds = time.monotonic() - began
    return result


def is_complete(
    link: str,
    dest: str | os.PathLike[str] | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    unpack: bool = False,
    sha256: str | None = None,
    settings: Settings | None = None,
) -> bool:
    """Tell, without the network, whether ``sync(..., once=True)`` with these arguments would find nothing to do."""
    settings = settings or Settings.load()
    selection = Selection(tuple(include), tuple(exclude))
    options = _Options(selection, once=True, mirror=False, force=False, unpack=unpack, sha256=sha256, dry_run=True)
    with Client(settings.dropbox_url) as client:
        return _Run(_understood(link, settings), options, client, settings, SILENT).done_before(dest) is not None


def _understood(link: str, settings: Settings) -> Link:
    secrets.refuse_literal([link])
    if link.startswith("secret:"):
        link = secrets.named(link, settings).reveal()
    return links.parse(link, dropbox_url=settings.dropbox_url)


@dataclass(frozen=True)
class _Options:
    selection: Selection
    once: bool
    mirror: bool
    force: bool
    unpack: bool
    sha256: str | None
    dry_run: bool

    @property
    def signature(self) -> dict[str, object]:
        """What must be the same for an earlier sync of a link to count as this one."""
        return {
            "include": list(self.selection.include),
            "exclude": list(self.selection.exclude),
            "unpack": self.unpack,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class _Place:
    """Where a sync goes: `root` holds the state; `name` is the file in it when the link is one file."""

    shown: Path
    root: Path
    name: str | None = None


class _OneFileError(Exception):
    """A folder link led to one file of the shared folder."""


class _Run:
    """One call of `sync`."""

    def __init__(self, link: Link, options: _Options, client: Client, settings: Settings, progress: Progress) -> None:
        self.typed, self.link = link, link
        self.options, self.client, self.settings, self.progress = options, client, settings, progress

    def into(self, dest: str | os.PathLike[str] | None) -> SyncResult:
        if done := self.done_before(dest):
            return done
        self.link = self.client.resolve(self.typed)
        if self.link.note:
            self.progress.say(self.link.note)
        one_file, name = self._one_file(self.link.name, dest), None
        if dest is None or one_file is None:
            answer = self.client.ask(self.link)
            name = answer.name or "download"
            one_file = not answer.is_folder and self._one_file(name, dest) is not False
        try:
            return self._locked(self._place(dest, name, one_file=one_file))
        except _OneFileError:
            return self._locked(self._place(dest, self.client.ask(self.link).name, one_file=True))

    def done_before(self, dest: str | os.PathLike[str] | None) -> SyncResult | None:
        """Return the result of having nothing to do, if that can be known without the network."""
        return next(filter(None, map(self._done_already, self._likely_places(dest))), None)

    def _one_file(self, name: str | None, dest: str | os.PathLike[str] | None) -> bool | None:
        """Tell whether the link's content becomes one file, as far as the link and a name can say."""
        if self.options.unpack:
            return False
        match self.link.kind:
            case "file":
                return True
            case "folder":
                # What lies below a shared folder's own address can be a folder or a file.
                depth = len([word for word in self.link.url.partition("?")[0].split("/")[3:] if word])
                return None if depth > (4 if "/scl/" in self.link.url else 3) else False
        if not name or "." not in name:
            return None
        return not name.lower().endswith(".zip") or (dest is not None and os.fspath(dest).lower().endswith(".zip"))

    def _place(self, dest: str | os.PathLike[str] | None, name: str | None, *, one_file: bool) -> _Place:
        if dest is None:
            shown = Path((name or "download") if one_file else _ARCHIVE_SUFFIX.sub("", name or "") or "download")
            path = shown
        else:
            path = layout.expand(dest, self.settings)
            shown = path if os.fspath(dest).startswith("drive:") else Path(os.fspath(dest))
            if one_file and (path.is_dir() or os.fspath(dest).endswith(("/", os.sep))):
                file_name = name or self.link.name or self.client.ask(self.link).name or "download"
                path, shown = path / file_name, shown / file_name
        if one_file:
            return _Place(shown, Path(os.path.realpath(path.parent)), path.name)
        return _Place(shown, Path(os.path.realpath(path)))

    def _likely_places(self, dest: str | os.PathLike[str] | None) -> Iterator[_Place]:
        """Yield where an earlier sync of this link may have gone, without asking the network."""
        if not self.options.once or self.options.force:
            return
        if dest is not None:
            path = layout.expand(dest, self.settings)
            shown = path if os.fspath(dest).startswith("drive:") else Path(os.fspath(dest))
            roots = [(shown, path), (shown.parent, path.parent)]
        else:
            here = [Path(), *sorted(path.parent.parent for path in Path().glob(f"*/{state.FOLDER}/manifest.json"))]
            roots = [(path, path) for path in here]
        for shown, path in roots:
            entry = Manifest.load(path).links.get(self.typed.identity)
            if not entry:
                continue
            name = entry.get("name")
            if (
                dest is None
                or name is None
                or path / str(name) == layout.expand(dest, self.settings)
                or path.name == Path(os.fspath(dest)).name
            ):
                yield _Place(
                    shown / str(name) if name else shown, Path(os.path.realpath(path)), str(name) if name else None
                )

    def _done_already(self, place: _Place) -> SyncResult | None:
        """Return the result of having nothing to do, when ``--once`` was done completely and is still whole."""
        if not self.options.once or self.options.force or (place.root / state.FOLDER / "journal.json").exists():
            return None
        entry = Manifest.load(place.root).links.get(self.typed.identity)
        if not entry or any(entry.get(key) != value for key, value in self.options.signature.items()):
            return None
        members = [str(name) for name in entry.get("members") or []]  # type: ignore[attr-defined]  # a list, as written below
        if not all(os.path.lexists(f"{place.root}/{name}") for name in members):
            return None
        return SyncResult(place.shown, unchanged=members, status="up-to-date")

    def _locked(self, place: _Place) -> SyncResult:
        shown = str(place.shown)
        with disk_errors(place.root, shown), state.locked(place.root, self.progress, shown=shown):
            if place.root.exists() and not place.root.is_dir():
                raise LayoutError(f"{shown!r} is a file; choose another place for the folder, or move it away")
            if not self.options.dry_run:
                state.recover(place.root)
            if done := self._done_already(place):
                return done
            with self._work_folder(place) as work:
                return self._work(place, work)

    @contextmanager
    def _work_folder(self, place: _Place) -> Iterator[Path]:
        """Yield an empty folder on DEST's own disk (for a dry run: a temporary one) and clear it afterwards."""
        if self.options.dry_run:
            with tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
                yield Path(folder)
            return
        work = state.work_folder(place.root) if place.root.is_dir() else state.sibling_folder(place.root)
        fresh_state = not work.parent.exists()
        work.mkdir(parents=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if fresh_state and work.parent.name == state.FOLDER and not any(work.parent.iterdir()):
                work.parent.rmdir()

    def _work(self, place: _Place, work: Path) -> SyncResult:
        manifest = Manifest.load(place.root)
        received = self.client.download(self.link, work / "download", etag=self._etag(place, manifest))
        if received is None:
            members = [str(name) for name in manifest.links[self.link.identity]["members"]]  # type: ignore[attr-defined]
            return SyncResult(
                place.shown, unchanged=members, status="up-to-date" if not self.options.dry_run else "planned"
            )
        if (
            self.link.kind == "folder"
            and not received.answer.is_folder
            and place.name is None
            and not self.options.unpack
        ):
            raise _OneFileError
        self._check_digest(received)
        if place.name is not None:
            return self._apply(place, work, manifest, _OneFile(place.name, work / "download", received), received)
        if self.link.kind == "folder" and not looks_like_zip(work / "download"):
            raise ArchiveError(
                f"{self.link.shown} did not answer with a zip of its folder; open it in a browser and run it again"
            )
        with open_archive(work / "download", shown=f"what {self.link.shown} sent") as archive:
            return self._apply(place, work, manifest, archive, received)

    def _apply(self, place: _Place, work: Path, manifest: Manifest, archive: Archive, received: Received) -> SyncResult:
        options = self.options
        decision = decide(
            archive.members,
            DiskTree(place.root),
            manifest,
            selection=options.selection if place.name is None else None,
            once=options.once,
            mirror=options.mirror and place.name is None,
            force=options.force,
        )
        if decision.left:
            self.progress.say(
                f"{place.shown}: {len(decision.left)} left alone, since a symlink or a kept file stands there: "
                f"{', '.join(decision.left[:3])}{', ...' if len(decision.left) > 3 else ''}"
            )
        result = SyncResult(
            place.shown,
            added=[member.name for member in decision.added],
            updated=[member.name for member in decision.updated],
            unchanged=[member.name for member in decision.unchanged],
            removed=[name for name, _ in decision.removals],
            backed_up=list(decision.backups),
            bytes_received=received.transferred,
            status="planned" if options.dry_run else "synced" if decision.changes else "up-to-date",
        )
        check_room(place.root, sum(member.size for member in decision.written), str(place.shown))
        records = self._stage(archive, decision, work, keep=not options.dry_run)
        if not options.dry_run:
            self._commit(place, work, manifest, decision, records, received)
        return result

    def _stage(self, archive: Archive, decision: Decision, work: Path, *, keep: bool) -> dict[str, Record]:
        """Write what is new into ``work/tree`` and prove every other member too."""
        wanted = {member.name for member in decision.written} if keep else set()
        origin = "file" if isinstance(archive, _OneFile) else "folder"
        records: dict[str, Record] = {}
        for member in archive.members:
            if member.kind != "file":
                if member.name in wanted:
                    place = _parent_made(work / "tree" / member.name)
                    place.symlink_to(member.target or "")
                continue
            if member.name not in wanted:
                for _ in archive.read(member):
                    pass
                continue
            place = _parent_made(work / "tree" / member.name)
            if isinstance(archive, _OneFile):
                archive.path.rename(place)
            else:
                with place.open("xb") as file:
                    for piece in archive.read(member):
                        file.write(piece)
            if member.executable:
                place.chmod(place.stat().st_mode | (0o111 & ~_umask()))
            mtime_ns = int(member.mtime * 1e9)
            os.utime(place, ns=(mtime_ns, mtime_ns))
            records[member.name] = Record(member.size, place.stat().st_mtime_ns, member.crc, origin)
        return records

    def _commit(
        self,
        place: _Place,
        work: Path,
        manifest: Manifest,
        decision: Decision,
        records: dict[str, Record],
        received: Received,
    ) -> None:
        manifest.files.update(decision.records | records)
        for name in [name for name, _ in decision.removals] + decision.backups:
            if name not in records:
                manifest.files.pop(name, None)
        members = [member.name for member in decision.written + decision.unchanged] + decision.folders
        entry: dict[str, object] = {**self.options.signature, "name": place.name, "members": members}
        if received.answer.etag:
            entry["etag"] = received.answer.etag
        manifest.links.update({link.identity: entry for link in (self.typed, self.link)})
        manifest.folders = sorted({*manifest.folders, *decision.folders})

        if place.name is None and not place.root.exists():
            tree = work / "tree"
            tree.mkdir(exist_ok=True)
            for name in decision.folders:
                (tree / name).mkdir(parents=True, exist_ok=True)
            manifest.save(tree)
            tree.rename(place.root)
            return
        place.root.mkdir(parents=True, exist_ok=True)
        if not decision.changes:
            manifest.save(place.root)
            return
        self._keep_modes(place.root, work / "tree", decision)
        stage = state.work_folder(place.root)
        if stage != work:
            stage.parent.mkdir(exist_ok=True)
            work.rename(stage)
        Journal(
            folders=decision.folders,
            removals=decision.removals,
            backups=[(name, state.backup_place(place.root, name)) for name in decision.backups],
            moves=[member.name for member in decision.written],
            manifest=manifest,
        ).commit(place.root)

    def _keep_modes(self, root: Path, tree: Path, decision: Decision) -> None:
        """A file that is replaced keeps the rights that it has here."""
        for member in decision.updated:
            (tree / member.name).chmod(stat.S_IMODE((root / member.name).lstat().st_mode))

    def _etag(self, place: _Place, manifest: Manifest) -> str | None:
        """Return the validator of what is there, if it is all there and nobody touched it."""
        entry = manifest.links.get(self.link.identity, {})
        if self.options.force or any(entry.get(key) != value for key, value in self.options.signature.items()):
            return None
        tree = DiskTree(place.root)
        for name in entry.get("members") or []:  # type: ignore[attr-defined]  # a list, as written above
            record, status = manifest.files.get(name), tree.status(name)
            if status is None or (record and not record.fits(status)):
                return None
        etag = entry.get("etag")
        return str(etag) if etag else None

    def _check_digest(self, received: Received) -> None:
        if self.options.sha256 is None:
            return
        if received.answer.is_folder:
            raise LinkError("--sha256 is for a link to one file; Dropbox makes a folder's zip anew each time")
        if received.sha256 != self.options.sha256:
            raise ArchiveError(
                f"what {self.link.shown} sent has the SHA-256 {received.sha256}, not {self.options.sha256}; nothing "
                "was written: check the digest, or who changed the file"
            )


class _OneFile:
    """A content that is one file, seen as an archive of one member."""

    def __init__(self, name: str, path: Path, received: Received) -> None:
        safe = safe_name(name)
        mtime = received.answer.mtime if received.answer.mtime is not None else time.time()
        self.path = path
        self.members = [Member(safe or "download", "file", received.size, received.crc, mtime)]

    def read(self, member: Member) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


def _parent_made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _umask() -> int:
    value = os.umask(0o022)
    os.umask(value)
    return value
