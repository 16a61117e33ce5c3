"""``apt install PKG ...``: install what dpkg does not have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import StepResult
from colab_magics.errors import PlanError, StepError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lexer import Word
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]

# Nothing that a package runs may stop to ask, and another apt, which Colab's image starts by itself, is waited for.
_QUIET = ("DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=a", "LC_ALL=C.UTF-8")
_OPTIONS = ("-y", "-q", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
            "-o", "DPkg::Lock::Timeout=300")  # fmt: skip
# The lists of packages are missing, as in a container, or older than what the servers have.
_OLD_LISTS = re.compile(
    r"Unable to locate package|has no installation candidate|Failed to fetch|Version '.*' .* not found"
)


class _Apt(Verb):
    synopsis = "install PKG ..."
    summary = "system packages (Debian, Ubuntu), where they are missing"
    description = "Install system packages that are missing, with sudo where needed; never asks."
    example = "  VERB install git-lfs ffmpeg"

    def arguments(self, parser: Arguments) -> None:
        add = parser.add_argument
        add("install", metavar="install", help="the one thing that it does")
        add("packages", metavar="PKG", nargs="*", help="as apt's: NAME, NAME=VERSION")
        add("--no-install-recommends", action="store_true", help="as apt's")
        for words in (("-y", "--yes"), ("-q", "-qq")):  # what one types by habit
            add(*words, action="store_true", help="always so")

    def claims(self, words: Sequence[Word]) -> bool:
        return bool(words) and words[0].value == "install"

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        if args.install != "install" or not args.packages:
            raise PlanError("write apt install PKG ...; what packages there are is asked anew when one is missing")
        for name in args.packages:
            if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?([=/][\w.+:~-]+)?", name):
                raise PlanError(f"{name!r} is no name of a package; write apt install NAME")

    def effects(self, step: Step, touches: Touches) -> None:
        touches.programs(installs=True)
        touches.packages()  # builds look for what it installs

    def is_done(self, step: Step, settings: Settings) -> bool:
        return not _missing(step.args.packages)

    def run(self, step: Step, call: Call) -> StepResult:
        missing = _missing(step.args.packages)
        if not missing:
            return StepResult(step.line, step.verb, "up-to-date", detail="everything it asks for is installed")
        names = " ".join(missing)
        call.progress.begin(f"installing {names}")
        try:
            more = ("--no-install-recommends",) if step.args.no_install_recommends else ()
            status, output, tail = _apt("install", *more, *missing)
            if status and _OLD_LISTS.search(output):
                call.progress.begin("fetching the lists of packages")
                _apt("update")
                call.progress.begin(f"installing {names}")
                status, output, tail = _apt("install", *more, *missing)
        finally:
            call.progress.end()
        if status:
            raise StepError(f"apt could not install {names}{_hint(output)}; its last lines:\n{tail}")
        return StepResult(step.line, step.verb, "done", detail=f"installed {names}")

    def export(self, step: Step, script: Script) -> list[str]:
        script.need(step, "apt-get")
        more = ["--no-install-recommends"] if step.args.no_install_recommends else []
        return [script.call("apt_install", *step.args.packages, *more)]


def _missing(names: Sequence[str]) -> list[str]:
    """Return which of these packages dpkg does not have installed, at the version where one is asked for."""
    form = "${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\t${Provides}\n"
    try:
        done = subprocess.run(
            ["dpkg-query", "--show", f"--showformat={form}"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return list(names)
    found: dict[str, str] = {}
    for status, name, architecture, version, provides in (line.split("\t") for line in done.stdout.splitlines()):
        if status.startswith(("ii", "hi")):
            found |= {name: version, f"{name}:{architecture}": version}
            for virtual in re.findall(r"(?:^|, )([^ ,]+)", provides):
                found.setdefault(virtual, "")
    wanted = ((name, *re.split("[=/]", name)) for name in names)
    return [
        name for name, plain, *version in wanted if plain not in found or ("=" in name and version != [found[plain]])
    ]


def _apt(*words: str) -> tuple[int, str, str]:
    from colab_magics.core.common import process  # here: loading the extension must not wait for them
    from colab_magics.core.git.broker import clean_environment

    if not shutil.which("apt-get"):
        raise StepError("apt was not found: it is Debian's and Ubuntu's; give the line an --on, as in --on colab")
    sudo = ["sudo", "-n"] if os.geteuid() else []
    if sudo and not shutil.which("sudo"):
        raise StepError("apt needs root, and there is no sudo here; ask whoever looks after this machine to install it")
    # Behind env, as sudo lets no variable pass.
    done = process.run([*sudo, "env", *_QUIET, "apt-get", *_OPTIONS, *words], env=clean_environment())
    return done.status, done.output, done.tail()


def _hint(output: str) -> str:
    if re.search(r"sudo: .*(password|not allowed|terminal)", output):
        return (
            ", since sudo would ask for a password; run it once in a terminal, or ask whoever looks after this machine"
        )
    if match := re.search(r"Unable to locate package (\S+)", output):
        return f": there is no package {match[1]}; look it up with: apt search {match[1]}"
    return ""


VERB = _Apt()
