"""What the core's calls return: plain attributes, and a repr of one line."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path

from colab_magics.core.common.disk import size_text
from colab_magics.core.common.files import FOLDER

__all__ = [
    "BootstrapResult",
    "CloneResult",
    "EverywhereResult",
    "HostResult",
    "InstallResult",
    "KeepStatus",
    "KeepStatuses",
    "LinkResult",
    "Package",
    "StepResult",
    "SyncResult",
    "readable",
]

_NAMED = 5  # files that a status names


@dataclass(repr=False)
class SyncResult:
    """What a sync did, or would do.

    Attributes
    ----------
    path : Path
        DEST, as it was given; the result itself can be used as a path too.
    added, updated, unchanged, removed, backed_up : list of str
        Members by what happened to them, as POSIX paths below DEST. What is named in `backed_up` lies in
        ``DEST/.colab_magics/backup/``.
    bytes_received : int
        Bytes that came over the network.
    seconds : float
        How long it took.
    status : {'synced', 'up-to-date', 'planned'}
        Whether something was written, nothing had to be, or nothing was because of a dry run.
    """

    path: Path
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    backed_up: list[str] = field(default_factory=list)
    bytes_received: int = 0
    seconds: float = 0.0
    status: str = "synced"

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        counts = {
            "added": self.added,
            "updated": self.updated,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "backed up": self.backed_up,
        }
        parts = [f"{len(names)} {what}" for what, names in counts.items() if names] or ["nothing in it"]
        if self.status == "up-to-date":
            parts.insert(0, "up to date")
        if self.status == "planned":
            parts.insert(0, "planned, nothing changed yet")
        cost = f"{size_text(self.bytes_received)} in " if self.bytes_received else ""
        return f"{self.path}: {', '.join(parts)} ({cost}{seconds_text(self.seconds)})"

    def changes(self) -> list[str]:
        """List what changed or would change, a line a member: ``+`` added, ``~`` updated, ``-`` removed."""
        signs = (("+", self.added), ("~", self.updated), ("-", self.removed))
        return [f"{sign} {name}" for sign, names in signs for name in names]

    def kept(self) -> list[str]:
        """List what of the user's own was moved, or would be, and where to."""
        place = self.path / FOLDER / "backup"
        return [f"  your own version of {name} is kept in {place}" for name in self.backed_up]


@dataclass(repr=False)
class Package:
    """An installed package.

    Attributes
    ----------
    name, version : str
        As its metadata says; the version is empty where a dry run cannot know it.
    url : str
        Where it came from, without credentials.
    ref : str or None
        The branch, tag or commit that was asked for.
    commit : str or None
        The full commit that is installed; None for a folder that is under no version control.
    changed : bool
        Whether this call installed it.
    """

    name: str
    version: str
    url: str
    ref: str | None
    commit: str | None
    changed: bool

    def __repr__(self) -> str:
        commit = f" ({self.commit[:7]})" if self.commit else ""
        if not self.changed:
            return f"{self.name} {self.version}{commit}: up to date"
        ref = f"@{self.ref}" if self.ref else ""
        source = f" from {short_url(self.url)}{ref}" if self.url else ""
        return f"{' '.join(filter(None, (self.name, self.version)))}{source}{commit}"


@dataclass(repr=False)
class InstallResult:
    """What an installation did.

    Attributes
    ----------
    packages : list of Package
        One for each thing that was asked for.
    restart_needed : bool
        Whether a module that is already imported was changed.
    seconds : float
        How long it took.
    stale : list of str
        The imported modules that are older than what is installed now.
    status : {'installed', 'up-to-date', 'planned'}
        Whether something was installed, nothing had to be, or nothing was because of a dry run.
    also : list of str
        What was installed or changed beside the packages that were asked for, because they demand it.
    """

    packages: list[Package] = field(default_factory=list)
    restart_needed: bool = False
    seconds: float = 0.0
    stale: list[str] = field(default_factory=list)
    status: str = "installed"
    also: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        planned = "would install " if self.status == "planned" else ""
        lines = [f"{planned if package.changed else ''}{package!r}" for package in self.packages]
        nameless = {"planned": "would install the requirements", "up-to-date": "requirements: up to date"}
        text = "\n".join(lines) or nameless.get(self.status, "requirements installed")
        also = f"\nwith it came: {', '.join(self.also)}" if self.also else ""
        return f"{text}, {seconds_text(self.seconds)}{also}{self.warning}"

    @property
    def warning(self) -> str:
        """The sentence that says what to restart, or nothing."""
        if not self.restart_needed:
            return ""
        names = ", ".join(self.stale)
        return (
            f"\n{names} was imported before and is now older than what is installed: restart the kernel to use the "
            "new one"
        )


