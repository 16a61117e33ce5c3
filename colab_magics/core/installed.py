"""What is installed in this interpreter: distributions, where each came from, and whether requirements hold.

``direct_url.json`` is PyPA's "Recording the Direct URL Origin of installed distributions".
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from colab_magics.core import requirements
from colab_magics.core.requirements import lines as requirement_lines
from colab_magics.core.specs import canonical

__all__ = [
    "Dist",
    "arguments_hold",
    "dependencies_hold",
    "from_folder",
    "from_repository",
    "lines_hold",
    "requirement_holds",
    "requirement_lines",
    "snapshot",
]

_INFO = re.compile(r"^(?P<name>[A-Za-z0-9][\w.]*)-(?P<version>[^-]+)\.dist-info$")
# They say where to look, not what for: a requirement that holds is not looked for.
_NEUTRAL = re.compile(
    r"(-i|--index-url|--pypi-url|--extra-index-url|-f|--find-links|--trusted-host|--prefer-binary|--only-binary|"
    r"--no-binary|--no-index|-q|--quiet|--no-input|--disable-pip-version-check|--progress-bar)\b"
)
# A folder to be developed in place; relative to the working folder, as pip takes it.
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]+(?P<path>(?:[./~]|\w+$)[^\s\[]*)$")


@dataclass(frozen=True)
class Dist:
    """An installed distribution.

    Attributes
    ----------
    key : str
        Its name in the form in which names are compared.
    version : str
        As its metadata says.
    url : str
        Where it was installed from when that was not an index; else empty.
    commit : str or None
        The commit, for one from version control.
    subdirectory : str or None
        Where it lay in the repository.
    editable : bool
        Whether it is developed in place.
    stamp : int
        Changes when it is installed anew (nanoseconds).
    """

    key: str
    version: str
    url: str = ""
    commit: str | None = None
    subdirectory: str | None = None
    editable: bool = False
    stamp: int = 0

    @property
    def name(self) -> str:
        """The name as its metadata writes it."""
        try:
            return str(metadata.distribution(self.key).metadata["Name"])
        except (metadata.PackageNotFoundError, KeyError):
            return self.key

    @property
    def folder(self) -> Path | None:
        """The folder that it was installed from, if any."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    def is_at(self, commit: str) -> bool:
        """Tell whether it was built from a commit, which may be abbreviated."""
        return self.commit is not None and self.commit.startswith(commit)

    def is_older_than(self, project: Path) -> bool:
        """Tell whether a project was told other requirements since it was installed in place."""
        files = (project / name for name in ("pyproject.toml", "setup.cfg", "setup.py"))
        return any(file.is_file() and file.stat().st_mtime_ns > self.stamp for file in files)


def snapshot() -> dict[str, Dist]:
    """Read every installed distribution, by its comparable name; of two with one name the first on the path counts."""
    importlib.invalidate_caches()
    found: dict[str, Dist] = {}
    for distribution in metadata.distributions():
        dist = _dist(distribution)
        if dist:
            found.setdefault(dist.key, dist)
    return found


def _dist(distribution: metadata.Distribution) -> Dist | None:
    place = getattr(distribution, "_path", None)  # the folder of its metadata; no public name for it exists
    # Parsing the metadata of some hundred distributions takes longer than asking a host for a ref.
    if match := _INFO.match(os.path.basename(str(place))):
        key, version = canonicalize_name(match["name"]), match["version"]
    else:
        name = distribution.metadata["Name"]
        if not name:
            return None
        key, version = canonicalize_name(name), distribution.version
    try:
        stamp = os.stat(str(place)).st_mtime_ns
    except OSError:
        stamp = 0
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, OSError):
        if text := distribution.read_text("direct_url.json"):
            data = json.loads(text)
            commit = (data.get("vcs_info") or {}).get("commit_id")
            editable = bool((data.get("dir_info") or {}).get("editable"))
            return Dist(key, version, data["url"], commit, data.get("subdirectory"), editable, stamp)
    return Dist(key, version, stamp=stamp)


def from_repository(dists: Iterable[Dist], url: str, subdirectory: str | None) -> Dist | None:
    """Return the distribution that was installed from a repository, the newest when there are several."""
    wanted = canonical(url)
    found = [
        dist for dist in dists if dist.commit and dist.subdirectory == subdirectory and canonical(dist.url) == wanted
    ]
    return max(found, key=lambda dist: dist.stamp, default=None)


def from_folder(dists: Iterable[Dist], folder: Path) -> Dist | None:
    """Return the distribution that was installed from a folder, the newest when there are several."""
    place = folder.resolve()
    found = [dist for dist in dists if dist.folder and dist.folder.resolve() == place]
    return max(found, key=lambda dist: dist.stamp, default=None)


