"""What is installed in this interpreter: distributions, and where each came from.

``direct_url.json`` is PyPA's "Recording the Direct URL Origin of installed distributions".
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from colab_magics.core.git.specs import canonical

__all__ = ["Dist", "from_folder", "from_repository", "same_archive", "snapshot"]

#: The folder of a distribution's metadata.
_INFO = re.compile(r"^(?P<name>[A-Za-z0-9][\w.]*)-(?P<version>[^-]+)\.dist-info$")


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
    digest : str or None
        For one from an archive its digest, as ``sha256=HEX``.
    place : str
        The folder of its metadata.
    distribution : importlib.metadata.Distribution
        What Python's own library knows of it.
    """

    key: str
    version: str
    distribution: metadata.Distribution = field(compare=False, repr=False)
    url: str = ""
    commit: str | None = None
    subdirectory: str | None = None
    editable: bool = False
    stamp: int = 0
    digest: str | None = None
    place: str = ""

    @cached_property
    def _metadata(self) -> str:
        """Its metadata but for the readme, a line a field: a parser of mail takes ten times as long."""
        text = self.distribution.read_text("METADATA") or self.distribution.read_text("PKG-INFO") or ""
        return re.sub(r"\n[ \t]+", " ", text.partition("\n\n")[0])

    @property
    def name(self) -> str:
        """The name as its metadata writes it."""
        match = re.search(r"^Name:[ \t]*(.*\S)", self._metadata, re.MULTILINE)
        return match[1] if match else self.key

    @cached_property
    def requires(self) -> list[str] | None:
        """What it requires, as PEP 508 writes it; None when its metadata cannot be read."""
        if not self._metadata:
            return None
        if not self.place.endswith(".dist-info"):  # in an older form they are in a file of their own
            return self.distribution.requires or []
        return re.findall(r"^Requires-Dist:[ \t]*(.*\S)", self._metadata, re.MULTILINE | re.IGNORECASE)

    @property
    def files(self) -> list[metadata.PackagePath]:
        """What was installed, as far as it is recorded."""
        return self.distribution.files or []

    @property
    def tops(self) -> set[str]:
        """The packages and modules at its top, as setuptools names them, else as its files lie."""
        if told := self.distribution.read_text("top_level.txt"):
            return set(told.split())
        paths = [file for file in self.files if file.suffix == ".py" and not file.parts[0].startswith("..")]
        return {path.parts[0] if len(path.parts) > 1 else path.stem for path in paths}

    @property
    def folder(self) -> Path | None:
        """The folder that it was installed from, if any."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def is_pure(self) -> bool:
        """Whether nothing in it is compiled, as far as its wheel says."""
        try:
            text = Path(self.place, "WHEEL").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return True
        return not re.search(r"^Root-Is-Purelib:\s*false", text, re.MULTILINE | re.IGNORECASE)

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
    # What lies in the working folder is a project's own, and no installation: pip does not look there either.
    path = [entry for entry in sys.path if os.path.abspath(entry) != os.getcwd()]
    for distribution in metadata.distributions(path=path):
        dist = _dist(distribution)
        if dist:
            found.setdefault(dist.key, dist)
    return found


def _dist(distribution: metadata.Distribution) -> Dist | None:
    place = str(getattr(distribution, "_path", ""))  # the folder of its metadata; no public name for it exists
    # Parsing the metadata of some hundred distributions takes longer than asking a host for a ref.
    match = _INFO.match(os.path.basename(place))
    name = match["name"] if match else distribution.metadata["Name"]
    if not name:
        return None
    key, version = canonicalize_name(name), match["version"] if match else distribution.version
    stamp = os.stat(place).st_mtime_ns if os.path.exists(place) else 0
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, OSError):
        if text := distribution.read_text("direct_url.json"):
            data = json.loads(text)
            return Dist(
                key,
                version,
                distribution,
                url=data["url"],
                commit=(data.get("vcs_info") or {}).get("commit_id"),
                subdirectory=data.get("subdirectory"),
                editable=bool((data.get("dir_info") or {}).get("editable")),
                stamp=stamp,
                digest=(data.get("archive_info") or {}).get("hash"),
                place=place,
            )
    return Dist(key, version, distribution, stamp=stamp, place=place)


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


def same_archive(dist: Dist, url: str) -> bool:
    """Tell whether a distribution was installed from an archive's address, and has the digest that stands behind it."""
    address, _, fragment = re.sub(r"^(\w+://)[^/@]*@", r"\1", url).partition("#")
    if not dist.url or dist.commit or dist.editable or dist.url.partition("#")[0] != address:
        return False
    digests = re.findall(r"(?:^|&)((?:sha|md5|blake)\w*=[0-9A-Fa-f]+)", fragment)
    return all(digest.lower() == dist.digest for digest in digests)
