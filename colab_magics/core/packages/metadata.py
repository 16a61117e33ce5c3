"""What is installed, and what it requires: read from as little of its metadata as will do, and only once.

`importlib.metadata` parses the whole of a distribution's metadata, its readme included, each time it is asked.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from colab_magics.core.packages.installed import INFO

__all__ = ["Found", "InstalledMetadata", "allows", "applies", "parsed"]

_EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True)
class Found:
    """An installed distribution: its version, and its requirements as PEP 508 writes them."""

    version: str
    requires: tuple[str, ...]


class InstalledMetadata:
    """What is installed now."""

    def __init__(self) -> None:
        self._places = _places()
        self._found: dict[str, Found | None] = {}

    def find(self, name: str) -> Found | None:
        """Return the distribution of this name, in whatever form the name is written; None when there is none."""
        key = canonicalize_name(name)
        if key not in self._found:
            place = self._places.get(key)
            self._found[key] = Found(place[1], _requires(place[0])) if place else _elsewhere(name)
        return self._found[key]


def _places() -> dict[str, tuple[str, str]]:
    """List where the metadata of each distribution lies, and its version; of two with one name the first counts."""
    importlib.invalidate_caches()
    here, found = os.getcwd(), dict[str, tuple[str, str]]()
    for entry in sys.path:
        # What lies in the working folder is a project's own, and no installation: pip does not look there.
        if not entry or os.path.abspath(entry) == here:
            continue
        try:
            names = os.listdir(entry)
        except OSError:
            continue
        for name in names:
            if match := INFO.match(name):
                found.setdefault(canonicalize_name(match["name"]), (os.path.join(entry, name), match["version"]))
    return found


def _elsewhere(name: str) -> Found | None:
    """Return what is installed in an older or rarer form than a ``.dist-info`` folder."""
    try:
        distribution = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None
    place = os.path.abspath(str(getattr(distribution, "_path", "")))
    if os.path.dirname(place) == os.getcwd():
        return None
    return Found(distribution.version, tuple(distribution.requires or []))


_read: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}


def _requires(place: str) -> tuple[str, ...]:
    """Return what a distribution requires: only the head of its metadata is read, and again only when it changed."""
    path = os.path.join(place, "METADATA")
    try:
        status = os.stat(path)
        key = status.st_mtime_ns, status.st_size
        if place not in _read or _read[place][0] != key:
            with open(path, "rb") as file:
                text = file.read().replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("utf-8", "replace")
            whole = re.sub(r"\n[ \t]+", " ", text)
            found = re.findall(r"^Requires-Dist:[ \t]*(.*\S)", whole, re.MULTILINE | re.IGNORECASE)
            _read[place] = key, tuple(found)
        return _read[place][1]
    except OSError:
        return ("",)  # broken: nothing that it requires is known, so it does not hold


@lru_cache(maxsize=8192)
def parsed(text: str) -> Requirement | None:
    """Return a requirement, or None when the text is none. It is shared: not to be changed."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


@lru_cache(maxsize=32768)
def applies(text: str, extra: str) -> bool:
    """Tell whether a requirement counts when this extra is asked for; the empty one stands for none."""
    marker = text.partition(";")[2]
    # Most requirements are those of extras that nobody asked for: they need no parsing.
    only = _EXTRA.search(marker) if " or " not in marker else None
    if only and canonicalize_name(only[1]) != canonicalize_name(extra):
        return False
    requirement = parsed(text)
    return requirement is None or requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@lru_cache(maxsize=32768)
def allows(text: str, version: str) -> bool:
    """Tell whether a requirement is met by a version, which may be a pre-release: it is there already."""
    requirement = parsed(text)
    try:
        return requirement is not None and requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False
