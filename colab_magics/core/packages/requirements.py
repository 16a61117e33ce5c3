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
from colab_magics.core.packages.pip_args import PipArguments, is_named, parse_line
from colab_magics.core.secrets.secrets import exposed
from colab_magics.errors import InstallError, TokenError

__all__ = ["Repository", "Requirements", "clone", "lines", "read", "repository", "whole"]

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
    is_excluded : bool
        Whether a marker says that it is not for this Python.
    """

    spec: Spec
    name: str | None = None
    editable: bool = False
    is_excluded: bool = False


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
    for text in whole(path):
        try:
            line = repository(text)
        except TokenError:
            raise exposed("", f"a token stands in {str(path)!r}") from None
        if line is None:
            found.others.append(text)
        elif not line.is_excluded:
            found.repositories.append(line)
    return found


def whole(path: Path, above: tuple[Path, ...] = ()) -> Iterator[str]:
    """Yield the lines of a requirements file and, in their place, of those that it names; paths become absolute.

    Raises
    ------
    InstallError
        When a file does not exist or cannot be read.
    """
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
        asked = parse_line(text)
        if asked.files and "://" not in asked.files[0]:
            yield from whole(path.parent / asked.files[0], (*above, path.resolve()))
        else:
            yield _absolute(text, asked, path.parent)


def _absolute(text: str, asked: PipArguments, folder: Path) -> str:
    for option in ("constraint", "find-links"):
        for name in asked.options.get(option, []):
            if "://" not in name and (option == "constraint" or (folder / name).exists()):
                return f"--{option} {os.path.abspath(folder / name)}"
    return text


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


def repository(text: str) -> Repository | None:
    """Read a line as a repository; None for any other line."""
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
        spec = parse_spec(url)
    except (InvalidRequirement, InstallError):
        return None  # the installer knows better, or says so
    if spec.is_folder:
        return None
    egg = re.search(r"[#&]egg=([\w.-]+)(?:\[([^\]]*)\])?", url)
    name = named.name if head else egg[1] if egg else None
    extras = tuple(sorted(named.extras)) or tuple((egg[2] or "").replace(" ", "").split(",") if egg and egg[2] else ())
    spec = replace(spec, text=text, extras=extras or spec.extras)
    is_excluded = bool(named.marker and not named.marker.evaluate({"extra": ""}))
    return Repository(spec, name, editable=bool(editables), is_excluded=is_excluded)


def clone(text: str) -> str | None:
    """Return the name of the folder that a repository is cloned to, to be developed in; None for what is none."""
    try:
        found = repository(text)
    except TokenError:  # whoever installs it says so
        return None
    return found.spec.repository if found and not found.is_excluded else None
