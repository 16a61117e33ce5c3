"""pip and uv: which one installs, and the same said to either.

uv is quicker, and pip is what a person has configured: uv is told what stands in pip's configuration, and where it
cannot do the same, pip installs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colab_magics.core.common import process
from colab_magics.core.common.environment import child_path
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.refs import TryAgainError, explain
from colab_magics.core.git.specs import Spec
from colab_magics.core.packages import failures, pip_args, requirements
from colab_magics.core.packages.indexes import Indexes
from colab_magics.core.packages.pip_args import Options, PipArguments, is_named
from colab_magics.errors import InstallError

__all__ = ["Installer", "check", "choose", "find_uv", "for_uv", "has_pip"]

# As environment variables and not as options: a pip that is too old to know one passes over it.
_PIP_WAYS = {
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COLOR": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_PROGRESS_BAR": "off",
}
#: They decide nothing about what is installed.
_HARMLESS = frozenset(
    """break-system-packages cache-dir config-file debug default-timeout disable-pip-version-check log no-cache-dir
    no-color no-input no-warn-conflicts no-warn-script-location progress-bar quiet resume-retries retries
    root-user-action timeout verbose""".split()  # noqa: SIM905 - as a list it would fill a page
)
#: For pip's options uv's own, and the variables by which uv is told the same already: those count more.
_FOR_UV = {
    "constraint": ("--constraint", ["UV_CONSTRAINT"]),
    "build-constraint": ("--build-constraint", ["UV_BUILD_CONSTRAINT"]),
    "extra-index-url": ("--extra-index-url", ["UV_EXTRA_INDEX_URL", "UV_INDEX"]),
    "find-links": ("--find-links", ["UV_FIND_LINKS"]),
    "index-url": ("--index-url", ["UV_INDEX_URL", "UV_DEFAULT_INDEX"]),
    "no-deps": ("--no-deps", []),
    "no-index": ("--no-index", ["UV_NO_INDEX"]),
    "requirement": ("--requirement", []),
    "trusted-host": ("--allow-insecure-host", ["UV_INSECURE_HOST"]),
}
_OF_INDEXES = frozenset(["cert", "client-cert", "extra-index-url", "index-url", "proxy", "trusted-host"])
_UV_FILES = ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE")


@dataclass(frozen=True)
class Installer:
    """What installs into this interpreter's environment.

    Attributes
    ----------
    uv : str or None
        The uv program; None for this interpreter's pip.
    options : tuple of str
        What uv is told beside a request: pip's options, and a place that may be written.
    env : dict of str to str
        Variables for it.
    is_told : bool
        Whether the options say all that pip was asked for.
    """

    uv: str | None = None
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: _PIP_WAYS)
    is_told: bool = False

    def run(
        self, words: Sequence[str], env: Mapping[str, str], on_output: Callable[[str], None] | None = None
    ) -> process.Finished:
        """Install what these arguments say, in the program's own words."""
        command = [sys.executable, "-m", "pip", "install"]
        if self.uv:
            command = [self.uv, "pip", "install", "--python", sys.executable, "--no-progress", "--color", "never"]
        return process.run([*command, *self.options, *words], env={**env, **self.env}, on_output=on_output)

    def upgrade(self, names: Iterable[str]) -> list[str]:
        """Return the words that upgrade what is named, and a dependency only when it must.

        That is pip's ``--upgrade``; uv's would upgrade every dependency too.
        """
        return [word for name in names for word in ("--upgrade-package", name)] if self.uv else ["--upgrade"]


def has_pip() -> bool:
    """Tell whether this interpreter has pip."""
    return importlib.util.find_spec("pip") is not None


def find_uv(wanted: str) -> str | None:
    """Return the uv program, or None where pip is wanted or the only one.

    Raises
    ------
    InstallError
        When what is wanted is not there; says how to get it.
    """
    uv = shutil.which("uv", path=child_path()) if wanted != "pip" else None
    if wanted == "uv" and not uv:
        raise InstallError("uv was not found; pip install uv, or use --installer pip")
    if not uv and not has_pip():
        raise InstallError("this interpreter has no pip; python -m ensurepip, or install uv and use --installer uv")
    return uv


