"""Install packages from private git repositories: resolve, skip what is there, install the rest, check."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from colab_magics.core import git, installed, layout, process, secrets
from colab_magics.core.credentials import Broker
from colab_magics.core.environment import child_path
from colab_magics.core.git import NeedsTokenError, Remote
from colab_magics.core.installed import Dist
from colab_magics.core.progress import SILENT, Progress
from colab_magics.core.results import InstallResult, Package
from colab_magics.core.secrets import Credential
from colab_magics.core.settings import Settings
from colab_magics.core.specs import Spec, parse_spec
from colab_magics.errors import InstallError, TokenError

__all__ = ["install"]


def install(
    specs: Sequence[str],
    *,
    requirements: Sequence[str | os.PathLike[str]] = (),
    editable: bool = False,
    src: str | os.PathLike[str] | None = None,
    upgrade: bool = False,
    force: bool = False,
    no_deps: bool = False,
    token: str | None = None,
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> InstallResult:
    """Install packages from private git repositories into this interpreter's environment.

    Parameters
    ----------
    specs : sequence of str
        As `colab_magics.core.specs.parse_spec` takes them; several are one installation.
    requirements : sequence of path-like, optional
        Requirements files that are installed together with them.
    editable : bool, optional
        Clone beside the notebook and install in place; a folder is installed where it lies.
    src : path-like, optional
        The folder that clones go into, by default the working folder.
    upgrade, force, no_deps : bool, optional
        As pip's ``--upgrade``, ``--force-reinstall`` and ``--no-deps``.
    token : str, optional
        ``secret:NAME`` of the token for the hosts that the specs name.
    dry_run : bool, optional
        Ask what the refs are, install nothing.
    settings : Settings, optional
        By default read from the environment.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    InstallResult

    Raises
    ------
    TokenError
        When a token is missing, refused, or was typed itself.
    InstallError
        When there is no such repository or ref, no access, no network, or a build failed.
    """
    settings = settings or Settings.load()
    began = time.monotonic()
    secrets.refuse_literal([*specs, token or ""])
    if token is not None and not token.startswith("secret:"):
        raise TokenError(
            "a token is given as secret:NAME, never itself; what was typed is now in this notebook, so revoke it"
        )
    files = [layout.expand(path, settings) for path in requirements]
    for path in files:
        if not path.is_file():
            raise InstallError(f"the requirements file {str(path)!r} does not exist; correct it, or sync it first")
    owner = None if all("/" in spec for spec in specs) else secrets.default_owner(settings)
    wanted = [parse_spec(spec, owner=owner) for spec in specs]
    if not wanted and not files:
        raise InstallError("nothing to install; give org/repo, or -r FILE")
    options = _Options(editable, Path(layout.expand(src or ".", settings)), upgrade, force, no_deps, dry_run)
    result = _Installation(wanted, files, options, token, settings, progress).run()
    result.seconds = time.monotonic() - began
    return result


def pip_install(arguments: Sequence[str], *, settings: Settings | None = None, progress: Progress = SILENT) -> None:
    """Run ``pip install`` with the given arguments; private repositories in them install with the token too.

    Raises
    ------
    InstallError, TokenError
        When it failed; has the last lines of what it said.
    """
    settings = settings or Settings.load()
    secrets.refuse_literal(arguments)
    options = _Options(editable=False, src=Path(), upgrade=False, force=False, no_deps=False, dry_run=False)
    _Installation([], [], options, None, replace(settings, installer="pip"), progress).pip(list(arguments))


@dataclass(frozen=True)
class _Options:
    editable: bool
    src: Path
    upgrade: bool
    force: bool
    no_deps: bool
    dry_run: bool


@dataclass
class _Item:
    """A thing to install: its spec, what its ref is now, what is installed of it."""

    spec: Spec
    remote: Remote | None = None
    folder: Path | None = None
    before: Dist | None = None
    done: bool = False


class _Installation:
    def __init__(
        self,
        specs: Sequence[Spec],
        files: Sequence[Path],
        options: _Options,
        token: str | None,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self.items = [_Item(spec) for spec in specs]
        self.files, self.options, self.token = files, options, token
        self.settings, self.progress = settings, progress
        self.installer = _Installer(settings)

    def run(self) -> InstallResult:
        hosts = {item.spec.host: self._credential(item.spec.host) for item in self.items if item.spec.host}
        hosts |= {host: self._credential(host) for host in secrets.token_hosts(self.settings) if host not in hosts}
        before = installed.snapshot()
        with Broker(hosts) as broker:
            self._resolve(broker)
            for item in self.items:
                self._compare(item, before)
            todo = [item for item in self.items if not item.done]
            if self.options.dry_run or not (todo or self.files):
                status = "planned" if self.options.dry_run and (todo or self.files) else "up-to-date"
                return InstallResult(
                    [_package(item, item.before, changed=not item.done) for item in self.items], status=status
                )
            imported = {key: installed.imported_modules(key) for key in before}
            self._install(todo, broker)
        after = installed.snapshot()
        return self._result(before, after, imported)

    def pip(self, arguments: Sequence[str]) -> None:
        with Broker({host: self._credential(host) for host in secrets.token_hosts(self.settings)}) as broker:
            self._call(arguments, "pip install", broker.environment(), broker)
        installed.forget_caches()

    def _credential(self, host: str, *, prompt: bool = False) -> Credential | None:
        named = self.token if any(item.spec.host == host for item in self.items) else None
        return secrets.host_token(host, self.settings, token=named, prompt=prompt)

    def _resolve(self, broker: Broker) -> None:
        items = [item for item in self.items if not item.spec.is_folder]
        try:
            self._resolve_all(items, broker)
        except NeedsTokenError as error:
            host = str(error)
            broker.credentials[host] = self._credential(host, prompt=True)
            if broker.credentials[host] is None:
                raise TokenError(_no_token(host, self.settings)) from None
            try:
                self._resolve_all(items, broker)
            except NeedsTokenError as error:
                raise TokenError(_no_token(str(error), self.settings)) from None
        for item in self.items:
            if item.spec.is_folder:
                item.folder = layout.expand(item.spec.path, self.settings)
                if not item.folder.is_dir():
                    raise InstallError(f"the folder {item.spec.path!r} does not exist; correct it, or sync it first")

    def _resolve_all(self, items: Sequence[_Item], broker: Broker) -> None:
        jobs = self.settings.jobs or 8  # each waits for a server, none for the processor
        with ThreadPoolExecutor(min(jobs, len(items)) or 1) as pool:
            for item, remote in zip(items, pool.map(lambda item: git.resolve(item.spec, broker), items), strict=True):
                item.remote = remote

    def _compare(self, item: _Item, before: Mapping[str, Dist]) -> None:
        """Decide whether an item is installed already, at its commit and with all that it requires."""
        if item.folder is not None:
            item.before = installed.from_folder(before.values(), item.folder)
            item.done = bool(item.before and item.before.editable and self.options.editable)
        elif item.remote is not None and self.options.editable:
            item.folder = self.options.src / item.spec.path.rpartition("/")[2]
            project = item.folder / (item.spec.subdirectory or "")
            item.before = installed.from_folder(before.values(), project)
            head = _head(item.folder)
            item.done = bool(item.before and item.before.editable and head == item.remote.commit)
        elif item.remote is not None:
            item.before = installed.from_repository(before.values(), item.spec.url, item.spec.subdirectory)
            item.done = bool(item.before and item.before.commit == item.remote.commit and not item.before.editable)
        if item.done and item.before and not self.options.no_deps:
            item.done = installed.dependencies_hold(metadata.distribution(item.before.name), item.spec.extras)
        item.done = item.done and not (self.options.force or self.options.upgrade)

    def _install(self, todo: Sequence[_Item], broker: Broker) -> None:
        env = broker.environment()
        arguments: list[str] = []
        for item in todo:
            arguments += self._argument(item, env, broker)
        for path in self.files:
            arguments += ["-r", str(path)]
        flags = [
            flag
            for flag, on in (
                ("--upgrade", self.options.upgrade),
                ("--force-reinstall", self.options.force),
                ("--no-deps", self.options.no_deps),
            )
            if on
        ]
        label = ", ".join(item.spec.shown for item in todo) or "requirements"
        self._call([*flags, *arguments], label, env, broker)
        # pip leaves a package alone whose version is the one it has, whatever commit it was built from.
        after = installed.snapshot()
        for item in todo:
            if item.remote is None or self.options.editable:
                continue
            dist = installed.from_repository(after.values(), item.spec.url, item.spec.subdirectory)
            if dist is None or not (dist.commit or "").startswith(item.remote.commit):
                again = ["--force-reinstall", "--no-deps", *self._argument(item, env, broker)]
                self._call(again, item.spec.shown, env, broker)

    def _argument(self, item: _Item, env: Mapping[str, str], broker: Broker) -> list[str]:
        extras = f"[{','.join(item.spec.extras)}]" if item.spec.extras else ""
        if item.folder is not None:
            if item.remote is not None:
                self.progress.say(f"cloning {item.spec.shown} into {item.folder}")
                self.options.src.mkdir(parents=True, exist_ok=True)
                git.checkout(item.spec, item.remote, item.folder, env)
            project = os.path.abspath(item.folder / (item.spec.subdirectory or ""))
            return [*(["--editable"] if self.options.editable else []), f"{project}{extras}"]
        commit = item.remote.commit if item.remote else ""
        part = f"#subdirectory={item.spec.subdirectory}" if item.spec.subdirectory else ""
        address = f"git+{item.spec.url}@{commit}{part}"
        if not extras:
            return [address]
        # Extras need the project's name, and only its metadata knows that.
        name = item.before.name if item.before else self.installer.name_of(address, env)
        if name is None:
            self._call([address], item.spec.shown, env, broker)
            dist = installed.from_repository(installed.snapshot().values(), item.spec.url, item.spec.subdirectory)
            name = dist.name if dist else item.spec.path.rpartition("/")[2]
        return [f"{name}{extras} @ {address}"]

    def _call(self, arguments: Sequence[str], label: str, env: Mapping[str, str], broker: Broker) -> None:
        self.progress.begin(f"installing {label}")
        try:
            done = self.installer.install(arguments, env)
        finally:
            self.progress.end()
        if done.status == 0:
            return
        for host in sorted(broker.asked | {item.spec.host for item in self.items if item.spec.host}):
            error = git.failure(done.output, label, host, broker)
            if isinstance(error, NeedsTokenError):
                raise TokenError(_no_token(str(error), self.settings))
            if error:
                raise error
        raise InstallError(f"{label} could not be installed; the last lines say why:\n{done.tail()}")

    def _result(
        self, before: Mapping[str, Dist], after: Mapping[str, Dist], imported: Mapping[str, list[str]]
    ) -> InstallResult:
        changed = {key for key, dist in after.items() if before.get(key) != dist}
        for key in changed:
            if after[key].editable:
                installed.activate(key)
        packages, named = [], set()
        for item in self.items:
            dist = self._find(item, after)
            if dist is None:
                raise InstallError(
                    f"{item.spec.shown} was installed, but no package of it is found; is it a Python project?"
                )
            named.add(dist.key)
            packages.append(_package(item, dist, changed=not item.done))
        if self.files:
            packages += [
                Package(dist.name, dist.version, dist.url, None, dist.commit, changed=True)
                for key, dist in sorted(after.items())
                if key in changed - named
            ]
        stale = sorted({module for key in changed for module in imported.get(key, [])})
        status = "installed" if changed else "up-to-date"
        return InstallResult(packages, restart_needed=bool(stale), stale=stale, status=status)

    def _find(self, item: _Item, after: Mapping[str, Dist]) -> Dist | None:
        if item.folder is not None:
            return installed.from_folder(after.values(), item.folder / (item.spec.subdirectory or ""))
        return installed.from_repository(after.values(), item.spec.url, item.spec.subdirectory)


class _Installer:
    """pip of this interpreter, or uv working on this interpreter's environment."""

    def __init__(self, settings: Settings) -> None:
        uv = shutil.which("uv", path=child_path())
        has_pip = importlib.util.find_spec("pip") is not None
        if settings.installer == "uv" and not uv:
            raise InstallError("uv was not found; pip install uv, or use --installer pip")
        if settings.installer == "pip" and not has_pip:
            raise InstallError("this interpreter has no pip; python -m ensurepip, or use --installer uv")
        if not uv and not has_pip:
            raise InstallError("neither uv nor pip is here; python -m ensurepip, and run it again")
        self.uv = uv if settings.installer != "pip" else None

    def install(self, arguments: Sequence[str], env: Mapping[str, str]) -> process.Finished:
        if self.uv:
            renamed = {"--force-reinstall": "--reinstall"}
            command = [self.uv, "pip", "install", "--python", sys.executable, "--no-progress", "--color", "never"]
            command += [renamed.get(argument, argument) for argument in arguments]
        else:
            command = [*_PIP, "install", *_PIP_FLAGS, *arguments]
        return process.run(command, env=env)

    def name_of(self, address: str, env: Mapping[str, str]) -> str | None:
        """Ask pip for the name of the project at an address, without installing it."""
        if self.uv:
            return None
        with tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
            report = Path(folder, "report.json")
            command = [
                *_PIP,
                "install",
                *_PIP_FLAGS,
                "--dry-run",
                "--no-deps",
                "--ignore-installed",
                "--report",
                str(report),
            ]
            if process.run([*command, address], env=env).status or not report.exists():
                return None
            entries = json.loads(report.read_text("utf-8")).get("install", [])
            return str(entries[0]["metadata"]["name"]) if entries else None