@dataclass(repr=False)
class LinkResult:
    """What `symlink` did.

    Attributes
    ----------
    path : Path
        Where the link stands.
    target : Path
        What it points to, absolute.
    status : {'linked', 'up-to-date', 'planned'}
        Whether the link was made, stood already, or would be made.
    backup : Path or None
        Where what stood in its place was moved.
    """

    path: Path
    target: Path
    status: str
    backup: Path | None = None

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        moved = f" (what stood there is now {self.backup})" if self.backup else ""
        state = {"linked": "", "up-to-date": ": up to date", "planned": ": would be linked"}[self.status]
        here = Path.cwd()
        target = self.target.relative_to(here) if here in self.target.parents else self.target
        return f"{self.path} -> {target}{state}{moved}"


@dataclass(repr=False)
class KeepStatus:
    """How far the keeping of a folder is.

    Attributes
    ----------
    source : Path
        The folder, absolute.
    dest : str
        Where it is kept, as it was typed.
    kept : list of str
        The files that are there, whole and verified, as POSIX paths below the folder.
    pending, failed : dict of str to str
        Those that are not there yet as they are now, each with the reason; what failed is tried again.
    bytes : int
        The size of what is there.
    last : float or None
        When the last file was verified there, in seconds since the epoch.
    beside : dict of str to str
        The files that are there under another name, as somebody else changed what had theirs.
    unconfirmed : str
        How many copies are verified but not confirmed, where the destination could confirm them.
    status : {'keeping', 'up-to-date', 'ending', 'ended', 'killed', 'planned'}
        Whether a process keeps it, did so already, is about to end, has ended, was killed, or would.
    until : float or None
        When a process that is about to end gives up what it could not copy, in seconds since the epoch.
    notes : list of str
        What may be a typing error of the call that began it.
    """

    source: Path
    dest: str
    kept: list[str] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    last: float | None = None
    beside: dict[str, str] = field(default_factory=dict)
    unconfirmed: str = ""
    status: str = "keeping"
    until: float | None = None
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        here = Path.cwd()
        source = self.source.relative_to(here) if here in self.source.parents else self.source
        words = {"up-to-date": "up to date", "planned": "would be kept"}
        words["killed"] = f"was killed (keep {source} --now goes on)"
        parts = [words.get(self.status, self.status), f"{len(self.kept)} there ({size_text(self.bytes)})"]
        counts = ((self.pending, "not there yet"), (self.failed, "failed"), (self.beside, "beside another's"))
        parts += [f"{len(names)} {what}" for names, what in counts if names]
        parts += [self.unconfirmed] if self.unconfirmed else []
        parts += [f"last verified at {_clock(self.last)}"] if self.last else []
        parts += [f"tries until {_clock(self.until)}"] if self.until else []
        return f"{source} -> {self.dest}: {'; '.join([', '.join(parts), *self.notes])}"

    def problems(self) -> list[str]:
        """List what is not there as it has to be, a few lines at most."""
        late = f"is not at {self.dest} yet"
        places = {"DEST": self.dest, "SOURCE": str(self.source), "--last": "--last"}  # where all of it fails
        lines = [
            f"{places.get(name) or f'{readable(name)} {late}'}: {why}; it is tried again"
            for name, why in self.failed.items()
        ]
        lines += [f"{readable(name)} {late}: it {why}" for name, why in self.pending.items()]
        lines += [
            f"{readable(name)} was changed at {self.dest} by another, and is kept beside that as {readable(at)}"
            for name, at in self.beside.items()
        ]
        return lines if len(lines) <= _NAMED else [*lines[:_NAMED], f"... and {len(lines) - _NAMED} more"]


def readable(name: str) -> str:
    """Return a name as it can be printed, on one line."""
    return name if name.isprintable() else repr(name)


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


