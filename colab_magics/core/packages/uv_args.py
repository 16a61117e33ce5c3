"""The arguments of a ``pip install`` for uv, where uv does the same with them; where it might not, pip does them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from colab_magics.core.packages import requirements

__all__ = ["for_uv"]

# They change how pip talks, and nothing else.
_TALK = frozenset(["-q", "--quiet", "--no-input", "--disable-pip-version-check", "--no-color"])
# uv has them with the same meaning. It orders indexes otherwise, and upgrades more: with those, pip is asked.
_SAME = frozenset(["--no-deps", "--no-index"])
_SAME_VALUED = ("-r", "--requirement", "-c", "--constraint", "-f", "--find-links")
# In pip's configuration these decide nothing about what is installed; with --no-index, the others do not either.
_HARMLESS = frozenset(
    [
        "break-system-packages",
        "cache-dir",
        "config-file",
        "default-timeout",
        "disable-pip-version-check",
        "no-cache-dir",
        "no-color",
        "no-input",
        "progress-bar",
        "quiet",
        "retries",
        "root-user-action",
        "timeout",
        "verbose",
    ]
)
_OF_INDEXES = frozenset(["cert", "client-cert", "extra-index-url", "index-url", "no-index", "proxy", "trusted-host"])
_SYSTEM = (Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"))


def for_uv(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> list[str] | None:
    """Return what ``uv pip install`` takes for the arguments of a ``pip install``.

    Parameters
    ----------
    arguments : sequence of str
        What follows ``pip install``.
    environ : mapping, optional
        The environment variables; by default the process's.

    Returns
    -------
    list of str or None
        None when uv may do something else than pip: with an option that it lacks or reads otherwise, with a
        project's folder or a repository, and where pip has a configuration, which uv does not read.
    """
    environ = os.environ if environ is None else environ
    words: list[str] = []
    named: list[tuple[str, str]] = []
    given = iter(arguments)
    for word in given:
        option, equals, value = word.partition("=")
        if word in _TALK:
            continue
        if word in _SAME:
            words.append(word)
        elif option in _SAME_VALUED:
            value = value if equals else next(given, "")
            words += [option, value]
            named.append((option, value))
        elif _is_plain(word):
            words.append(word)
        else:
            return None
    deciding = _configured(environ) - _HARMLESS - (_OF_INDEXES if "--no-index" in words else set())
    return words if words and not deciding and all(_same(option, value) for option, value in named) else None


def _same(option: str, value: str) -> bool:
    if option in {"-f", "--find-links"}:
        return "://" not in value and Path(value).is_dir()
    return all(map(_is_plain, _lines(Path(value), ())))


def _lines(path: Path, above: tuple[Path, ...]) -> Iterator[str]:
    """Yield the lines of a requirements file and of those that it names; one that cannot be read is no plain line."""
    if path in above:
        yield "-r itself"
        return
    try:
        found = list(requirements.lines(path))
    except (OSError, UnicodeDecodeError):
        found = ["-r unreadable"]
    for line in found:
        if inner := requirements.nested(line, path):
            yield from _lines(inner[1], (*above, path))
        else:
            yield line


def _is_plain(text: str) -> bool:
    """Tell whether a word or a line is a project's name with its versions, and nothing else."""
    try:
        return Requirement(text).url is None and not Path(text).exists()
    except InvalidRequirement:
        return False


def _configured(environ: Mapping[str, str]) -> set[str]:
    """Return the names of the options that pip is given elsewhere: by variables and by its files ("pip config")."""
    found = {name[4:].lower().replace("_", "-") for name, value in environ.items() if name.startswith("PIP_") and value}
    home = Path(environ.get("HOME") or "~").expanduser()
    of_user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    named = environ.get("PIP_CONFIG_FILE")
    every = [of_user, home / ".pip/pip.conf", *_SYSTEM, Path(sys.prefix, "pip.conf")]
    for path in every + ([Path(named)] if named else []):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        found.update(re.findall(r"^([\w-]+)\s*[=:]", text.replace("_", "-").lower(), re.MULTILINE))
    return found