def choose(wanted: str, indexes: Indexes, asked: PipArguments) -> Installer:
    """Choose what installs.

    Parameters
    ----------
    wanted : {'auto', 'uv', 'pip'}
        ``'auto'`` takes uv when it is there and does the same as pip would.
    indexes : Indexes
        Takes the passwords out of the addresses of indexes.
    asked : PipArguments
        What pip is asked for.

    Raises
    ------
    InstallError
        When it is not there, or nothing can be installed; says what to do.
    """
    uv = find_uv(wanted)
    configured, to_user = pip_args.configured(), _to_user_site()
    for name in ("constraint", "build-constraint"):
        variable = f"PIP_{name.upper().replace('-', '_')}"
        where = f"environment variable {variable}" if os.environ.get(variable) else f"pip configuration ({name})"
        _check_files(where, configured.get(name, []))
    if not uv:
        return Installer()
    told = for_uv(pip_args.merged(configured, asked.options), indexes) if all(map(is_named, asked.targets)) else None
    missing = [name for name in _UV_FILES if any(not Path(path).exists() for path in os.environ.get(name, "").split())]
    if has_pip() and (told is None or missing or to_user) and wanted == "auto":
        return Installer()
    for name in missing:
        _check_files(f"environment variable {name}", os.environ[name].split())
    options, env = told or ((), {})
    if "extra-index-url" in configured:
        options += ("--index-strategy", "unsafe-best-match")  # pip takes the best version of any index
    prefix = ("--prefix", site.getuserbase()) if to_user else ()
    # Unwrapped, so that git's own lines can be read in what it prints.
    return Installer(uv, (*prefix, *options), {**env, "UV_NO_WRAP": "1"}, is_told=told is not None)


def for_uv(options: Options, indexes: Indexes) -> tuple[tuple[str, ...], dict[str, str]] | None:
    """Return the arguments and variables that say pip's options to uv; None where uv would do something else."""
    words: list[str] = []
    env: dict[str, str] = {}
    for option in sorted(options.keys() - _HARMLESS - (_OF_INDEXES if "no-index" in options else frozenset())):
        values = options[option]
        if option == "cert":
            env["SSL_CERT_FILE"] = os.environ.get("SSL_CERT_FILE") or values[0]
            continue
        if option not in _FOR_UV:
            return None
        name, variables = _FOR_UV[option]
        if any(map(os.environ.get, variables)):
            continue
        if option in {"requirement", "constraint"} and not all(_is_plain(Path(value)) for value in values):
            return None
        if option.endswith("index-url"):
            values = [indexes.without_password(value, "pip's configuration") for value in values]
        if option == "find-links":  # pip passes over what is not there
            values = [value for value in values if "://" in value or Path(value).exists()]
        words += [word for value in values for word in ([name, value] if value else [name])]
    return tuple(words), env


def _is_plain(path: Path) -> bool:
    """Tell whether every line of a requirements file, and of those that it names, is a project with its versions."""
    try:
        return all(map(is_named, requirements.whole(path)))
    except InstallError:
        return False


def _to_user_site() -> bool:
    """Tell whether installations go into the user's own folder, as pip does where the interpreter's may not be written.

    Raises
    ------
    InstallError
        When that one is switched off, as in a virtual environment.
    """
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if all(os.access(_nearest(Path(folder)), os.W_OK) for folder in folders):
        return False
    if not site.ENABLE_USER_SITE:
        raise InstallError(
            f"{sysconfig.get_path('purelib')} may not be written, and this interpreter has no folder of the user's own "
            "for packages; use an environment of your own (python -m venv), and its kernel"
        )
    return True


def _nearest(folder: Path) -> Path:
    return folder if folder.exists() else _nearest(folder.parent)


def _check_files(where: str, paths: Sequence[str]) -> None:
    for path in paths:
        if "://" not in path and not Path(path).exists():
            raise InstallError(f"the {where} names {path!r}, which does not exist; correct it, or take it out")


def check(done: process.Finished, label: str, spec: Spec | None, broker: Broker) -> None:
    """Raise what an installer's failure means; nothing when it is none.

    Raises
    ------
    TryAgainError, NeedsTokenError, RefusedTokenError
        When `CredentialsRetry.run` is to do it again, with what it finds.
    InstallError
        When that would not help.
    """
    if done.status == 0:
        return
    if broker.learn(done.output):
        raise TryAgainError
    raise explain(done.output, spec, broker) or failures.explain_failure(done.output, label)
