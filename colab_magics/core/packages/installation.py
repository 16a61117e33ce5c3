"""One installation: request, resolve, skip what is there, install with the credentials retry, see what has changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from colab_magics.core.common import drive
from colab_magics.core.common.progress import Progress
from colab_magics.core.common.results import InstallResult, Package
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import lfs, refs
from colab_magics.core.git.auth_retry import CredentialsRetry
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.checkout import checkout, fetch_large, is_at
from colab_magics.core.git.refs import Remote
from colab_magics.core.git.specs import Spec, canonical
from colab_magics.core.packages import (
    activity,
    expiry,
    failures,
    installed,
    installers,
    pip_args,
    requirements,
    satisfied,
)
from colab_magics.core.packages import stale_modules as modules
from colab_magics.core.packages.indexes import Indexes
from colab_magics.core.packages.installed import Dist
from colab_magics.core.packages.installers import Installer
from colab_magics.core.packages.requirements import Requirements
from colab_magics.core.secrets import tokenfile
from colab_magics.errors import InstallError

__all__ = ["Installation", "Item", "Options"]

#: Where clones to develop in go by default, as pip's. One in the working folder itself would be imported in place of
#: the package that it holds, as an empty namespace: Python looks there first.
_SRC = "src"
#: For what is there, and is to be replaced.
_AGAIN = ("--force-reinstall", "--no-deps")


@dataclass(frozen=True)
class Options:
    """How to install; `colab_magics.core.packages.install.install` says what each means."""

    token: str | None = None
    src: Path | None = None
    upgrade: bool = False
    force: bool = False
    no_deps: bool = False
    dry_run: bool = False
    constraints: tuple[Path, ...] = ()
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()


@dataclass
class Item:
    """A thing to install: its spec, what its ref is now, what is installed of it.

    Attributes
    ----------
    spec : Spec
        What is asked for.
    name : str or None
        The project's name, where that is known.
    editable : bool
        Whether it is to be developed in place.
    remote : Remote or None
        Its commit, for a repository.
    folder : Path or None
        Where it lies, for a folder and for a clone to develop in.
    before : Dist or None
        What is installed of it.
    done : bool
        Whether that is what is asked for.
    """

    spec: Spec
    name: str | None = None
    editable: bool = False
    remote: Remote | None = None
    folder: Path | None = None
    before: Dist | None = None
    done: bool = False

    @property
    def project(self) -> Path:
        """The folder that holds the project's metadata."""
        return (self.folder or Path()) / (self.spec.subdirectory or "")

    @property
    def known_as(self) -> str | None:
        """The name that an installer is told: pip finds a wheel that it built before by it, and extras need it.

        That of the repository is a guess.
        """
        known = self.name or (self.before.key if self.before else None)
        return known or (self.spec.repository if self.spec.extras else None)

    def words(self) -> list[str]:
        """Return what an installer is told: a repository at its commit, so that a wheel built once is used again."""
        extras = f"[{','.join(self.spec.extras)}]" if self.spec.extras else ""
        if self.folder is not None:
            return [*["-e"] * self.editable, os.path.abspath(self.project) + extras]
        commit = self.remote.commit if self.remote else ""
        return [_requirement(f"{self.known_as or ''}{extras}", self.spec.url, commit, self.spec.subdirectory)]

    @property
    def identity(self) -> object:
        """Equal for all that ask for the same thing."""
        spec = self.spec
        return spec if spec.is_folder else (canonical(spec.url), spec.ref, spec.extras, spec.subdirectory)

    def find(self, dists: Iterable[Dist]) -> Dist | None:
        """Return what is installed of it."""
        if self.folder is not None:
            return installed.from_folder(dists, self.project)
        return installed.from_repository(dists, self.spec.url, self.spec.subdirectory)

    def is_installed(self, dists: Iterable[Dist]) -> bool:
        """Tell whether its commit is what is installed."""
        dist = self.find(dists)
        return bool(dist and self.remote and dist.is_at(self.remote.commit))