class KeepStatuses(list[KeepStatus]):
    """How far the keeping of several folders is."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "nothing is kept on this machine; keep SOURCE DEST begins to"


@dataclass(repr=False)
class CloneResult:
    """What `git_clone` did.

    Attributes
    ----------
    path : Path
        The working tree; the result itself can be used as a path too.
    url : str
        Where it came from, without credentials.
    ref : str or None
        The branch, tag or commit that was asked for.
    commit : str
        The full commit that it is at.
    kept : list of str
        Files with changes of the user's own, which were left as they are.
    status : {'cloned', 'updated', 'up-to-date', 'planned'}
        What was done, or would be.
    seconds : float
        How long it took.
    """

    path: Path
    url: str
    ref: str | None
    commit: str
    kept: list[str] = field(default_factory=list)
    status: str = "cloned"
    seconds: float = 0.0

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        source = f"{short_url(self.url)}{f'@{self.ref}' if self.ref else ''} ({self.commit[:7]})"
        kept = f"; your changes are kept in {', '.join(self.kept)}" if self.kept else ""
        if self.status == "planned":
            return f"{self.path}: planned, nothing changed yet, {source}"
        return f"{self.path}: {self.status.replace('-', ' ')}, {source}, {seconds_text(self.seconds)}{kept}"


@dataclass(repr=False)
class StepResult:
    """What a step of a bootstrap block came to.

    Attributes
    ----------
    line : int
        The line of the block that it stands on, from 1.
    verb : str
        What it is.
    status : {'done', 'up-to-date', 'failed', 'skipped', 'planned', 'interrupted'}
        How it ended.
    seconds : float
        How long it took.
    detail : str
        One line about it.
    """

    line: int
    verb: str
    status: str
    seconds: float = 0.0
    detail: str = ""

    def __repr__(self) -> str:
        words = self.status.replace("-", " ")
        detail = f"  {self.detail}" if self.detail else ""
        took = seconds_text(self.seconds) if self.seconds else ""  # nothing was done in no time
        return f"line {self.line:>2}  {self.verb:<12} {words:<10} {took:>7}{detail}".rstrip()


@dataclass(repr=False)
class BootstrapResult:
    """What a bootstrap block came to.

    Attributes
    ----------
    steps : list of StepResult
        One a step, in the block's order.
    seconds : float
        How long all of it took.
    """

    steps: list[StepResult] = field(default_factory=list)
    seconds: float = 0.0

    def __repr__(self) -> str:
        ended = [step.status for step in self.steps]
        order = ("done", "up-to-date", "planned", "failed", "skipped", "interrupted")
        counts = [f"{ended.count(status)} {status.replace('-', ' ')}" for status in order if status in ended]
        parts = ", ".join(counts) or "nothing to do"
        return f"bootstrap: {parts}" + (f" ({seconds_text(self.seconds)})" if set(ended) - {"planned"} else "")


@dataclass(repr=False)
class HostResult:
    """What a bootstrap block came to on one host.

    Attributes
    ----------
    host : str
        Its name.
    status : {'done', 'up-to-date', 'failed', 'interrupted', 'planned'}
        How it ended.
    seconds : float
        How long it took.
    detail : str
        One line about it: of a failure the line, the step and why.
    workers : list of str
        The workers there, as the engine calls them.
    steps : list of StepResult
        What each step came to; empty when none ran.
    """

    host: str
    status: str
    seconds: float = 0.0
    detail: str = ""
    workers: list[str] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)

    def __repr__(self) -> str:
        took = f" ({seconds_text(self.seconds)})" if self.seconds else ""
        detail = f": {self.detail.splitlines()[0]}" if self.detail else ""
        return f"{self.host} {self.status.replace('-', ' ')}{took}{detail}"


@dataclass(repr=False)
class EverywhereResult:
    """What a bootstrap block came to on the hosts of a cluster.

    Attributes
    ----------
    hosts : list of HostResult
        One a host, the first of the cluster first.
    seconds : float
        How long all of it took.
    lock : str
        What was used on all of them, as ``--lock`` writes it; empty when no host got so far.
    """

    hosts: list[HostResult] = field(default_factory=list)
    seconds: float = 0.0
    lock: str = ""

    def __post_init__(self) -> None:
        self._again: Callable[[], EverywhereResult] | None = None  # set by whoever can; no part of the result

    def update(self) -> EverywhereResult:
        """Do the same on the hosts and for the workers that have joined since, with what the first ones used."""
        if self._again is None:
            raise TypeError("only what core.everywhere returned can be brought up to date")
        return self._again()

    def __repr__(self) -> str:
        counts = Counter(host.status for host in self.hosts)
        parts = [f"{count} {status.replace('-', ' ')}" for status, count in counts.items()]
        return f"{len(self.hosts)} host{'s' * (len(self.hosts) != 1)}: {', '.join(parts)}, {seconds_text(self.seconds)}"


def as_json(result: object) -> str:
    """Return a result as JSON: its attributes, of a path the path, and null where there is none."""
    plain = {"path": str(result)} if isinstance(result, Path) else result
    return json.dumps(plain, default=_plain, indent=1)


def _plain(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def seconds_text(seconds: float) -> str:
    """Return a duration as a person reads it."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short_url(url: str) -> str:
    """Return a repository's address as a person says it: ``acme/secretlib``, with its host unless that is GitHub."""
    return url.partition("://")[2].removeprefix("github.com/").removesuffix(".git") if "://" in url else url