def requirement_holds(text: str | Requirement, *, seen: set[tuple[str, frozenset[str]]] | None = None) -> bool:
    """Tell whether a requirement, and all that it requires in turn, is installed.

    Parameters
    ----------
    text : str or Requirement
        As in PEP 508. One with an address holds when it was installed from there.
    seen : set, optional
        What was looked at already; requirements may go in circles.

    Returns
    -------
    bool
        False also when that cannot be proved.
    """
    seen = set() if seen is None else seen
    try:
        requirement = text if isinstance(text, Requirement) else Requirement(text)
    except InvalidRequirement:
        return False
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return True
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return False
    if requirement.url and not _is_from(_dist(distribution), requirement.url):
        return False
    if key in seen:
        return True
    seen.add(key)
    return dependencies_hold(distribution, requirement.extras, seen=seen)


def dependencies_hold(
    distribution: metadata.Distribution,
    extras: Iterable[str] = (),
    *,
    seen: set[tuple[str, frozenset[str]]] | None = None,
) -> bool:
    """Tell whether all that a distribution requires, with these extras, is installed."""
    seen = set() if seen is None else seen
    for text in distribution.requires or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return False
        wanted = ["", *extras]
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
            continue
        # Its address was followed when the distribution was installed; a ref in it may have moved since.
        requirement.marker = requirement.url = None
        if not requirement_holds(requirement, seen=seen):
            return False
    return True


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
        False also when that cannot be proved: with an option that this does not know, or a path.
    """
    words = iter(arguments)
    asked = False
    for word in words:
        # -r FILE, -rFILE, --requirement FILE and --requirement=FILE are one thing.
        text = f"{word} {next(words, '')}" if word in {"-r", "--requirement", "-c", "--constraint"} else word
        if inner := requirements.nested(text, (folder or Path()) / "arguments"):
            held = _file_holds(inner[1], ()) if inner[0] == "-r" else _constraints_hold(inner[1])
            asked = asked or inner[0] == "-r"
        elif word in {"-q", "--quiet", "--no-input", "--disable-pip-version-check"}:
            held = True
        else:
            held, asked = not word.startswith("-") and requirement_holds(word), True
        if not held:
            return False
    return asked


def lines_hold(lines: Iterable[str]) -> bool:
    """Tell whether everything that lines of a requirements file ask for is installed.

    Parameters
    ----------
    lines : iterable of str
        As `colab_magics.core.requirements.read` returns them: the paths in them are absolute.

    Returns
    -------
    bool
        False also when that cannot be proved.
    """
    for line in lines:
        text = re.sub(r"\s--hash[= ]\S+", "", line)
        if _NEUTRAL.match(text):
            continue
        if inner := requirements.nested(text, Path("/")):
            if inner[0] != "-c" or not _constraints_hold(inner[1]):
                return False
        elif editable := _EDITABLE.fullmatch(text):
            if not _editable_holds(Path(os.path.expanduser(editable["path"]))):
                return False
        elif text.startswith("-") or not requirement_holds(text):
            return False
    return True


def _editable_holds(folder: Path) -> bool:
    """Tell whether a folder is installed in place, with all that it requires now."""
    dist = from_folder(snapshot().values(), folder)
    if dist is None or not dist.editable or dist.is_older_than(folder):
        return False
    return dependencies_hold(metadata.distribution(dist.key))


def _file_holds(path: Path, above: tuple[Path, ...]) -> bool:
    try:
        texts = list(requirement_lines(path))
    except (OSError, UnicodeDecodeError):
        return False
    for text in texts:
        if (inner := requirements.nested(text, path)) and inner[0] == "-r":
            if path in above or not _file_holds(inner[1], (*above, path)):
                return False
        elif not lines_hold([f"-c {inner[1].absolute()}" if inner else text]):
            return False
    return True


def _constraints_hold(path: Path) -> bool:
    """Tell whether what is installed of the projects that a constraints file names has the versions it allows."""
    try:
        texts = list(requirement_lines(path))
    except (OSError, UnicodeDecodeError):
        return False
    for text in texts:
        try:
            requirement = Requirement(re.sub(r"\s--hash[= ]\S+", "", text))
            version = metadata.version(requirement.name)
        except InvalidRequirement:
            return False
        except metadata.PackageNotFoundError:
            continue
        excluded = requirement.marker and not requirement.marker.evaluate({"extra": ""})
        if requirement.url or not (excluded or requirement.specifier.contains(version, prereleases=True)):
            return False
    return True


def _is_from(dist: Dist | None, url: str) -> bool:
    if dist is None or not url.startswith("git+"):
        return dist is not None and dist.url == url
    address, _, ref = url.removeprefix("git+").partition("#")[0].rpartition("@")
    pinned = "/" not in ref and ":" not in ref
    # Only a full commit proves itself; a branch or a tag may have moved since.
    return pinned and ref == dist.commit and canonical(address) == canonical(dist.url)
