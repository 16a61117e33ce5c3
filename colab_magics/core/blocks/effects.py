"""What a step reads and writes, and so which steps wait for which. Decides; touches nothing.

Two steps keep their order when one of them writes what the other touches: a path, a folder that it lies in, or
what lies in it. Symlinks that the block declares, and those that are on the disk, are followed first. The
folder that packages are installed into is one resource, and ``run`` may read and write anything.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.plan import Step
from colab_magics.core.common import drive, environment
from colab_magics.core.common.settings import Settings
from colab_magics.core.packages import requirements
from colab_magics.core.packages.pip_args import parse_line

__all__ = ["Effects", "Paths", "Touches", "effects_of", "waits_of"]

_PACKAGES, _PROGRAMS = "<site-packages>", "<programs>"  # no paths: they begin with no slash
_DRIVE = "/content/drive/MyDrive"  # where Colab's Drive will be, before it is mounted
_MOST_LINKS = 40  # links followed for one path, as the kernel's own limit


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
    needs : tuple of (str, str)
        Paths that must be there when it begins, each with what to say when one is not.
    on_drive : bool
        Whether it needs the drive.
    mounts : bool
        Whether it makes the drive be there.
    sets_environment : bool
        Whether it changes the environment, which every other step reads.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    everything: bool = False
    guessed: bool = False
    needs: tuple[tuple[str, str], ...] = ()
    on_drive: bool = False
    mounts: bool = False
    sets_environment: bool = False

    def keeps_order_with(self, other: Effects) -> bool:
        """Tell whether this and `other` must not change places or run side by side."""
        if self.everything or other.everything or self.sets_environment or other.sets_environment:
            return True
        mine, theirs = self.reads | self.writes, other.reads | other.writes
        return _meet(self.writes, theirs) or _meet(other.writes, mine)

    def may_make(self, path: str) -> bool:
        """Tell whether `path` may be there once this has been done."""
        return self.everything or _meet(self.writes, {path})


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
    return Paths(os.getcwd(), str(drive.find_drive(settings) or _DRIVE))


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
        touches = Touches(paths, settings, [effects for index, effects in enumerate(found) if index not in ended])
        verbs.get(step.verb).effects(step, touches)
        found.append(touches.effects())
    return found


def waits_of(effects: Sequence[Effects]) -> list[list[int]]:
    """Return for each step the earlier ones that it waits for, as indices."""
    return [
        [earlier for earlier in range(index) if effects[earlier].keeps_order_with(mine)]
        for index, mine in enumerate(effects)
    ]


class Touches:
    """Takes down what a step touches; a verb tells it with the paths as they are typed.

    Parameters
    ----------
    paths : Paths
        Resolves them.
    settings : Settings
        The configuration.
    pending : sequence of Effects
        What the earlier steps that have not ended touch.
    """

    def __init__(self, paths: Paths, settings: Settings, pending: Sequence[Effects]) -> None:
        self.settings = settings
        self._paths, self._pending = paths, pending
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._needed: list[tuple[str, str]] = []
        self._everything = self._guessed = self._on_drive = self._mounts = self._environment = False

    def effects(self) -> Effects:
        """Return what was taken down."""
        return Effects(
            frozenset(self._read),
            frozenset(self._written),
            everything=self._everything,
            guessed=self._guessed,
            needs=tuple(self._needed),
            on_drive=self._on_drive,
            mounts=self._mounts,
            sets_environment=self._environment,
        )

    def everything(self) -> None:
        """Note that it may read and write anything at all."""
        self._everything = True

    def environment(self) -> None:
        """Note that it changes the environment."""
        self._environment = True

    def packages(self) -> None:
        """Note that it changes what is installed."""
        self._written.add(_PACKAGES)

    def programs(self, *, installs: bool) -> None:
        """Note that it starts programs that an earlier step may install, or is such a step."""
        (self._written if installs else self._read).add(_PROGRAMS)

    def secrets(self, token_file: str | None = None) -> None:
        """Note that it may read the token file, and that of the call when there is one."""
        if token_file:
            self.needs(token_file, "the token file")
        configured = self.settings.token_file
        self._note(self._read, str(configured) if configured else "drive:colab_magics/tokens.json")

    def reads(self, typed: str) -> None:
        """Note that it reads a path, and what is below it."""
        self._on_drive |= typed.startswith("drive:")
        self._note(self._read, typed)

    def needs(self, typed: str, what: str) -> None:
        """Note that it reads a path that must be there by then; `what` says what the path is to it."""
        self.reads(typed)
        self._needed.append((self._paths.resolve(typed)[0], f"{what} {typed!r} does not exist"))

    def command(self, name: str) -> None:
        """Note that it starts a command, which is there or is installed by then."""
        if "/" not in name and not shutil.which(name, path=environment.child_path()):
            self._needed.append((_PACKAGES, f"the command {name!r} was not found"))

    def writes(self, typed: str) -> None:
        """Note that it writes a path, or below it."""
        self._on_drive |= typed.startswith("drive:")
        self._note(self._written, typed)

    def builds(self, typed: str) -> None:
        """Note that it builds a project's folder, maybe with ``[extras]`` behind it; that leaves traces there."""
        folder = re.sub(r"\[[^]/]*\]$", "", typed)
        self.needs(folder, "the folder")
        self.writes(folder)

    def links(self, link: str, source: str) -> None:
        """Note that it puts a symlink at `link`, which counts for the steps that follow."""
        self._on_drive |= link.startswith("drive:")
        target, passed = self._paths.absolute(source), self._paths.resolve(source)[1]
        place, above = self._paths.place(link)
        self._read |= passed | above
        self._written.add(place)
        self._paths.declare(place, target)

    def mounts(self, mountpoint: str | None) -> None:
        """Note that it makes the drive be there."""
        self._mounts = True
        for typed in (mountpoint or os.path.dirname(_DRIVE), "drive:"):
            self._note(self._written, typed)

    def requirements(self, typed: str, clones: Callable[[str], str], what: str = "the requirements file") -> None:
        """Note that it reads a requirements file for what that names, and clones each where `clones` says."""
        if "://" not in typed:
            self.needs(typed, what)
            self._requirements(typed, clones)

    def _requirements(self, name: str, clones: Callable[[str], str], depth: int = 0) -> None:
        """Read a requirements file; one that is yet to come stands for its folder."""
        if "://" in name:
            return
        self._note(self._read, name)
        path, _ = self._paths.resolve(name)
        if depth > 10 or any(before.may_make(path) for before in self._pending):
            self._note(self._read, f"{name}/..")
            self._guessed = True
            return
        folder = os.path.dirname(name)
        try:
            lines = list(requirements.lines(Path(path)))
        except (OSError, ValueError, LookupError):
            return
        for asked in map(parse_line, lines):
            for inner in asked.files + asked.constraints:
                self._requirements(os.path.join(folder, inner), clones, depth + 1)
            for text in asked.editables + asked.targets:
                # pip reads a folder's path from the working folder, not from the file's.
                place = clones(clone) if (clone := requirements.clone(text)) and asked.editables else text
                if clone or ("://" not in place and (asked.editables or place.startswith((".", "/")))):
                    self._note(self._written, re.sub(r"\[[^]/]*\]$", "", place))

    def _note(self, among: set[str], typed: str) -> None:
        path, passed = self._paths.resolve(typed)
        among.add(path)
        self._read |= passed


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
