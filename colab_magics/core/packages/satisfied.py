"""Whether requirements hold: proved from the metadata of what is installed, with no installer started.

pip takes half a second to say "already satisfied"; a notebook asks on every run. What cannot be proved here does not
hold, and an installer is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from colab_magics.core.git.checkout import head, origin
from colab_magics.core.git.specs import Spec, canonical
from colab_magics.core.packages import installed, pip_args, requirements
from colab_magics.core.packages.installed import Dist, same_archive
from colab_magics.core.packages.metadata import InstalledMetadata, allows, applies, parsed
from colab_magics.core.packages.pip_args import PipArguments

__all__ = ["arguments_hold", "dependencies_hold", "lines_hold", "requirement_holds"]

_FULL = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def requirement_holds(text: str) -> bool:
    """Tell whether a requirement, and all that it requires in turn, is installed.

    Parameters
    ----------
    text : str
        As in PEP 508, or the address of a repository or an archive. One with an address holds when it was installed
        from there, a repository at its whole commit: a branch or a tag may have moved since.

    Returns
    -------
    bool
        False also when that cannot be proved.
    """
    return _Proof().target_holds(text)


def dependencies_hold(name: str, extras: Iterable[str] = ()) -> bool:
    """Tell whether all that an installed distribution requires, with these extras, is installed."""
    return _Proof().dependencies_hold(name, extras)


def arguments_hold(arguments: Sequence[str], *, folder: Path | None = None) -> bool:
    """Tell whether the arguments of a ``pip install`` ask for nothing that is not installed already.

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
    asked, configuration = pip_args.parse(arguments), _configuration()
    if asked.is_empty or configuration.may_decide or not configuration.is_empty:
        return False
    proof = _Proof()
    return proof.all_hold(configuration, Path(), ()) and proof.all_hold(asked, folder or Path(), ())


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
    proof, configuration = _Proof(), _configuration()
    return (
        not configuration.may_decide
        and proof.all_hold(configuration, Path(), ())
        and all(proof.line_holds(line, Path(), ()) for line in lines)
    )


def _configuration() -> PipArguments:
    return PipArguments(options=pip_args.configured())


