"""Steps -> a portable shell script that does the same with nothing of ours installed.

Every step becomes a call of a shell function from `colab_magics.core.blocks.export.functions`. A variable of the block
stays one: its value is looked up, and its absence noticed, where the script runs.
"""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.export.functions import needed
from colab_magics.core.blocks.export.words import call, fold, local, shown, word
from colab_magics.core.blocks.lexer import SYMBOL, symbol
from colab_magics.core.blocks.plan import Plan, Step, read_plan
from colab_magics.core.common.files import write_whole
from colab_magics.core.git.specs import is_bare, parse_spec
from colab_magics.core.secrets.hosts import VARIABLES
from colab_magics.core.secrets.secrets import NAMED_VARIABLE
from colab_magics.errors import ColabMagicsError, LayoutError, PlanError

__all__ = ["Script", "export", "write"]

_HEADER = """\
#!/bin/sh
# shellcheck disable=SC2016,SC2030,SC2031,SC2119,SC2120,SC2153 # $NAME in quotes, what a subshell sets: all meant so
# Made by colab-magics from {source}: does the same with a POSIX shell, curl or wget, unzip or python3, and for packages
# git and pip. Run it again at any time: it does only what is left. It ends with status 1 and the line of the block that
# failed, or with 2 when something is missing before anything ran.
#
# To read it, begin at the end: there are the lines of the block from top to bottom, each as one call or a few. Before
# them everything that they need is looked for. What comes first are the functions, those that this block uses: to end
# (base), for paths, secrets, links and their downloads, unpacking and merging, packages.
#
# It reads PYTHON (the interpreter that packages are installed for; python3), COLAB_MAGICS_TOKEN_FILE,
# COLAB_MAGICS_DRIVE_ROOT, COLAB_MAGICS_DROPBOX_URL, COLAB_MAGICS_SECRET_<NAME> and COLAB_MAGICS_ENV.
#
# What colab-magics does and this does not: go on with a download that broke off, wait as long as a busy server asks,
# ask the service's own secrets or a person, read a token file without python3, mount Google Drive, install with uv,
# look whether what an installed package requires is still there, keep a zip's symlinks where there is no unzip.
{held}set -eu
# What `run` gives to its commands; every other program is shown no secret.
colab_magics_environment=$(export -p)
"""


_START = """\
line='' verb='' work='' private='' held='' wrong=''
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
PYTHON=${PYTHON:-python3}
case $PYTHON in
  */*) PYTHON=$(cd "${PYTHON%/*}" && pwd)/${PYTHON##*/} PATH=$(cd "${PYTHON%/*}" && pwd):$PATH ;;
esac
export LC_ALL=C

# Everything is looked for before anything runs."""


def export(text: str, *, source: str = "the block") -> str:
    """Write a bootstrap block as a POSIX shell script.

    The script needs curl or wget, unzip or Python, and for packages git and Python's pip, beside the tools that
    POSIX names. It can be run again, reads the same ``COLAB_MAGICS_*`` variables, and shows no secret to ``ps``. A
    link that stands in the block stands in the script too: keep such a script to yourself (mode 0600).

    Parameters
    ----------
    text : str
        The block. ``$NAME`` stays a variable of the script.
    source : str, optional
        What the script's first lines call the block.

    Returns
    -------
    str
        The script; ends with a line break.

    Raises
    ------
    PlanError
        When the block is wrong, or has something that a script cannot do; has a line for every problem.
    TokenError
        When a token stands in it.

    Examples
    --------
    >>> from colab_magics import core
    >>> print(core.export("symlink data link").splitlines()[0])
    #!/bin/sh
    """
    try:
        plan = read_plan(text, _Symbols(), here="anywhere")
    except ColabMagicsError as error:
        raise type(error)(shown(str(error))) from None
    return Script(plan, source).text()


