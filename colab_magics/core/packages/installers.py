"""pip and uv: the same order, said to either, and what their failures mean."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from colab_magics.core.common import process
from colab_magics.core.common.environment import child_path
from colab_magics.core.git.errors import told_to_build
from colab_magics.core.git.specs import canonical
from colab_magics.core.packages.installed import Dist
from colab_magics.core.packages.uv_args import for_uv
from colab_magics.errors import InstallError

__all__ = [
    "Installer",
    "Order",
    "choose",
    "explain_failure",
    "other_name",
    "pinned",
    "pip_command",
    "required_addresses",
    "uv_command",
]

# As environment variables and not as options: a pip that is too old to know one passes over it.
_PIP_WAYS = {
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COLOR": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_PROGRESS_BAR": "off",
}
_NO_INDEX = re.compile(
    r"Failed to establish a new connection|NewConnectionError|name resolution|dns error|error sending request|"
    r"client error \(Connect\)",
    re.IGNORECASE,
)
_NO_ENTRY = re.compile(
    r"401 (?:Client )?Error|HTTP error 401|401 Unauthorized|403 (?:Client Error|Forbidden)", re.IGNORECASE
)
_NO_MATCH = re.compile(
    r"No matching distribution found for ([^\s(]+)|Could not find a version that satisfies the requirement ([^\s(]+)|"
    r"Because (\S+) was not found in the (?:package registry|provided package locations)"
)
_CONFLICT = re.compile(
    r"ResolutionImpossible|No solution found when resolving|conflicting dependencies|Cannot install "
)
_NO_PROJECT = re.compile(
    r"does not appear to be a Python project|neither 'setup\.py' nor 'pyproject\.toml' found|is not installable|"
    r"has no subdirectory"
)
_BUILD = re.compile(
    r"did not run successfully|subprocess-exited-with-error|metadata-generation-failed|Failed (?:to build|building)|"
    r"build backend returned an error|Getting requirements to build",
    re.IGNORECASE,
)
_NAMES = re.compile(
    r"inconsistent name: expected '(?P<pip>[^']+)', but metadata has '(?P<pip_own>[^']+)'|"
    r"metadata name `(?P<uv_own>[^`]+)` does not match given name `(?P<uv>[^`]+)`"
)


@dataclass(frozen=True)
class Order:
    """What is to be installed, and how.

    Attributes
    ----------
    targets : tuple of str
        Requirements and folders.
    editables : tuple of str
        Folders to be developed in place.
    files, constraints : tuple of Path
        Requirements and constraints files.
    names : tuple of str
        The projects that the files name, for an upgrade of just these.
    upgrade, force, no_deps : bool
        As pip's ``--upgrade``, ``--force-reinstall`` and ``--no-deps``.
    indexes : tuple of str
        ``--index-url`` and ``--extra-index-url`` with their values.
    """

    targets: tuple[str, ...] = ()
    editables: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    constraints: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    upgrade: bool = False
    force: bool = False
    no_deps: bool = False
    indexes: tuple[str, ...] = field(default=())

    def words(self) -> list[str]:
        """Return what is to be installed, as pip and uv both take it."""
        words = list(self.indexes)
        for option, values in (("-e", self.editables), ("-r", self.files), ("-c", self.constraints)):
            for value in values:
                words += [option, str(value)]
        return [*words, *self.targets]


@dataclass(frozen=True)
class Installer:
    """What installs into this interpreter's environment.

    Attributes
    ----------
    uv : str or None
        The uv program; None for this interpreter's pip.
    """

    uv: str | None = None

    def run(self, order: Order, env: Mapping[str, str]) -> process.Finished:
        """Install."""
        if self.uv:
            # Unwrapped, so that git's own lines can be read in what it prints.
            return process.run(uv_command(self.uv, order), env={**env, "UV_NO_WRAP": "1"})
        return self.pip([*_pip_flags(order)], env)

    def pip(self, arguments: Sequence[str], env: Mapping[str, str]) -> process.Finished:
        """Run ``pip install`` with these arguments, as quickly as it goes: with uv where uv does the same with them."""
        has_pip = importlib.util.find_spec("pip") is not None
        words = for_uv(arguments) if self.uv else None
        if self.uv and (words or not has_pip):
            command = [*_uv_install(self.uv), *(words or arguments)]
            done = process.run(command, env={**env, "UV_NO_WRAP": "1"})
            if done.status == 0 or not has_pip:
                return done
        return process.run([sys.executable, "-m", "pip", "install", *arguments], env={**env, **_PIP_WAYS})


def choose(wanted: str) -> Installer:
    """Choose what installs.

    Parameters
    ----------
    wanted : {'auto', 'uv', 'pip'}
        ``'auto'`` takes uv when it is there.

    Raises
    ------
    InstallError
        When it is not there; says how to get it.
    """
    uv = shutil.which("uv", path=child_path())
    has_pip = importlib.util.find_spec("pip") is not None
    if wanted == "uv" and not uv:
        raise InstallError("uv was not found; pip install uv, or use --installer pip")
    if wanted == "pip" and not has_pip:
        raise InstallError("this interpreter has no pip; python -m ensurepip, or use --installer uv")
    if not uv and not has_pip:
        raise InstallError("neither uv nor pip is here; python -m ensurepip, and run it again")
    return Installer(uv if wanted != "pip" else None)


def pip_command(order: Order) -> list[str]:
    """Return the order as a command for pip."""
    return [sys.executable, "-m", "pip", "install", *_pip_flags(order)]


def uv_command(uv: str, order: Order) -> list[str]:
    """Return the order as a command for uv.

    uv's ``--upgrade`` would upgrade every dependency too. pip's upgrades what is named, and a dependency only when
    it must; for uv that is ``--upgrade-package``.
    """
    command = _uv_install(uv)
    if order.upgrade:
        for name in order.names:
            command += ["--upgrade-package", name]
    command += ["--reinstall"] if order.force else []
    command += ["--no-deps"] if order.no_deps else []
    return [*command, *order.words()]


def _uv_install(uv: str) -> list[str]:
    return [uv, "pip", "install", "--python", sys.executable, "--no-progress", "--color", "never"]


def _pip_flags(order: Order) -> list[str]:
    flags = (("--upgrade", order.upgrade), ("--force-reinstall", order.force), ("--no-deps", order.no_deps))
    return [*(flag for flag, on in flags if on), *order.words()]


def pinned(dist: Dist) -> str:
    """Return what is installed from a repository, as an argument that installs just that."""
    part = f"#subdirectory={dist.subdirectory}" if dist.subdirectory else ""
    return f"{dist.key} @ git+{dist.url}@{dist.commit}{part}"


def other_name(output: str) -> tuple[str, str] | None:
    """Return the name by which a project was called, and its own, when an installer complains that they differ."""
    match = _NAMES.search(output)
    if not match:
        return None
    return canonicalize_name(match["pip"] or match["uv"]), match["pip_own"] or match["uv_own"]


def required_addresses(output: str) -> dict[str, str | None]:
    """Return what other packages require by its address, when that is in the way: the repository, and a ref if any."""
    found: dict[str, str | None] = {}
    for block in re.findall(r"conflicting URLs for package [^\n]*\n((?:\s*- git\+\S+)+)", output):  # uv
        for address, ref in re.findall(r"- (git\+\w+://[^/]+/[^@#\s]+)(?:@([^#\s]+))?", block):
            if not re.fullmatch(r"[0-9a-f]{40}", ref):  # the pinned one is the one that was asked for
                found[canonical(address)] = ref or None
    for address, ref in re.findall(r" depends on .*\(from (git\+\w+://[^/]+/[^@#)]+)(?:@([^#)]+))?", output):
        found[canonical(address)] = ref or None
    return found


def explain_failure(output: str, label: str) -> InstallError:
    """Return the error that an installer's failure means, with the lines that matter of what it printed.

    Parameters
    ----------
    output : str
        What it printed.
    label : str
        What messages call the installation.
    """
    lines = told_to_build(output)
    if _NO_PROJECT.search(output):
        return InstallError(
            f"{label} is no Python project at that place: it has no pyproject.toml; when the project lies deeper, "
            f"give #subdirectory=DIR:\n{lines}"
        )
    if _NO_ENTRY.search(output):
        return InstallError(
            f"a package index refused what it was shown, or was shown nothing; put a token for its host into the token "
            f"file, and give its address with --extra-index-url or in the requirements file:\n{lines}"
        )
    if _NO_INDEX.search(output):
        return InstallError(f"the package index cannot be reached; check the network and run it again:\n{lines}")
    if match := _NO_MATCH.search(output):
        missing = next(group for group in match.groups() if group)
        return InstallError(
            f"{label} needs {missing}, and no index has it for this Python; if it is private, name it too, or give its "
            f"address in the package's dependencies; if its index wants a token, put that into the token file:\n{lines}"
        )
    if _CONFLICT.search(output):
        return InstallError(f"{label} asks for versions that exclude each other; relax one of them:\n{lines}")
    if _BUILD.search(output):
        return InstallError(f"the build of {label} failed; mend what its last lines say, and run it again:\n{lines}")
    return InstallError(f"{label} could not be installed; mend what the last lines say, and run it again:\n{lines}")