class _Proof:
    """One question, and what was looked at for it."""

    def __init__(self) -> None:
        self._metadata = InstalledMetadata()
        self._seen: set[tuple[str, frozenset[str]]] = set()
        self._dists: dict[str, Dist] | None = None

    def all_hold(self, asked: PipArguments, folder: Path, above: tuple[Path, ...], *, deps: bool = True) -> bool:
        deps = deps and not asked.no_deps
        return (
            not asked.may_decide
            and all(self._constraints_hold(folder / name, above) for name in asked.constraints)
            and all(self.target_holds(text, deps=deps) for text in asked.targets)
            and all(self._file_holds(folder / name, above, deps=deps) for name in asked.files)
            and all(self._editable_holds(text, deps=deps) for text in asked.editables)
        )

    def line_holds(self, line: str, folder: Path, above: tuple[Path, ...], *, deps: bool = True) -> bool:
        return self.all_hold(pip_args.parse_line(line), folder, above, deps=deps)

    def target_holds(self, text: str, *, deps: bool = True) -> bool:
        repository = requirements.repository(text)
        if isinstance(repository, requirements.Repository):
            return self._repository_holds(repository, deps=deps)
        if repository is not None:
            return True
        if "://" in text and " @ " not in text:
            dist = next((dist for dist in self.dists.values() if same_archive(dist, text)), None)
            return dist is not None and (not deps or self.dependencies_hold(dist.key))
        requirement = parsed(text)
        if requirement is None:
            return False
        if not applies(text, ""):
            return True
        found = self._metadata.find(requirement.name)
        if found is None or not allows(text, found.version):
            return False
        if requirement.url:
            dist = self.dists.get(canonicalize_name(requirement.name))
            if dist is None or not same_archive(dist, requirement.url):
                return False
        return not deps or self.dependencies_hold(requirement.name, requirement.extras)

    def dependencies_hold(self, name: str, extras: Iterable[str] = ()) -> bool:
        key = (canonicalize_name(name), frozenset(extras))
        if key in self._seen:  # they may go in circles
            return True
        self._seen.add(key)
        found = self._metadata.find(name)
        if found is None:
            return False
        for text in found.requires:
            if not any(applies(text, extra) for extra in ("", *key[1])):
                continue
            # An address in it was followed when it was installed; a ref in that may have moved since.
            requirement = parsed(text)
            if requirement is None:
                return False
            inner = self._metadata.find(requirement.name)
            if inner is None or not allows(text, inner.version):
                return False
            if not self.dependencies_hold(requirement.name, requirement.extras):
                return False
        return True

    @property
    def dists(self) -> dict[str, Dist]:
        """Everything that is installed, with where it came from."""
        if self._dists is None:
            self._dists = installed.snapshot()
        return self._dists

    def _repository_holds(self, repository: requirements.Repository, *, deps: bool) -> bool:
        spec = repository.spec
        if repository.name:
            dist = self.dists.get(canonicalize_name(repository.name))
        else:
            dist = installed.from_repository(self.dists.values(), spec.url, spec.subdirectory)
        if dist is None or not _FULL.fullmatch(spec.ref or "") or dist.commit != spec.ref:
            return False
        if canonical(dist.url) != canonical(spec.url) or dist.subdirectory != spec.subdirectory:
            return False
        return not deps or self.dependencies_hold(dist.key, spec.extras)

    def _editable_holds(self, text: str, *, deps: bool) -> bool:
        """Tell whether a folder or a repository's clone is installed in place, with all that it requires now."""
        repository = requirements.repository(text)
        if isinstance(repository, requirements.Repository):
            dist = self._clone_of(repository.spec)
            extras = repository.spec.extras
        else:
            match = re.fullmatch(r"(?P<path>[^\[:]+?)(?:\[(?P<extras>[^\]/]*)\])?", text)
            if not match:
                return False
            folder = Path(os.path.expanduser(match["path"]))
            dist = installed.from_folder(self.dists.values(), folder)
            extras = tuple(extra.strip() for extra in (match["extras"] or "").split(",") if extra.strip())
        if dist is None or dist.folder is None or not dist.editable or dist.is_older_than(dist.folder):
            return False
        if not dist.is_pure:  # what is compiled must be compiled again when its sources change
            return False
        return not deps or self.dependencies_hold(dist.key, extras)

    def _clone_of(self, spec: Spec) -> Dist | None:
        """Return what is installed in place from a repository's clone that stands at the commit that is asked for."""
        part = Path(spec.subdirectory or "")
        for dist in self.dists.values():
            if not dist.editable or dist.folder is None or not _FULL.fullmatch(spec.ref or ""):
                continue
            clone = dist.folder.parents[len(part.parts) - 1] if part.parts else dist.folder
            if clone / part == dist.folder and canonical(origin(clone)) == canonical(spec.url):
                return dist if head(clone) == spec.ref else None
        return None

    def _file_holds(self, path: Path, above: tuple[Path, ...], *, deps: bool = True) -> bool:
        texts = _lines(path)
        if texts is None or path.resolve() in above:
            return False
        inner = (*above, path.resolve())
        return all(self.line_holds(text, path.parent, inner, deps=deps) for text in texts)

    def _constraints_hold(self, path: Path, above: tuple[Path, ...]) -> bool:
        """Tell whether what is installed of the projects that a constraints file names has the versions it allows."""
        texts = _lines(path)
        if texts is None or path.resolve() in above:
            return False
        inner = (*above, path.resolve())
        for text in texts:
            asked = pip_args.parse_line(text)
            if asked.may_decide or asked.editables:
                return False
            if not all(self._constraints_hold(path.parent / name, inner) for name in asked.constraints + asked.files):
                return False
            if not all(map(self._is_allowed, asked.targets)):
                return False
        return True

    def _is_allowed(self, text: str) -> bool:
        requirement = parsed(text)
        if requirement is None:
            return False
        if not applies(text, ""):
            return True
        found = self._metadata.find(requirement.name)
        return found is None or (not requirement.url and allows(text, found.version))


def _lines(path: Path) -> list[str] | None:
    try:
        return list(requirements.lines(path))
    except (OSError, ValueError, LookupError):
        return None
