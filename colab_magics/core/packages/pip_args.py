"""What the words after ``pip install``, a line of a requirements file, or pip's configuration ask for.

The options are those of ``pip install --help``, each under its long name. They are told apart by one question: can an
option change what must be installed when every requirement is met already? Most only say where to look, or how to
build, what is missing.
"""

from __future__ import annotations

import configparser
import locale
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

__all__ = ["FLAGS", "Options", "PipArguments", "configured", "is_named", "merged", "parse", "parse_line"]

Options = dict[str, list[str]]

#: They change nothing when every requirement is met: pip takes what is installed, a pre-release too, before it looks
#: anywhere.
FLAGS = """break-system-packages check-build-dependencies compile debug disable-pip-version-check
    ignore-requires-python isolated no-build-isolation no-cache-dir no-clean no-color no-compile no-index no-input
    no-use-pep517 no-user no-warn-conflicts no-warn-script-location pre prefer-binary quiet use-pep517 user
    verbose""".split()  # noqa: SIM905 - as a list it would fill a page
_VALUED = """build-constraint cache-dir cert client-cert config-file config-setting config-settings default-timeout
    exists-action extra-index-url find-links global-option index-url keyring-provider no-binary only-binary progress-bar
    proxy pypi-url resume-retries retries root-user-action timeout trusted-host upgrade-strategy uploaded-prior-to
    use-deprecated use-feature""".split()  # noqa: SIM905 - as above
_HANDLED = ["constraint", "editable", "requirement"]
_UNDECIDING = frozenset([*FLAGS, *_VALUED, *_HANDLED, "no-deps"])
_DECIDING = ["abi", "group", "implementation", "log", "platform", "prefix", "python", "python-version", "report",
             "root", "src", "target"]  # fmt: skip
_WITH_VALUE = frozenset([*_VALUED, *_HANDLED, *_DECIDING])
#: Those that can be given several times; a configuration separates their values by blanks.
_LISTS = frozenset([*_HANDLED, "build-constraint", "extra-index-url", "find-links", "trusted-host"])
_SHORT = {"-C": "config-settings", "-I": "ignore-installed", "-U": "upgrade", "-c": "constraint", "-e": "editable",
          "-f": "find-links", "-i": "index-url", "-r": "requirement", "-t": "target"}  # fmt: skip
_ALIASES = {"no-dependencies": "no-deps", "pypi-url": "index-url"}
# A requirement's own options: they say how to fetch or build it.
_TAIL = re.compile(r"\s--(?:hash|config-settings?|global-option)\b.*$")


@dataclass
class PipArguments:
    """What is asked for.

    Attributes
    ----------
    targets : list of str
        Requirements, addresses and paths.
    options : dict of str to list of str
        Every option by its long name, without dashes, with its values; a flag has an empty one.
    """

    targets: list[str] = field(default_factory=list)
    options: Options = field(default_factory=dict)

    @property
    def editables(self) -> list[str]:
        """Folders and repositories to be developed in place."""
        return self.options.get("editable", [])

    @property
    def files(self) -> list[str]:
        """Requirements files."""
        return self.options.get("requirement", [])

    @property
    def constraints(self) -> list[str]:
        """Constraints files."""
        return self.options.get("constraint", [])

    @property
    def no_deps(self) -> bool:
        """Whether what they require in turn does not matter."""
        return "no-deps" in self.options

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for: constraints alone install nothing."""
        return not (self.targets or self.editables or self.files)

    @property
    def may_decide(self) -> bool:
        """Whether an option decides what is installed though every requirement is met, or is not known here."""
        return not self.options.keys() <= _UNDECIDING


def parse(words: Iterable[str]) -> PipArguments:
    """Read what follows ``pip install``, as a shell splits it. What pip would refuse may decide."""
    found = PipArguments()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            found.targets.append(word)
        elif re.fullmatch(r"-[qv]+", word):
            found.options.setdefault("verbose", []).append("")
        else:
            name, joined, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
            option = _SHORT.get(name) or _ALIASES.get(name[2:], name[2:])
            if option in _WITH_VALUE and not joined:
                value = next(rest, "")
            if bool(value) != (option in _WITH_VALUE):
                option = word  # lacks its value, or has one that it cannot have
            found.options.setdefault(option, []).append(value)
    return found


def parse_line(line: str) -> PipArguments:
    """Read one line of a requirements file, comments gone."""
    if not line.startswith("-"):
        return PipArguments([_TAIL.sub("", line)])
    # A path may hold blanks: pip takes all that follows -r, -c and -e for one value.
    match = re.fullmatch(r"(?P<option>-[rce]|--(?:requirement|constraint|editable)(?=[ =]))[ =]*(?P<value>.*)", line)
    if match:
        return parse([match["option"], _TAIL.sub("", match["value"]).strip()])
    try:
        return parse(shlex.split(line))
    except ValueError:
        return PipArguments(options={line: [""]})


def is_named(text: str) -> bool:
    """Tell whether a target is a project's name with its versions: no address, and no path."""
    try:
        return Requirement(text).url is None and not Path(text).exists()
    except InvalidRequirement:
        return False


def configured(environ: Mapping[str, str] | None = None) -> Options:
    """Return the options that pip is given by its files and variables, as pip's ``configuration.py`` reads them.

    A section for ``install`` counts more than the global one, whatever files they are in; variables count most.
    """
    environ = os.environ if environ is None else environ
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, "utf-8" if sys.flags.utf8_mode else locale.getpreferredencoding(False))
        except (configparser.Error, UnicodeDecodeError):
            return {f"unreadable {path}": [""]}  # pip says so
        for section in sections.keys() & set(parser.sections()):
            sections[section].update({_long_name(name): value for name, value in parser.items(section)})
    variables = {_long_name(name[4:]): value for name, value in environ.items() if name.startswith("PIP_")}
    # An empty value is none; it does not hide that of a section that counts less.
    given = [{name: value for name, value in each.items() if value} for each in (*sections.values(), variables)]
    found = {}
    for name, value in {**given[0], **given[1], **given[2]}.items():
        if name in _WITH_VALUE:
            found[name] = value.split() if name in _LISTS else [value]
        elif value.lower() not in {"0", "n", "no", "f", "false", "off"}:
            found[name] = [""]
    return found


def merged(configured: Options, named: Options) -> Options:
    """Return the options that count: those that are named, and of those configured what they add to."""
    return {
        **configured,
        **{name: [*(configured.get(name, []) if name in _LISTS else []), *named[name]] for name in named},
    }


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environ.get("HOME") or "~").expanduser()
    for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder, "pip/pip.conf")
    yield Path("/etc/pip.conf")
    if not (named and os.path.exists(named)):
        yield home / ".pip/pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if named:
        yield Path(named)


def _long_name(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    return _ALIASES.get(name, name)
