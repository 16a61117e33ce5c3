"""What a step reads and writes, and so which steps wait for which. Decides; touches nothing.

Two steps keep their order when one of them writes what the other touches: a path, a folder that it lies in, or
what lies in it. Symlinks that the block declares, and those that are on the disk, are followed first. The
folder that packages are installed into is one resource, and ``run`` may read and write anything.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from colab_magics.core.blocks.plan import Step
from colab_magics.core.common import layout
from colab_magics.core.common.settings import Settings
from colab_magics.core.http import links
from colab_magics.core.packages import requirements

__all__ = ["Effects", "Paths", "effects_of", "longest_chain", "waits_of", "waves_of"]

_PACKAGES = "<site-packages>"  # no path: it begins with no slash
_DRIVE = "/content/drive/MyDrive"  # where Colab's Drive will be, before it is mounted
_MOST_LINKS = 40  # links followed for one path, as the kernel's own limit
_FILE_OPTIONS = {"-r", "--requirement", "-c", "--constraint", "-f", "--find-links"}
_FOLDER_OPTIONS = {"-e", "--editable", "-t", "--target", "--prefix", "--root", "--src"}


@dataclass(frozen=True)
class Effects:
    """What a step touches.

    Attributes
    ----------
    reads, writes : frozenset of str
        Absolute paths, symlinks followed; each stands for itself and all that is below it.
    everything : bool
        Whether it may read and write anything at all.
    guessed : bool
        Whether it has a file that is yet to come: once that is there, what it names is known.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    everything: bool = False
    guessed: bool = False

    def keeps_order_with(self, other: Effects) -> bool:
        """Tell whether this and `other` must not change places or run side by side."""
        if self.everything or other.everything:
            return True
        mine, theirs = self.reads | self.writes, other.reads | other.writes
        return _meet(self.writes, theirs) or _meet(other.writes, mine)


class Paths:
    """Resolves what is typed in a block to absolute paths, as they will be when the step runs.

    Parameters
    ----------
    here : str
        The working folder.
    drive : str
        The root of the drive.
    read_link : callable, optional
        Returns where a symlink on the disk points, or None when there is none at that path.
    """

    def __init__(self, here: str, drive: str, read_link: Callable[[str], str | None] | None = None) -> None:
        self._here, self._drive = here, drive
        self._read_link = read_link or _on_disk
        self._declared: dict[str, str] = {}

    def declare(self, link: str, target: str) -> None:
        """Take note that from here on a symlink stands at `link`."""
        self._declared[link] = target

    def resolve(self, typed: str) -> tuple[str, set[str]]:
        """Return the path that is meant, and the links that lead to it."""
        return self._follow(self.absolute(typed))

    def place(self, typed: str) -> tuple[str, set[str]]:
        """Return the path itself, when what stands there is replaced: only what leads to it is followed."""
        path = self.absolute(typed)
        parent, passed = self._follow(os.path.dirname(path))
        return os.path.join(parent, os.path.basename(path)), passed

    def absolute(self, typed: str) -> str:
        """Return what is typed as an absolute path, no link followed."""
        if typed.startswith("drive:"):
            return os.path.normpath(f"{self._drive}/{typed[6:]}")
        return os.path.normpath(os.path.join(self._here, os.path.expanduser(typed)))

    def _follow(self, path: str) -> tuple[str, set[str]]:
        passed: set[str] = set()
        followed = 0
        done, left = "/", path.strip("/").split("/") if path != "/" else []
        while left:
            done = os.path.join(done, left.pop(0))
            target = self._declared.get(done) or self._read_link(done)
            if target is None or followed >= _MOST_LINKS:
                continue
            followed += 1
            passed.add(done)
            whole = os.path.normpath(os.path.join(os.path.dirname(done), target))
            done, left = "/", [part for part in whole.split("/") if part] + left
        return done, passed


def paths_here(settings: Settings) -> Paths:
    """Return the paths of the working folder, for a configuration."""
    return Paths(os.getcwd(), str(layout.find_drive(settings) or _DRIVE))


def effects_of(steps: Sequence[Step], paths: Paths, settings: Settings, ended: Collection[int] = ()) -> list[Effects]:
    """Return what each step touches; the links that a step declares count from the next one on.

    Parameters
    ----------
    steps : sequence of Step
        In the block's order.
    paths : Paths
        Resolves what they name.
    settings : Settings
        The configuration.
    ended : collection of int, optional
        The steps, as indices, that have done their work: what they write is on the disk, and can be read.
    """
    found: list[Effects] = []
    for step in steps:
        pending = [effects for index, effects in enumerate(found) if index not in ended]
        found.append(_Reader(step, paths, settings, pending).effects())
    return found


def waits_of(effects: Sequence[Effects]) -> list[list[int]]:
    """Return for each step the earlier ones that it waits for, as indices."""
    return [
        [earlier for earlier in range(index) if effects[earlier].keeps_order_with(mine)]
        for index, mine in enumerate(effects)
    ]


def waves_of(waits: Sequence[Sequence[int]]) -> list[int]:
    """Return for each step the earliest round it could run in, from 1, if every step took one round."""
    waves: list[int] = []
    for before in waits:
        waves.append(1 + max((waves[index] for index in before), default=0))
    return waves


def longest_chain(waits: Sequence[Sequence[int]], seconds: Sequence[float]) -> float:
    """Return the time below which no number of jobs gets: the longest chain of steps that wait for each other."""
    ends: list[float] = []
    for index, before in enumerate(waits):
        ends.append(seconds[index] + max((ends[other] for other in before), default=0.0))
    return max(ends, default=0.0)


