"""What the words after ``pip install``, or a line of a requirements file, ask for. Pure.

The options are those of ``pip install --help``. They are told apart by one question: can an option change what must be
installed when every requirement is met already? Most only say where to look, or how to build, what is missing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["FLAGS", "Asked", "read_line", "read_words"]

#: They change nothing when every requirement is met: pip takes what is installed, a pre-release too, before it looks
#: anywhere.
FLAGS = frozenset(
    [
        "--break-system-packages",
        "--check-build-dependencies",
        "--compile",
        "--debug",
        "--disable-pip-version-check",
        "--ignore-requires-python",
        "--isolated",
        "--no-build-isolation",
        "--no-cache-dir",
        "--no-clean",
        "--no-color",
        "--no-compile",
        "--no-index",
        "--no-input",
        "--no-use-pep517",
        "--no-user",
        "--no-warn-conflicts",
        "--no-warn-script-location",
        "--pre",
        "--prefer-binary",
        "--quiet",
        "--use-pep517",
        "--user",
        "--verbose",
    ]
)
_VALUED = frozenset(
    [
        "-C",
        "--cache-dir",
        "--cert",
        "--client-cert",
        "--config-setting",
        "--config-settings",
        "--default-timeout",
        "--exists-action",
        "--extra-index-url",
        "-f",
        "--find-links",
        "--global-option",
        "-i",
        "--index-url",
        "--keyring-provider",
        "--no-binary",
        "--only-binary",
        "--progress-bar",
        "--proxy",
        "--pypi-url",
        "--resume-retries",
        "--retries",
        "--root-user-action",
        "--timeout",
        "--trusted-host",
        "--upgrade-strategy",
        "--uploaded-prior-to",
        "--use-deprecated",
        "--use-feature",
    ]
)
_LISTS = {"-r": "files", "--requirement": "files", "-c": "constraints", "--constraint": "constraints",
          "-e": "editables", "--editable": "editables"}  # fmt: skip
_LOUD = re.compile(r"-[qv]+")
_JOINED = re.compile(r"(?P<option>--[\w-]+)=(?P<value>.*)|(?P<short>-[recifC])(?P<rest>.+)", re.DOTALL)
# A requirement's own options: they say how to fetch or build it.
_TAIL = re.compile(r"\s--(?:hash|config-settings?|global-option)\b.*$")


@dataclass
class Asked:
    """What is asked for.

    Attributes
    ----------
    targets : list of str
        Requirements, addresses and paths.
    editables : list of str
        Folders and repositories to be developed in place.
    files, constraints : list of str
        Requirements and constraints files.
    no_deps : bool
        Whether what they require in turn does not matter.
    """

    targets: list[str] = field(default_factory=list)
    editables: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    no_deps: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for: constraints alone install nothing."""
        return not (self.targets or self.editables or self.files)


def read_words(words: Iterable[str]) -> Asked | None:
    """Read what follows ``pip install``.

    Parameters
    ----------
    words : iterable of str
        As a shell splits them.

    Returns
    -------
    Asked or None
        None when an option may decide what is installed, though every requirement is met (``--upgrade``,
        ``--force-reinstall``, ``--target``, ...), or is not known here.
    """
    asked = Asked()
    rest = iter(words)
    for word in rest:
        option, value = _split(word)
        if option == "--no-deps" or option == "--no-dependencies":
            asked.no_deps = True
        elif option in FLAGS or _LOUD.fullmatch(word):
            if value is not None:
                return None
        elif option in _LISTS or option in _VALUED:
            value = next(rest, None) if value is None else value
            if value is None:
                return None
            if option in _LISTS:
                getattr(asked, _LISTS[option]).append(value)
        elif word.startswith("-"):
            return None
        else:
            asked.targets.append(word)
    return asked


def read_line(line: str) -> Asked | None:
    """Read one line of a requirements file, comments gone; None as for `read_words`."""
    if not line.startswith("-"):
        return Asked(targets=[_TAIL.sub("", line)])
    try:
        return read_words(_words(line))
    except ValueError:
        return None


def _words(line: str) -> Sequence[str]:
    option, _, rest = line.partition(" ")
    # A path may hold blanks: pip takes all that follows -r, -c and -e for one value.
    if option in _LISTS and rest:
        return [option, _TAIL.sub("", rest).strip()]
    return shlex.split(line)


def _split(word: str) -> tuple[str, str | None]:
    match = _JOINED.fullmatch(word) if word.startswith("-") else None
    if not match:
        return word, None
    return (match["option"], match["value"]) if match["option"] else (match["short"], match["rest"])
