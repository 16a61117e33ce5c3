"""A requirements file -> its repositories, and the lines that an installer reads itself.

The lines are read as pip reads them (pip's "Requirements File Format").
"""

from __future__ import annotations

import codecs
import locale
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from colab_magics.core.git.specs import Spec, parse_spec
from colab_magics.core.packages.pip_args import is_named, parse_line
from colab_magics.errors import InstallError, TokenError

__all__ = ["Repository", "Requirements", "clone", "lines", "nested", "read", "repository"]

# As pip's `req_file.py` has them; the longer ones first, whose beginnings are others.
_BOMS = [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")]  # fmt: skip
_ENCODING = re.compile(rb"^#.*coding[:=]\s*([-\w.]+)")


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
        targets = [target for line in self.others for target in parse_line(line).targets]
        return [Requirement(target).name for target in targets if is_named(target)]


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
    except (OSError, ValueError, LookupError) as error:
        reason = getattr(error, "strerror", None) or "it is not text of its encoding"
        raise InstallError(f"the requirements file {str(path)!r} cannot be read: {reason}; correct it") from None
    for text in texts:
        if inner := nested(text, path):
            if inner[0] == "-r":
                _read(inner[1], found, (*above, path.resolve()))
            else:
                found.others.append(f"-c {os.path.abspath(inner[1])}")
            continue
        try:
            line = repository(text)
        except TokenError:
            raise TokenError(
                f"a token stands in {str(path)!r}: revoke it, make a new one, put that into the token file, and write "
                "the address in the requirements without it"
            ) from None
        if line is None:
            found.others.append(_absolute(text, path))
        elif isinstance(line, Repository):
            found.repositories.append(line)


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a requirements file as pip reads them: continued lines joined, comments gone."""
    joined = ""
    content = _text(path.read_bytes())
    if "\0" in content:
        raise ValueError("UTF-16 without a mark, or no text at all")
    for line in content.splitlines():
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


def _text(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    for line in data.split(b"\n")[:2]:
        if match := _ENCODING.search(line):
            return data.decode(match[1].decode())
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(locale.getpreferredencoding(False))


def nested(text: str, path: Path) -> tuple[str, Path] | None:
    """Return ``-r`` or ``-c`` and the file, for a line that names another file, relative to the one it stands in."""
    asked = parse_line(text)
    for option, names in (("-r", asked.files), ("-c", asked.constraints)):
        if names and "://" not in names[0]:
            return option, path.parent / names[0]
    return None


def repository(text: str) -> Repository | bool | None:
    """Read a line as a repository: None for any other line, False for one that its marker excludes."""
    editables = parse_line(text).editables
    if editables:
        text = editables[0]
    address = re.match(r"(?:(?P<head>[\w.-]+\s*(?:\[[^\]]*\])?)\s*@\s*)?(?P<url>git\+\S+?)(?P<rest>\s+;.*)?$", text)
    if not address:
        return None
    head, url = address["head"], address["url"]
    # ${TOKEN}@ is how pip's own files carry a token; it is not needed here, and would end up in an argument list.
    url = re.sub(r"^(git\+\w+://)[^/@]*\$\{\w+\}[^/@]*@", r"\1", url)
    # PEP 508 knows no brackets in an address; what matters here is the rest of the line.
    plain = re.sub(r"[\[\]]", "", url)
    try:
        named = Requirement(f"{head or 'unnamed'} @ {plain}{address['rest'] or ''}")
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
    spec = replace(spec, text=text, extras=extras or spec.extras)
    return Repository(spec, name, editable=bool(editables))


def clone(text: str) -> str | None:
    """Return the name of the folder that a repository is cloned to, to be developed in; None for what is none."""
    try:
        found = repository(text)
    except TokenError:  # whoever installs it says so
        return None
    return found.spec.repository if isinstance(found, Repository) else None


def _absolute(text: str, path: Path) -> str:
    for folder in parse_line(text).options.get("find-links", []):
        if "://" not in folder and (path.parent / folder).exists():
            return f"--find-links {os.path.abspath(path.parent / folder)}"
    return text
