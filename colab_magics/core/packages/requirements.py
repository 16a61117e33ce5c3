"""A requirements file -> its repositories, and the lines that an installer reads itself.

The lines are read as pip reads them (pip's "Requirements File Format").
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from colab_magics.core.git.specs import Spec, parse_spec
from colab_magics.errors import InstallError, TokenError

__all__ = ["Repository", "Requirements", "clone", "lines", "nested", "read", "repository"]

_NESTED = re.compile(r"(?P<option>-r|--requirement|-c|--constraint)(?:[ =]+|(?<=-[rc]))(?P<path>\S.*)$")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:[ =]+|(?<=-e))(?=git\+)")
_FIND_LINKS = re.compile(r"(?P<option>-f|--find-links)(?:[ =]+|(?<=-f))(?P<path>\S.*)$")


@dataclass(frozen=True)
class Repository:
    """A line that names a repository.

    Attributes
    ----------
    spec : Spec
        The repository.
    name : str or None
        The project's name, where the line has one.
    editable : bool
        Whether it is to be developed in place.
    """

    spec: Spec
    name: str | None = None
    editable: bool = False


@dataclass
class Requirements:
    """What requirements files ask for.

    Attributes
    ----------
    repositories : list of Repository
        Lines that name a repository, those that a marker excludes left out.
    others : list of str
        Every other line, with the paths in it made absolute.
    """

    repositories: list[Repository] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The projects that `others` names."""
        found = []
        for line in self.others:
            try:
                found.append(Requirement(re.sub(r"\s--\S.*$", "", line)).name)
            except InvalidRequirement:
                continue
        return found


def read(path: Path) -> Requirements:
    """Read a requirements file and those that it names.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Requirements

    Raises
    ------
    InstallError
        When a file does not exist or cannot be read.
    TokenError
        When a token stands in one.
    """
    found = Requirements()
    _read(path, found, ())
    return found


def _read(path: Path, found: Requirements, above: tuple[Path, ...]) -> None:
    if path.resolve() in above:
        raise InstallError(f"the requirements file {str(path)!r} names itself; take that line out")
    try:
        texts = list(lines(path))
    except FileNotFoundError:
        named = f" (named in {str(above[-1])!r})" if above else ""
        raise InstallError(
            f"the requirements file {str(path)!r}{named} does not exist; correct it, or sync it first"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InstallError(f"the requirements file {str(path)!r} cannot be read: {reason}; correct it") from None
    for text in texts:
        if inner := nested(text, path):
            if inner[0] == "-r":
                _read(inner[1], found, (*above, path.resolve()))
            else:
                found.others.append(f"-c {os.path.abspath(inner[1])}")
            continue
        try:
            line = repository(_EDITABLE.sub("", text))
        except TokenError:
            raise TokenError(
                f"a token stands in {str(path)!r}: revoke it, make a new one, put that into the token file, and write "
                "the address in the requirements without it"
            ) from None
        if line is None:
            found.others.append(_absolute(text, path))
        elif isinstance(line, Repository):
            found.repositories.append(replace(line, editable=_EDITABLE.match(text) is not None))


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a requirements file as pip reads them: continued lines joined, comments gone."""
    joined = ""
    for line in path.read_text("utf-8-sig").splitlines():
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            joined += line[:-1]
            continue
        text = re.sub(r"(^|\s+)#.*$", "", joined + (f" {line}" if comment else line)).strip()
        joined = ""
        if text:
            yield text
    if joined.strip():
        yield joined.strip()


def nested(text: str, path: Path) -> tuple[str, Path] | None:
    """Return ``-r`` or ``-c`` and the file, for a line that names another file, relative to the one it stands in."""
    match = _NESTED.fullmatch(text)
    if not match or "://" in match["path"]:
        return None
    return "-c" if "c" in match["option"].strip("-")[:1] else "-r", path.parent / match["path"].strip()


def is_option(text: str) -> bool:
    """Tell whether a line is an option and no requirement."""
    return text.startswith("-")


def repository(text: str) -> Repository | bool | None:
    """Read a line as a repository: None for any other line, False for one that its marker excludes."""
    address = re.match(r"(?:(?P<head>[\w.-]+\s*(?:\[[^\]]*\])?)\s*@\s*)?(?P<url>git\+\S+?)(?P<rest>\s+;.*)?$", text)
    if not address:
        return None
    head, url = address["head"], address["url"]
    # ${TOKEN}@ is how pip's own files carry a token; it is not needed here, and would end up in an argument list.
    url = re.sub(r"^(git\+\w+://)[^/@]*\$\{\w+\}[^/@]*@", r"\1", url)
    try:
        named = Requirement(f"{head or 'unnamed'} @ {_plain(url)}{address['rest'] or ''}")
        if named.marker and not named.marker.evaluate({"extra": ""}):
            return False
        spec = parse_spec(url)
    except (InvalidRequirement, InstallError):
        return None  # the installer knows better, or says so
    if spec.is_folder:
        return None
    egg = re.search(r"[#&]egg=([\w.-]+)(?:\[([^\]]*)\])?", url)
    name = named.name if head else egg[1] if egg else None
    extras = tuple(sorted(named.extras)) or tuple((egg[2] or "").replace(" ", "").split(",") if egg and egg[2] else ())
    return Repository(Spec(text, spec.host, spec.path, spec.ref, extras or spec.extras, spec.subdirectory), name)


def clone(text: str) -> str | None:
    """Return the name of the folder that a line's repository is cloned to, to be developed in; None for other lines."""
    if not _EDITABLE.match(text):
        return None
    try:
        found = repository(_EDITABLE.sub("", text))
    except TokenError:  # whoever installs it says so
        return None
    return found.spec.repository if isinstance(found, Repository) else None


def _plain(url: str) -> str:
    # An address that PEP 508 can hold; what matters here is the rest of the line.
    return re.sub(r"[\[\]]", "", url)


def _absolute(text: str, path: Path) -> str:
    match = _FIND_LINKS.fullmatch(text)
    if match and "://" not in match["path"] and (path.parent / match["path"]).exists():
        return f"{match['option']} {os.path.abspath(path.parent / match['path'])}"
    return text