_PIP = [sys.executable, "-m", "pip"]
_PIP_FLAGS = ["--no-input", "--disable-pip-version-check", "--no-color", "--root-user-action=ignore"]


def _head(folder: Path) -> str | None:
    if not (folder / ".git").exists():
        return None
    done = process.run(["git", "rev-parse", "HEAD"], cwd=folder)
    return done.output.strip() if done.status == 0 else None


def _package(item: _Item, dist: Dist | None, *, changed: bool) -> Package:
    commit = (dist.commit if dist and not changed else None) or (item.remote.commit if item.remote else None)
    if dist and dist.commit:
        commit = dist.commit if not changed or item.remote is None else item.remote.commit
    url = str(item.folder) if item.spec.is_folder else item.spec.url
    name = dist.name if dist else item.spec.path.rstrip("/").rpartition("/")[2]
    return Package(name, dist.version if dist else "?", url, item.spec.ref, commit, changed)


def _no_token(host: str, settings: Settings) -> str:
    names = " or ".join(secrets.HOST_VARIABLES.get(host, ())) or "--token secret:NAME"
    where = secrets.token_files(settings)[0]
    return (
        f"{host} wants a token and none was found; put one into {where} as "
        f'{{"{host}": {{"access_token": "..."}}}}, or into the environment or this service\'s secrets as {names}'
    )