class _Reader:
    def __init__(self, step: Step, paths: Paths, settings: Settings, pending: Sequence[Effects]) -> None:
        self.step, self.paths, self.settings, self.pending = step, paths, settings, pending
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.guessed = False

    def effects(self) -> Effects:
        args = self.step.args
        match self.step.verb:
            case "run":
                return Effects(everything=True)
            case "mount_drive":
                self._writes(args.mountpoint or os.path.dirname(_DRIVE))
                self._writes("drive:")
            case "dropbox_sync":
                self._sync()
            case "symlink":
                self._symlink()
            case "pip":
                self._secrets()
                self.written.add(_PACKAGES)
                self._arguments(self.step.command)
            case "private_pip":
                self._packages()
        return Effects(frozenset(self.read), frozenset(self.written), guessed=self.guessed)

    def _sync(self) -> None:
        args = self.step.args
        if "secret:" in f"{args.link}{args.password}":
            self._secrets()
        if args.dest is None:
            self._writes(".")  # the server gives the name
            return
        self._writes(args.dest)
        plain = not args.link.startswith("secret:") and links.parse(args.link, dropbox_url=self.settings.dropbox_url)
        if not plain or plain.kind != "folder":
            # The record of one file lies beside it, and is shared with other files there.
            parent = os.path.dirname(args.dest.rstrip("/")) or "."
            self._writes(f"{parent}/.colab_magics")

    def _symlink(self) -> None:
        args = self.step.args
        source, passed = self.paths.resolve(args.source)
        self.read |= {source, *passed}
        if args.source.startswith("drive:"):
            self.written.add(source)  # made if it is not there
        place, passed = self.paths.place(args.link)
        self.read |= passed
        self.written.add(place)
        self.paths.declare(place, self.paths.absolute(args.source))

    def _packages(self) -> None:
        args = self.step.args
        self._secrets()
        self.written.add(_PACKAGES)
        if args.token_file:
            self._reads(args.token_file)
        for name in (*args.requirement, *args.constraint):
            self._requirements(name)
        for spec in args.specs:
            if re.match(r"^(\.{1,2}(/|$|\[)|/|~|drive:)", spec):
                self._writes(re.sub(r"\[[^]/]*\]$", "", spec))  # a build leaves its traces in the folder
            elif args.editable:
                name = re.split(r"[@\[#]", spec.rstrip("/").removesuffix(".git"))[0].rpartition("/")[2]
                self._writes(f"{args.src or '.'}/{name}")

    def _secrets(self) -> None:
        if self.settings.token_file is not None:
            self._reads(str(self.settings.token_file))
        else:
            self._reads("drive:colab_magics/tokens.json")

    def _arguments(self, words: Iterable[str]) -> None:
        """Read the arguments of a pip install for the files and folders in them."""
        option = ""
        for word in words:
            name, _, value = word.partition("=")
            if option or (name in _FILE_OPTIONS | _FOLDER_OPTIONS and value):
                self._file(option or name, word if option else value)
                option = ""
            elif word in _FILE_OPTIONS | _FOLDER_OPTIONS:
                option = word
            elif not word.startswith("-") and "://" not in word and ("/" in word or word.startswith(".")):
                self._writes(re.sub(r"\[[^]/]*\]$", "", word))

    def _file(self, option: str, value: str) -> None:
        if option in {"-r", "--requirement", "-c", "--constraint"}:
            self._requirements(value)
        elif option in _FOLDER_OPTIONS:
            self._writes(re.sub(r"\[[^]/]*\]$", "", value))
        elif "://" not in value:
            self._reads(value)

    def _requirements(self, name: str, depth: int = 0) -> None:
        """Read a requirements file for what it names; one that is yet to come stands for its folder."""
        if "://" in name:
            return
        self._reads(name)
        path, _ = self.paths.resolve(name)
        if depth > 10 or any(_meet(before.writes, {path}) or before.everything for before in self.pending):
            self._reads(f"{name}/..")
            self.guessed = True
            return
        folder = os.path.dirname(name)
        try:
            lines = list(requirements.lines(Path(path)))
        except (OSError, UnicodeDecodeError):
            return
        for line in lines:
            nested = re.match(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)", line)
            clone = requirements.clone(line)
            local = re.match(r"(?:-e|--editable)[ =]?\s*(\S+)|(\.{0,2}/\S*)", line)
            if clone and self.step.verb == "pip":
                self._writes("src")  # where pip clones to, under the project's name
            elif clone:
                self._writes(f"{self.step.args.src or '.'}/{clone}")
            elif nested:
                self._requirements(os.path.join(folder, nested[1]), depth + 1)
            elif local and "://" not in line:
                # pip reads a folder's path from the working folder, not from the file's.
                self._writes(re.sub(r"\[[^]/]*\]$", "", shlex.split(local[1] or local[2])[0]))

    def _reads(self, typed: str) -> None:
        path, passed = self.paths.resolve(typed)
        self.read |= {path, *passed}

    def _writes(self, typed: str) -> None:
        path, passed = self.paths.resolve(typed)
        self.written.add(path)
        self.read |= passed


def _meet(some: Iterable[str], others: Iterable[str]) -> bool:
    others = list(others)
    return any(_touch(one, other) for one in some for other in others)


def _touch(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other.rstrip('/')}/") or other.startswith(f"{one.rstrip('/')}/")


def _on_disk(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
