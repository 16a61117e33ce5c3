"""Steps -> a portable shell script that does the same with nothing of ours installed.

Every step becomes a call of a shell function from `colab_magics.core.blocks.export.parts`. A variable of the block
stays one: its value is looked up, and its absence noticed, where the script runs.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.export.parts import needed
from colab_magics.core.blocks.export.parts.generated import host_functions
from colab_magics.core.blocks.export.parts.words import as_typed, call, fold, local, shown, word
from colab_magics.core.blocks.lexer import SYMBOL, symbol
from colab_magics.core.blocks.plan import Plan, Step, read_plan
from colab_magics.core.git.specs import is_bare, parse_spec
from colab_magics.core.secrets.hosts import VARIABLES
from colab_magics.core.secrets.secrets import NAMED_VARIABLE
from colab_magics.core.syncing.manifest import write_whole
from colab_magics.errors import ColabMagicsError, LayoutError, PlanError

__all__ = ["Script", "export", "write"]

_HEADER = """\
#!/bin/sh
# shellcheck disable=SC2030,SC2031,SC2153 # what a subshell sets ends with it; a variable of the block has its own name
# Made by colab-magics from {source}: does the same with a POSIX shell, curl or wget, unzip or python3, and for
# packages git and pip. Run it again at any time: it does only what is left. It ends with status 1 and the line of the
# block that failed, or with 2 when something is missing before anything ran. PYTHON is the interpreter that packages
# are installed for (python3). It reads COLAB_MAGICS_TOKEN_FILE, COLAB_MAGICS_DRIVE_ROOT, COLAB_MAGICS_DROPBOX_URL,
# COLAB_MAGICS_SECRET_<NAME> and COLAB_MAGICS_ENV. The functions come first, the block's lines at the end.
{held}set -eu
# What `run` gives to its commands; every other program is shown no secret.
colab_magics_environment=$(export -p)
"""
# The variables that are looked at before a function has set them.
_NAMES = ("work", "private", "held", "line", "verb", "interrupted", "wrong", "tokens", "mounted")


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
    needs : list of str
        What is looked at before anything runs.
    withheld : list of str
        Variables that no program is shown.
    problems : list of (int, str)
        What cannot be exported, by line.
    holds_link : bool
        Whether a link that grants access stands in it.
    hidden : list of str
        What of the block's text no comment shows.
    """

    plan: Plan
    source: str
    needs: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    holds_link: bool = False
    hidden: list[str] = field(default_factory=list)

    # What a verb writes its lines with.
    word = staticmethod(word)
    call = staticmethod(call)
    fold = staticmethod(fold)
    as_typed = staticmethod(as_typed)
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
        body = "\n".join(sections)
        start = self._start()
        functions = needed(f"{start}\nfinish\ninterrupt\n{body}", host_functions())
        used = "\n".join([*functions, start, body])
        names = [name for name in _NAMES if re.search(rf"\$\{{?{name}\b", used)]
        tab = ["tab=$(printf '\\t')"] if "$tab" in used else []
        start = start.replace("@tab@\n", "".join(f"{line}\n" for line in tab))
        start = start.replace("@names@", " ".join(f"{name}=''" for name in names))
        return "\n".join([self._header(), *functions, start, body, "verb=\n"])

    def _header(self) -> str:
        held = "# A link that grants access stands in it: keep it to yourself.\n" if self.holds_link else ""
        source = re.sub(r"[\x00-\x1f\x7f]", " ", self.source)
        return _HEADER.format(source=source, held=held)

    def _start(self) -> str:
        variables = self._variables()
        aliases = [f'[ -z "${{{name}+set}}" ] || {local(name)}=${name}' for name in variables if local(name) != name]
        checks = [f"need_variable {line} {name} {local(name)}" for name, line in variables.items()]
        withhold = ["withhold " + " ".join(dict.fromkeys(self.withheld))] if self.withheld else []
        return "\n".join(
            [
                *aliases,
                "withheld=''",
                "clean_environment",
                *withhold,
                "@names@",
                "trap finish EXIT",
                "trap 'interrupt 129' HUP",
                "trap 'interrupt 130' INT",
                "trap 'interrupt 143' TERM",
                "@tab@",
                "PYTHON=${PYTHON:-python3}",
                'if interpreter=$(command -v "$PYTHON"); then',
                "  case $interpreter in",
                "    /*) PATH=${interpreter%/*}:$PATH ;;",
                "    */*) PATH=$PWD/${interpreter%/*}:$PATH PYTHON=$PWD/$interpreter ;;",
                "  esac",
                "fi",
                "place=$(detect)",
                "",
                "# Everything is looked at before anything runs.",
                *dict.fromkeys([*checks, *self.needs]),
                '[ -z "$wrong" ] || exit 2',
                'private=$(mktemp -d "${TMPDIR:-/tmp}/colab_magics.XXXXXX")',
                ': >"$private/cookies"',
                "hold",
                "",
            ]
        )

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
            inner = "\n".join(f"  {line}" for line in lines)
            return f"{comment}\nif step {step.line} {step.verb} {','.join(step.on)}; then\n{inner}\nfi\n"
        return "\n".join([comment, f"step {step.line} {step.verb}", *lines, ""])

    def need(self, step: Step, *programs: str) -> None:
        """Have the script look for one of these programs before it runs anything."""
        self.needs.append(f"need {step.line} {word(','.join(step.on))} {' '.join(programs)}")

    def plain(self, step: Step, *values: str | None) -> None:
        """Have the script check that a value which begins with a variable is no option."""
        for value in values:
            if value and (match := SYMBOL.match(value)) and match[1] not in self._made:
                self.needs.append(f"need_plain {step.line} {match[1]} {word(value)}")

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
        self.needs.append(f"need_pip {step.line} {word(','.join(step.on))}")
        self.withhold_tokens()

    def withhold_tokens(self) -> None:
        """Keep the hosts' tokens from every program."""
        self.withheld += [name for names in VARIABLES.values() for name in names]

    def repository(self, text: str) -> list[str]:
        """Return the words that name a repository: its address or its own name, REF, EXTRAS and SUBDIRECTORY."""
        spec, host = parse_spec(text, owner="owner"), ""
        if SYMBOL.fullmatch(text) or (SYMBOL.search(spec.host) and not SYMBOL.fullmatch(spec.host)):
            raise PlanError(f"{text} could be any repository; write its owner and name out, as in $HOST/org/repo@$REF")
        if spec.is_folder:
            return ["--folder", word(spec.path), word(",".join(spec.extras))]
        rest = [word(spec.ref or ""), word(",".join(spec.extras)), word(spec.subdirectory or "")]
        if is_bare(text):
            return ["--own", word(spec.repository), *rest]
        if SYMBOL.fullmatch(spec.host):  # whether it is this machine is seen where the script runs
            host = f'"$(scheme_of {word(spec.host)})://"'
        return ["--repo", host + word(spec.url.removeprefix("https://" * bool(host))), *rest]

    def withhold_variables(self, text: str) -> None:
        """Keep the variables in a text from every program."""
        self.withheld += [local(name) for name in SYMBOL.findall(text) if local(name) == name]