class Installation:
    """One installation, from what was typed to what has changed.

    Parameters
    ----------
    items : list of Item
        What the call names.
    files : sequence of Path
        Requirements files.
    options : Options
        How to install.
    settings : Settings
        The configuration.
    progress : Progress
        Hears what is going on.
    """

    def __init__(
        self, items: list[Item], files: Sequence[Path], options: Options, settings: Settings, progress: Progress
    ) -> None:
        self.indexes = Indexes(settings)
        self._index_options = self.indexes.options(options.index_url, options.extra_index_urls)
        self.options, self.settings, self.progress = options, settings, progress
        installers.find_uv(settings.installer)  # before the hosts are asked
        self.retry = CredentialsRetry(settings, options.token)
        self.scratch = tempfile.gettempdir()
        self.installer = Installer()
        self.has_files = bool(files)
        found = [requirements.read(path) for path in files]
        self.lines = Requirements(others=[self.indexes.line(text) for each in found for text in each.others])
        named = [Item(line.spec, line.name, line.editable) for each in found for line in each.repositories]
        unique: dict[object, Item] = {}
        for item in [*items, *named]:
            unique.setdefault(item.identity, item)
        self.items = list(unique.values())

    def run(self) -> InstallResult:
        """Install what is not installed yet.

        Raises
        ------
        TokenError
            When a token is missing or refused.
        InstallError
            When there is no such repository or ref, no access, no network, or a build failed.
        """
        self._warn()
        with Broker(self.retry.credentials(item.spec.host for item in self.items)) as broker:
            broker.learn("\n".join(item.spec.url for item in self.items))
            self.retry.run(broker, lambda: self._resolve(broker))
            expiry.ask({item.spec.host: broker.credentials.get(item.spec.host) for item in self.items})
            before = installed.snapshot()
            for item in self.items:
                self._compare(item, before)
            todo = [item for item in self.items if not item.done]
            is_done = not todo and self._lines_hold()
            if self.options.dry_run or is_done:
                status = "up-to-date" if is_done else "planned"
                return InstallResult([_package(item, item.before) for item in self.items], status=status)
            folders = {*(item.folder for item in todo), *(dist.folder for dist in before.values() if dist.editable)}
            imported = modules.imported(folder for folder in folders if folder)
            # All that an installer and its builds leave behind when they are interrupted goes with this folder.
            with tempfile.TemporaryDirectory(prefix="colab_magics-") as self.scratch:
                words = self._choose()
                self.retry.run(broker, lambda: self._install(todo, words, broker))
                news = [dist for key, dist in installed.snapshot().items() if before.get(key) != dist]
                self.retry.run(broker, lambda: self._fill(news, broker))
        after = installed.snapshot()
        changed = {key for key, dist in after.items() if before.get(key) != dist}
        modules.activate(before, after)
        result = self._result(before, after, changed)
        result.stale = modules.stale(imported, before, after)
        result.restart_needed = bool(result.stale)
        return result

    def _lines_hold(self) -> bool:
        """Tell whether everything that the files' other lines ask for is installed."""
        lines = [*self.lines.others, *(f"-c {path}" for path in self.options.constraints)]
        is_wanted_anew = self.options.force or self.options.upgrade
        return not self.lines.others or (not is_wanted_anew and satisfied.lines_hold(lines))

    def _warn(self) -> None:
        """Say once for each token file that others can read it."""
        file = tokenfile.read(self.settings)
        if file and file.path not in _warned and (warning := tokenfile.exposure(file, self.settings)):
            _warned.add(file.path)
            self.progress.say(warning)

    def _resolve(self, broker: Broker) -> None:
        for item in self.items:
            if item.spec.is_folder:
                item.folder = drive.expand(item.spec.path, self.settings)
                if item.folder.is_file():
                    raise InstallError(
                        f"{item.spec.path!r} is a file, no project's folder; for requirements use -r FILE"
                    )
                if not item.folder.is_dir():
                    raise InstallError(f"the folder {item.spec.path!r} does not exist; correct it, or sync it first")
        items = [item for item in self.items if not item.spec.is_folder]
        remotes = refs.resolve([item.spec for item in items], broker)
        for item, remote in zip(items, remotes, strict=True):
            item.remote = remote

    def _compare(self, item: Item, before: dict[str, Dist]) -> None:
        """Decide whether an item is installed already, at its commit and with all that it requires."""
        if item.remote is not None and item.editable:
            item.folder = (self.options.src or Path(_SRC)) / item.spec.repository
        item.before = item.find(before.values())
        if item.before is None:
            return
        if item.folder is None:
            item.done = bool(item.remote and not item.before.editable and item.before.is_at(item.remote.commit))
        elif item.editable and item.before.editable:
            item.done = item.remote is None or is_at(item.folder, item.remote)
            item.done = item.done and not item.before.is_older_than(item.project) and not modules.is_hidden(item.before)
        if item.done and not self.options.no_deps:
            item.done = satisfied.dependencies_hold(item.before.key, item.spec.extras)
        item.done = item.done and not self.options.force

    def _choose(self) -> list[str]:
        """Choose the installer, and return what it is told beside the items.

        Lines that hold are among that: what they say of indexes and versions counts for the repositories too.
        """
        lines = self.lines.others
        asked = pip_args.parse(self._index_options)
        for line in lines:
            if index := pip_args.parse_line(line).options.get("index-url"):
                asked.options["index-url"] = index
        self.installer = installers.choose(self.settings.installer, self.indexes, asked)
        words = [word for path in self.options.constraints for word in ("-c", str(path))]
        words += ["--no-deps"] * self.options.no_deps + ["--force-reinstall"] * self.options.force
        words += self.installer.upgrade(self.lines.names) if self.options.upgrade else []
        if lines:
            path = Path(self.scratch, "requirements.txt")
            path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
            words += ["-r", str(path)]
        return words

    def _install(self, todo: Sequence[Item], words: Sequence[str], broker: Broker) -> None:
        for item in todo:
            if item.folder is not None and item.remote is not None:
                if not item.folder.exists():
                    self.progress.say(f"cloning {item.spec.shown} into {item.folder}")
                checkout(item.spec, item.remote, item.folder, broker)
        self._call(words, todo, broker)
        # pip leaves a package alone whose version is the one it has, whatever commit it was built from.
        after = installed.snapshot()
        if left := [item for item in todo if item.folder is None and not item.is_installed(after.values())]:
            self._call(_AGAIN, left, broker)
        hidden = [
            item for item in todo if item.editable and (dist := item.find(after.values())) and modules.is_hidden(dist)
        ]
        if hidden:
            self._call([*_AGAIN, "--config-settings", "editable_mode=compat"], hidden, broker)

    def _fill(self, news: Sequence[Dist], broker: Broker) -> None:
        """Fetch the content of files that are mere pointers to Git LFS, or say how to come by it."""
        found = {dist: lfs.pointers(dist.place) for dist in news if dist.commit}
        hollow = [dist for dist, files in found.items() if files]
        if hollow and lfs.is_available():
            words = [_requirement(dist.key, dist.url, dist.commit or "", dist.subdirectory) for dist in hollow]
            self._call([*_AGAIN, *words], [], broker, lfs.FRESH)
            found = {dist: lfs.pointers(dist.place) for dist in hollow}
        told = {dist.name: files for dist, files in found.items()}
        for item in self.items:
            if item.folder is not None and item.remote is not None and not item.done:
                told[item.spec.shown] = fetch_large(item.spec, item.folder, broker)
        for label, files in told.items():
            if files:
                self.progress.say(lfs.warning(label, files))

    def _call(
        self, words: Sequence[str], items: Sequence[Item], broker: Broker, more: dict[str, str] | None = None
    ) -> None:
        label = ", ".join(item.spec.shown for item in items) or "requirements"
        named, more = list(items), more or {}
        while True:
            every = [*words, *(word for item in named for word in item.words())]
            every += () if self.installer.uv else self._index_options  # uv has been told when it was chosen
            env = {**self.indexes.environment(broker), "TMPDIR": self.scratch, **more}
            self.progress.begin(f"installing {label}")
            try:
                done = self.installer.run(every, env, activity.teller(self.progress))
            finally:
                self.progress.end()
            modules.activate_user_site()
            if done.status and broker.met_large_files and more != lfs.FRESH and self.installer.uv:
                more = lfs.FRESH  # uv had left pointers in their places, which a build may not like
                continue
            if done.status == 0 or not (self._learn_name(done.output, named) or _leave_out(done.output, named)):
                break
        installers.check(done, label, items[0].spec if len(items) == 1 else None, broker)

    def _learn_name(self, output: str, items: Sequence[Item]) -> bool:
        """Take a project's name from a complaint about the one that an item was thought to have."""
        found = failures.other_name(output)
        for item in items if found else ():
            if found and item.known_as and canonicalize_name(item.known_as) == found[0] and item.name != found[1]:
                item.name = found[1]
                return True
        return False

    def _result(self, before: dict[str, Dist], after: dict[str, Dist], changed: set[str]) -> InstallResult:
        packages, named = [], set()
        for item in self.items:
            dist = item.find(after.values())
            if dist is None:
                raise InstallError(
                    f"{item.spec.shown} was installed, but no package of it is found; is it a Python project?"
                )
            named.add(dist.key)
            packages.append(_package(item, dist))
        also = []
        for dist in (after[key] for key in sorted(changed - named)):
            old = before.get(dist.key)
            if old and old.version != dist.version:
                also.append(f"{dist.name} {old.version} -> {dist.version}")
            elif not old and not self.has_files:
                also.append(f"{dist.name} {dist.version}")
            if self.has_files:
                packages.append(Package(dist.name, dist.version, dist.url, None, dist.commit, changed=True))
        return InstallResult(packages, status="installed" if changed else "up-to-date", also=also)


_warned: set[Path] = set()


def _requirement(name: str, url: str, commit: str, subdirectory: str | None) -> str:
    address = f"git+{url}@{commit}{f'#subdirectory={subdirectory}' if subdirectory else ''}"
    return f"{name} @ {address}" if name else address


def _leave_out(output: str, items: list[Item]) -> bool:
    """Leave out what another package requires too, when pip takes the commit and the ref for two different things.

    It is then installed as a dependency, and afterwards brought to its commit if it is not there.
    """
    required = failures.required_addresses(output)
    for item in items:
        ref = required.get(canonical(item.spec.url), "") if item.remote else ""
        if ref in {item.spec.ref, item.remote.branch if item.remote else None, None} and len(items) > 1:
            items.remove(item)
            return True
    return False


def _package(item: Item, dist: Dist | None) -> Package:
    commit = item.remote.commit if item.remote else None
    if dist and dist.commit and (item.done or dist.is_at(commit or "-")):
        commit = dist.commit
    url = str(item.folder) if item.spec.is_folder else item.spec.url
    name = dist.name if dist else item.name or item.spec.repository
    return Package(name, dist.version if dist else "", url, item.spec.ref, commit, changed=not item.done)
