"""Whether requirements hold: proved from the metadata of what is installed, with no installer started.

pip takes half a second to say "already satisfied"; a notebook asks on every run. What cannot be proved here does not
hold, and an installer is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from colab_magics.core.packages import installed, pip_args, requirements
from colab_magics.core.packages.installed import Dist, same_archive
from colab_magics.core.packages.pip_args import PipArguments
from colab_magics.core.packages.requirements import Repository
from colab_magics.errors import InstallError

__all__ = ["arguments_hold", "dependencies_hold", "lines_hold"]


def dependencies_hold(name: str, extras: Iterable[str] = ()) -> bool:
    """Tell whether all that an installed distribution requires, with these extras, is installed."""
    return _Proof().dependencies_hold(name, extras)


def arguments_hold(arguments: Sequence[str], *, folder: Path | None = None) -> bool:
    """Tell whether the arguments of a ``pip install`` ask for nothing that is not installed already.

    What has an address holds when it was installed from there, a repository at its whole commit: a branch or a tag may
    have moved since.

    Parameters
    ----------
    arguments : sequence of str
        What follows ``pip install``.
    folder : Path, optional
        The folder that relative file names are under.

    Returns
    -------
    bool
        False also when that cannot be proved.
    """
    asked, configured = pip_args.parse(arguments), PipArguments(options=pip_args.configured())
    if asked.is_empty or not configured.is_empty:
        return False
    return _Proof().all_hold([configured, asked], folder or Path())


def lines_hold(lines: Iterable[str]) -> bool:
    """Tell whether everything that lines of a requirements file ask for is installed.

    Parameters
    ----------
    lines : iterable of str
        As `colab_magics.core.packages.requirements.read` returns them: the paths in them are absolute.

    Returns
    -------
    bool
        False also when that cannot be proved.
    """
    configured = PipArguments(options=pip_args.configured())
    return _Proof().all_hold([configured, *map(pip_args.parse_line, lines)], Path())


class _Proof:
    """One question, and what was looked at for it."""

    def __init__(self) -> None:
        self._dists = installed.snapshot()
        self._seen: set[tuple[str, frozenset[str]]] = set()

    def all_hold(self, asked: Iterable[PipArguments], folder: Path, *, deps: bool = True) -> bool:
        try:
            return all(self._holds(each, folder, deps=deps and not each.no_deps) for each in asked)
        except InstallError:  # a file that cannot be read
            return False

    def _holds(self, asked: PipArguments, folder: Path, *, deps: bool) -> bool:
        return (
            not asked.may_decide
            and all(map(self._constraints_hold, map(folder.joinpath, asked.constraints)))
            and all(self._target_holds(text, deps=deps) for text in asked.targets)
            and all(self._editable_holds(text, deps=deps) for text in asked.editables)
            and all(
                self.all_hold(map(pip_args.parse_line, requirements.whole(folder / name)), folder, deps=deps)
                for name in asked.files
            )
        )

    def _target_holds(self, text: str, *, deps: bool = True) -> bool:
        repository = requirements.repository(text)
        if repository is not None:
            return repository.is_excluded or self._repository_holds(repository, deps=deps)
        if "://" in text and " @ " not in text:
            dist = next((dist for dist in self._dists.values() if same_archive(dist, text)), None)
            return dist is not None and (not deps or self.dependencies_hold(dist.key))
        requirement = _parsed(text)
        if requirement is None:
            return False
        if not _applies(text, ""):
            return True
        dist = self._find(requirement.name)
        if dist is None or not _allows(text, dist.version):
            return False
        if requirement.url and not same_archive(dist, requirement.url):
            return False
        return not deps or self.dependencies_hold(requirement.name, requirement.extras)

    def dependencies_hold(self, name: str, extras: Iterable[str] = ()) -> bool:
        key = (canonicalize_name(name), frozenset(extras))
        if key in self._seen:  # they may go in circles
            return True
        self._seen.add(key)
        dist = self._find(name)
        if dist is None or dist.requires is None:
            return False
        for text in dist.requires:
            if not any(_applies(text, extra) for extra in ("", *key[1])):
                continue
            # An address in it was followed when it was installed; a ref in that may have moved since.
            requirement = _parsed(text)
            inner = self._find(requirement.name) if requirement else None
            if requirement is None or inner is None or not _allows(text, inner.version):
                return False
            if not self.dependencies_hold(requirement.name, requirement.extras):
                return False
        return True

    def _find(self, name: str) -> Dist | None:
        return self._dists.get(canonicalize_name(name))

    def _repository_holds(self, repository: Repository, *, deps: bool) -> bool:
        spec = repository.spec
        dist = installed.from_repository(self._dists.values(), spec.url, spec.subdirectory)
        if dist is None or not spec.is_pinned or dist.commit != spec.ref:
            return False
        if repository.name and dist.key != canonicalize_name(repository.name):
            return False
        return not deps or self.dependencies_hold(dist.key, spec.extras)

    def _editable_holds(self, text: str, *, deps: bool) -> bool:
        """Tell whether a folder is installed in place, with all that it requires now."""
        match = re.fullmatch(r"(?P<path>[^\[:]+?)(?:\[(?P<extras>[^\]/]*)\])?", text)
        if not match:  # a repository, which pip clones
            return False
        dist = installed.from_folder(self._dists.values(), Path(os.path.expanduser(match["path"])))
        extras = [extra.strip() for extra in (match["extras"] or "").split(",") if extra.strip()]
        if dist is None or dist.folder is None or not dist.editable or dist.is_older_than(dist.folder):
            return False
        if not dist.is_pure:  # what is compiled must be compiled again when its sources change
            return False
        return not deps or self.dependencies_hold(dist.key, extras)

    def _constraints_hold(self, path: Path) -> bool:
        """Tell whether what is installed of the projects that a constraints file names has the versions it allows."""
        for asked in map(pip_args.parse_line, requirements.whole(path)):
            if asked.may_decide or asked.editables or asked.files:
                return False
            if not all(map(self._constraints_hold, map(Path, asked.constraints))):
                return False
            if not all(map(self._is_allowed, asked.targets)):
                return False
        return True

    def _is_allowed(self, text: str) -> bool:
        requirement = _parsed(text)
        if requirement is None:
            return False
        dist = self._find(requirement.name)
        return not _applies(text, "") or dist is None or (not requirement.url and _allows(text, dist.version))


@lru_cache(maxsize=8192)
def _parsed(text: str) -> Requirement | None:
    """Return a requirement, or None when the text is none. It is shared: not to be changed."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


@lru_cache(maxsize=32768)
def _applies(text: str, extra: str) -> bool:
    """Tell whether a requirement counts when this extra is asked for; the empty one stands for none."""
    requirement = _parsed(text)
    return requirement is None or requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@lru_cache(maxsize=32768)
def _allows(text: str, version: str) -> bool:
    """Tell whether a requirement is met by a version, which may be a pre-release: it is there already."""
    requirement = _parsed(text)
    try:
        return requirement is not None and requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False