def write(path: Path, text: str) -> str:
    """Write a script, or a block, whole or not at all; it may hold a link, so that only its owner may read it.

    Returns
    -------
    str
        What to tell a person of it.

    Raises
    ------
    LayoutError
        When it cannot be written there.
    """
    try:
        if path.exists() and not path.is_file():  # a terminal, a pipe
            path.write_text(text, "utf-8")
        else:
            write_whole(Path(os.path.realpath(path)), text.encode(), 0o700 if text.startswith("#!") else 0o600)
    except OSError as error:
        raise LayoutError(f"{str(path)!r} cannot be written: {error.strerror or error}") from None
    return f"wrote the {'script' if text.startswith('#!') else 'block'} to {path}"


class _Symbols(Mapping[str, str]):
    """Every variable, each as the symbol that stands for it."""

    def __getitem__(self, name: str) -> str:
        return symbol(name)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1  # never empty


@dataclass
class Script:
    """A script in the making.

    Attributes
    ----------
    plan : Plan
        What it does.
    source : str
        Where that comes from.
    needs : dict of str to str
        What is looked for before anything runs: a line of the script for each, by what it is.
    withheld : list of str
        Variables that no program is shown.
    problems : list of (int, str)
        What cannot be exported, by line.
    features : set of str
        What of its functions it uses, as ``--mirror``.
    holds_link : bool
        Whether a link that grants access stands in it.
    hidden : list of str
        What of the block's text no comment shows.
    """

    plan: Plan
    source: str
    needs: dict[str, str] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    features: set[str] = field(default_factory=set)
    holds_link: bool = False
    hidden: list[str] = field(default_factory=list)

    # What a verb writes its lines with.
    word = staticmethod(word)
    call = staticmethod(call)
    fold = staticmethod(fold)
    local = staticmethod(local)

    def text(self) -> str:
        """Return all of it."""
        sections = []
        for step in self.plan.steps:
            try:
                sections.append(self._section(step))
            except PlanError as error:
                self.problems.append((step.line, str(error)))
        if self.problems:
            raise PlanError("\n".join(f"line {line}: {shown(message)}" for line, message in sorted(self.problems)))
        steps = "\n".join([*self._start(), "", *sections, "verb=\n"])
        return "\n".join([self._header(), *needed(f"finish\n{steps}", self.features), steps])

    def _header(self) -> str:
        held = "# A link that grants access stands in it: keep it to yourself.\n" if self.holds_link else ""
        source = re.sub(r"[\x00-\x1f\x7f]", " ", self.source)
        return _HEADER.format(source=source, held=held)

    def _start(self) -> list[str]:
        variables = self._variables()
        own = [name for name in variables if local(name) != name]
        asked = [
            f'[ -n "${{{local(name)}+set}}" ] || '
            f"complain 'line {line}: unknown variable ${name}; set it in the environment'"
            for name, line in variables.items()
        ]
        return [
            *(f'[ -z "${{{name}+set}}" ] || {local(name)}=${name}' for name in own),
            " \\\n  ".join(textwrap.wrap(" ".join(["withhold", *dict.fromkeys(self.withheld)]), 110)),
            *_START.splitlines(),
            *asked,
            *self.needs.values(),
            '[ -z "$wrong" ] || exit 2',
            'private=$(mktemp -d "${TMPDIR:-/tmp}/colab_magics.XXXXXX")',
            ': >"$private/cookies"',
            "hold",
        ]

    def _variables(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for step in self.plan.steps:
            for name in SYMBOL.findall(f"{vars(step.args)} {step.command}"):
                if name not in self._made:
                    found.setdefault(name, step.line)
        return found

    @cached_property
    def _made(self) -> set[str]:
        """The variables that the block itself sets, so that they are not there before it runs."""
        return {name for step in self.plan.steps for name in verbs.get(step.verb).variables(step)}

    def _section(self, step: Step) -> str:
        if "\ua78f" in SYMBOL.sub("", f"{vars(step.args)} {step.command}"):
            raise PlanError("the name of a variable in a script has plain letters, digits and _ only")
        lines = verbs.get(step.verb).export(step, self)
        comment = f"# line {step.line}: {' '.join(shown(step.text).split())}"
        for secret in filter(None, self.hidden):
            comment = comment.replace(secret, "***")
        if step.on:
            places = ",".join(step.on)
            other = f'  say "skipped, only on {places}, this is $(detect)"'
            lines = [f"if is_on {places}; then", *(f"  {line}" for line in lines), "else", other, "fi"]
        return "\n".join([comment, f"line={step.line} verb={step.verb}", *lines, ""])

    def need(self, step: Step, *programs: str) -> None:
        """Have the script look for one of these programs before it runs anything."""
        self._look(step, " ".join(programs), f"need {step.line} {' '.join(programs)}")

    def _look(self, step: Step, what: str, check: str) -> None:
        only = f"! is_on {','.join(step.on)} || " if step.on else ""
        self.needs.setdefault(only + what, only + check)

    def plain(self, step: Step, *values: str | None) -> None:
        """Have the script check that a value which begins with a variable is no option."""
        for value in values:
            if value and (match := SYMBOL.match(value)) and match[1] not in self._made:
                wrong = f"'line {step.line}: ${match[1]} begins with -, so it would be taken for an option'"
                self.needs.setdefault(value, f"case {word(value)} in -*) complain {wrong} ;; esac")

    def secret(self, name: str) -> str:
        """Return the words that look a secret up, and keep its variable from every program."""
        name = name.removeprefix("secret:")
        if SYMBOL.search(name):
            raise PlanError("a secret's name must stand in the block itself for a script; write secret:NAME")
        variable = NAMED_VARIABLE + re.sub(r"\W", "_", name).upper()
        self.withheld.append(variable)
        if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            self.withheld.append(name)
        return f"$(secret {shlex.quote(name)} {variable})"

    def installs(self, step: Step) -> None:
        """Have the script look for pip, and keep the hosts' tokens from every program."""
        self.need(step, '"$PYTHON"')
        no_pip = f'complain "line {step.line}: $PYTHON has no pip; run: $PYTHON -m ensurepip"'
        self._look(step, "pip", f"\"$PYTHON\" -c 'import pip' 2>/dev/null || {no_pip}")
        self.withhold_tokens()

    def withhold_tokens(self) -> None:
        """Keep the hosts' tokens from every program."""
        self.withheld += [name for names in VARIABLES.values() for name in names]

    def git(self, step: Step, token: str | None, *specs: str) -> list[str]:
        """Return the lines after which git finds the tokens of all hosts, with `token` for those of `specs`."""
        self.need(step, "git")
        self.withhold_tokens()
        if not token:
            return ["open_git"]
        hosts = [spec.host for spec in (parse_spec(text, owner="owner") for text in specs) if not spec.is_folder]
        return [f"token={self.secret(token)}", self.call("open_git", *dict.fromkeys(hosts))]

    def repository(self, text: str) -> list[str]:
        """Return the line that sets ``url`` to a repository's address."""
        spec = parse_spec(text, owner="owner")
        if SYMBOL.fullmatch(text) or (SYMBOL.search(spec.host) and not SYMBOL.fullmatch(spec.host)):
            raise PlanError(f"{text} could be any repository; write its owner and name out, as in $HOST/org/repo@$REF")
        if is_bare(text):
            return [f"url=$(own_url {word(spec.repository)})"]
        if SYMBOL.fullmatch(spec.host):  # whether it is this machine is seen where the script runs
            return [f"url=$(site_of {word(spec.host)}){word(spec.url.partition(spec.host)[2])}"]
        return [f"url={word(spec.url)}"]

    def withhold_variables(self, text: str) -> None:
        """Keep the variables in a text from every program."""
        self.withheld += [local(name) for name in SYMBOL.findall(text) if local(name) == name]
