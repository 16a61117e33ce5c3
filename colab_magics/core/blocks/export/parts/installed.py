"""Answer a question about what is installed: a part of exported scripts, which stands alone.

``installed URL SUBDIRECTORY`` prints the commit that a repository's package was installed from;
``satisfied URL SUBDIRECTORY EXTRAS FLAGS`` the same, if all that it requires is there too;
``editable FOLDER - EXTRAS FLAGS`` something, if that folder is installed in place with all that it requires;
``name REPORT`` the name of the project in a report of pip's.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import metadata
from typing import Any
from urllib.parse import unquote, urlsplit


def canonical(url: str) -> str:
    """Return a repository's address in the one form in which two addresses of it are equal."""
    url = re.sub(r"^(git\+)?([a-z]+://)?([^/@]*@)?", "", url.partition("#")[0])
    return url.rstrip("/").removesuffix(".git").lower()


def of_repository(url: str, subdirectory: str) -> tuple[metadata.Distribution, str] | None:
    """Return what was installed from a repository, and its commit."""
    for distribution in metadata.distributions():
        data = json.loads(distribution.read_text("direct_url.json") or "{}")
        commit = (data.get("vcs_info") or {}).get("commit_id")
        if commit and canonical(data["url"]) == canonical(url) and (data.get("subdirectory") or "") == subdirectory:
            return distribution, commit
    return None


def of_folder(folder: str) -> tuple[metadata.Distribution, str] | None:
    """Return what is installed in place from a folder."""
    for distribution in metadata.distributions():
        data = json.loads(distribution.read_text("direct_url.json") or "{}")
        path = unquote(urlsplit(data.get("url", "")).path)
        if (data.get("dir_info") or {}).get("editable") and os.path.realpath(path) == os.path.realpath(folder):
            return distribution, "yes"
    return None


def holds(distribution: metadata.Distribution, extras: list[str], requirement_of: Any, seen: set[str]) -> bool:
    """Tell whether all that a distribution requires is installed."""
    for text in distribution.requires or []:
        requirement = requirement_of(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in ["", *extras]):
            continue
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            return False
        if not requirement.specifier.contains(found.version, prereleases=True):
            return False
        key = f"{requirement.name.lower()}{sorted(requirement.extras)}"
        if key not in seen:
            seen.add(key)
            if not holds(found, sorted(requirement.extras), requirement_of, seen):
                return False
    return True


def main(question: str, *given: str) -> None:
    """Answer it."""
    if question == "name":
        with open(given[0], encoding="utf-8") as file:
            sys.stdout.write(json.load(file)["install"][0]["metadata"]["name"])
        return
    found = of_folder(given[0]) if question == "editable" else of_repository(given[0], given[1])
    if not found:
        return
    if question != "installed" and "--no-deps" not in given[3]:
        from pip._vendor.packaging.requirements import Requirement  # pip is there, packaging may not be

        if not holds(found[0], given[2].split(","), Requirement, set()):
            return
    sys.stdout.write(found[1])


main(*sys.argv[1:])
