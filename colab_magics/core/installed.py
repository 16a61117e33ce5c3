"""What is installed in this interpreter: distributions, where each came from, and whether requirements hold.

``direct_url.json`` is PyPA's "Recording the Direct URL Origin of installed distributions".
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import site
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from colab_magics.core.specs import canonical

__all__ = ["Dist", "forget_caches", "imported_modules", "requirement_holds", "snapshot"]


@dataclass(frozen=True)
class Dist:
    """An installed distribution.

    Attributes
    ----------
    name, version : str
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

    name: str
    version: str
    url: str = ""
    commit: str | None = None
    subdirectory: str | None = None
    editable: bool = False
    stamp: int = 0

    @property
    def key(self) -> str:
        """The name in the form in which names are compared."""
        return canonicalize_name(self.name)

    @property
    def folder(self) -> Path | None:
        """The folder that it was installed from, if any."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


def forget_caches() -> None:
    """Make the import system see what was installed a moment ago."""
    importlib.invalidate_caches()


def snapshot() -> dict[str, Dist]:
    """Read every installed distribution, by its comparable name; of two with one name the first on the path counts."""
    forget_caches()
    found: dict[str, Dist] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and canonicalize_name(name) not in found:
            found[canonicalize_name(name)] = _dist(distribution, name)
    return found


def _dist(distribution: metadata.Distribution, name: str) -> Dist:
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        text = distribution.read_text("direct_url.json")
        stamp = _stamp(distribution)
        if not text:
            return Dist(name, distribution.version, stamp=stamp)
        data = json.loads(text)
        vcs = data.get("vcs_info") or {}
        editable = bool((data.get("dir_info") or {}).get("editable"))
        subdirectory = data.get("subdirectory")
        return Dist(name, distribution.version, data["url"], vcs.get("commit_id"), subdirectory, editable, stamp)
    return Dist(name, distribution.version)


def _stamp(distribution: metadata.Distribution) -> int:
    place = getattr(distribution, "_path", None)  # the folder of its metadata; no public name for it exists
    try:
        return Path(str(place)).stat().st_mtime_ns
    except OSError:
        return 0


def from_repository(dists: Iterable[Dist], url: str, subdirectory: str | None) -> Dist | None:
    """Return the distribution that was installed from a repository."""
    for dist in dists:
        if (
            dist.url
            and dist.folder is None
            and canonical(dist.url) == canonical(url)
            and dist.subdirectory == subdirectory
        ):
            return dist
    return None


def from_folder(dists: Iterable[Dist], folder: Path) -> Dist | None:
    """Return the distribution that was installed from a folder."""
    return next((dist for dist in dists if dist.folder and dist.folder.resolve() == folder.resolve()), None)


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
    if requirement.url and not _is_from(_dist(distribution, requirement.name), requirement.url):
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
        if word in {"-q", "--quiet", "--no-input", "--disable-pip-version-check"}:
            continue
        if word in {"-r", "--requirement"} or word.startswith(("--requirement=", "-r")):
            name = next(words, "") if word in {"-r", "--requirement"} else re.sub(r"^(-r|--requirement=)", "", word)
            if not file_holds((folder or Path()) / name):
                return False
        elif word.startswith("-") or not requirement_holds(word):
            return False
        asked = True
    return asked


def file_holds(path: Path) -> bool:
    """Tell whether everything that a requirements file asks for is installed."""
    try:
        lines = list(requirement_lines(path))
    except (OSError, UnicodeDecodeError):
        return False
    for line in lines:
        text = re.sub(r"\s--hash[= ]\S+", "", line)
        if nested := re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)$", text):
            if not file_holds(path.parent / nested[1]):
                return False
        elif text.startswith("-") or not requirement_holds(text):
            return False
    return True


def imported_modules(name: str) -> list[str]:
    """List the top-level modules of a distribution that this process has imported."""
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return []
    tops = {file.parts[0] if len(file.parts) > 1 else file.stem for file in files if file.suffix in {".py", ".so"}}
    tops |= set((metadata.distribution(name).read_text("top_level.txt") or "").split())
    return sorted(top for top in tops if top in sys.modules and top.isidentifier())


def activate(name: str) -> None:
    """Process a distribution's ``.pth`` files, which Python reads only when it starts: an editable one needs them."""
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.suffix == ".pth":
            place = Path(str(file.locate()))
            site.addpackage(str(place.parent), place.name, None)


def requirement_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a requirements file as pip reads them: continued lines joined, comments gone."""
    joined = ""
    for line in path.read_text("utf-8-sig").splitlines():
        joined += line
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        text = "" if joined.lstrip().startswith("#") else joined.partition(" #")[0].strip()
        joined = ""
        if text:
            yield text
    if joined.strip():
        yield joined.strip()


def _is_from(dist: Dist, url: str) -> bool:
    if not url.startswith("git+"):
        return dist.url == url
    address, _, ref = url.removeprefix("git+").partition("#")[0].rpartition("@")
    pinned = "/" not in ref and ":" not in ref
    # Only a full commit proves itself; a branch or a tag may have moved since.
    return canonical(address if pinned else url) == canonical(dist.url) and (not pinned or ref in {dist.commit})
