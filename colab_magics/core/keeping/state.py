"""What is known of a kept folder, in a folder of its own: how it is kept, what stands at DEST, and how far it is.

Each file has one writer: the configuration is written by whoever calls, under a mutex; the journal and the progress by
the keeper. (`restore` adds to the journal too, a line at a time.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_state_path

from colab_magics.core.common import mutex
from colab_magics.core.keeping.destinations import Copy

__all__ = ["Config", "Journal", "Progress", "Record", "State", "alive", "process"]


@dataclass
class Config:
    """How a folder is kept.

    Attributes
    ----------
    source, dest : str
        Absolute paths; DEST may be ``dropbox:/PATH``.
    shown : str
        DEST as it was typed.
    every : float
        Seconds.
    last : list of (int, str)
        Of the files that a glob matches only so many are kept.
    include, exclude : list of str
        Globs.
    watch : list of (int, float)
        The processes, with the time of their start, after whose end the keeper ends too; none: only when it is told.
    stop : bool
        Whether it is to end.
    request : float
        Changes with every call that wants all to be pushed now.
    """

    source: str
    dest: str
    shown: str
    every: float = 300.0
    last: list[tuple[int, str]] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    watch: list[tuple[int, float]] = field(default_factory=list)
    stop: bool = False
    request: float = 0.0


@dataclass
class Progress:
    """How far a keeper is.

    Attributes
    ----------
    keeper : (int, float)
        Its process, with the time of its start.
    answered : float
        The last request after which it has looked at everything.
    ended : bool
        Whether it has ended as it should.
    until : float
        When it ends even if it could not copy all, in seconds since the epoch; 0 while something is left to watch.
    pending, failed : dict of str to str
        Files that are not at DEST yet as they are, with the reason.
    unconfirmed : str
        What is to be said of copies that are verified but not confirmed.
    linked : list of str
        The symlinks to folders, which are not followed.
    looks : dict of str to (tuple of int, float)
        The files that were looked at and are not at DEST as they are: what was seen, and since when, in seconds.
    """

    keeper: tuple[int, float] = (0, 0.0)
    answered: float = 0.0
    ended: bool = False
    until: float = 0.0
    pending: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unconfirmed: str = ""
    linked: list[str] = field(default_factory=list)
    looks: dict[str, tuple[tuple[int, ...], float]] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return not self.ended and alive(self.keeper)


class Record(NamedTuple):
    """What was kept of a file.

    Attributes
    ----------
    size, mtime_ns, inode : int
        As it was in SOURCE.
    at : str
        Its name at DEST.
    copy : Copy
        As it stands there.
    time : float
        When that was verified, in seconds since the epoch.
    """

    size: int
    mtime_ns: int
    inode: int
    at: str
    copy: Copy
    time: float

    def fits(self, status: os.stat_result) -> bool:
        """Tell whether a file of SOURCE is still what was kept."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


class State:
    """The state of one SOURCE.

    Parameters
    ----------
    folder : Path
        Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, source: str | os.PathLike[str]) -> State:
        """Return that of a folder."""
        return cls(_home() / _digest(os.path.realpath(source)))

    @classmethod
    def every(cls) -> list[State]:
        """Return all that there are."""
        home = _home()
        return [cls(home / name) for name in sorted(os.listdir(home))] if home.is_dir() else []

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the mutex on the configuration."""
        with mutex.locked(self.folder / "config"):
            yield

    def config(self) -> Config | None:
        """Return the configuration, when there is one."""
        found = self._read("config.json")
        if found:
            found |= {name: [tuple(pair) for pair in found[name]] for name in ("last", "watch")}  # JSON has lists alone
        return Config(**found) if found else None

    def write_config(self, config: Config) -> None:
        """Replace it."""
        self._write("config.json", asdict(config))

    def config_stamp(self) -> int:
        """Return what differs once it was replaced."""
        try:
            return os.stat(self.folder / "config.json").st_ino ^ os.stat(self.folder / "config.json").st_mtime_ns
        except FileNotFoundError:
            return 0

    def progress(self) -> Progress:
        """Return how far its keeper is."""
        return Progress(**(self._read("progress.json") or {}))

    def write_progress(self, progress: Progress) -> None:
        """Replace it."""
        self._write("progress.json", asdict(progress))

    def journal(self, dest: str) -> Journal:
        """Return the journal of what stands at a DEST."""
        return Journal(self.folder / f"journal-{_digest(dest)}.jsonl")

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
            json.dump(content, file)
        os.replace(file.name, self.folder / name)


class Journal:
    """What was kept, a line of JSON for each change; a line that was cut short is as if it had not been written.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    records : dict of str to Record
        By names below SOURCE.
    intents : dict of str to (int, int)
        Of what was about to take its place at DEST: size, and time in nanoseconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self.intents: dict[str, tuple[int, int]] = {}
        self._read = 0

    def refresh(self) -> Journal:
        """Read what was added since."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    with contextlib.suppress(ValueError):
                        self._take(*json.loads(line))
        return self

    def _take(self, name: str, kind: str, *content: Any) -> None:
        self.intents.pop(name, None)
        if kind == "kept":
            size, mtime_ns, inode, at, copy, when = content
            self.records[name] = Record(size, mtime_ns, inode, at, Copy(*copy), when)
        elif kind == "intent":
            self.intents[name] = content[0], content[1]
        else:
            self.records.pop(name, None)

    def intend(self, name: str, size: int, mtime_ns: int) -> None:
        """Note what is about to take its place at DEST: after a sudden end that is known to be ours."""
        self._add(name, "intent", size, mtime_ns)

    def keep(self, name: str, status: os.stat_result, at: str, copy: Copy) -> None:
        """Note what stands at DEST now."""
        self._add(name, "kept", status.st_size, status.st_mtime_ns, status.st_ino, at, copy, time.time())

    def forget(self, name: str) -> None:
        """Note that nothing of it is ours at DEST any more."""
        self._add(name, "gone")

    def _add(self, *content: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            end = os.lseek(number, 0, os.SEEK_END)
            cut = b"\n" if end and os.pread(number, 1, end - 1) != b"\n" else b""
            os.write(number, cut + json.dumps(content).encode() + b"\n")
        finally:
            os.close(number)
        self.refresh()

    def sync(self) -> None:
        """Have it on the disk."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            os.fsync(file.fileno())

    def compact(self) -> None:
        """Write it anew, without what is no longer so."""
        fresh = Journal(self.path.with_suffix(".new"))
        fresh.path.unlink(missing_ok=True)
        lines = [json.dumps([name, "kept", *record]) for name, record in self.records.items()]
        lines += [json.dumps([name, "intent", *intent]) for name, intent in self.intents.items()]
        fresh.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh.path.write_text("".join(f"{line}\n" for line in lines))
        fresh.sync()
        os.replace(fresh.path, self.path)
        self._read = self.path.stat().st_size


def process(number: int | None = None) -> tuple[int, float]:
    """Return a process (by default this one) and when it started, since numbers are used again."""
    number = number or os.getpid()
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        return number, -1.0 if os.path.isdir("/proc/self") else 0.0
    return number, -1.0 if state in {b"Z", b"X"} else float(fields[18])


def alive(known: tuple[int, float]) -> bool:
    """Tell whether a process lives."""
    number, start = known
    if not number or process(number)[1] != start:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _home() -> Path:
    return user_state_path("colab_magics") / "keep"


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:20]
