"""One installation: resolve, skip what is there, install the rest, see what has changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import canonicalize_name

from colab_magics.core.common import layout
from colab_magics.core.common.progress import Progress
from colab_magics.core.common.results import InstallResult, Package
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import lfs, refs
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.checkout import checkout, contains, fetch_large, head
from colab_magics.core.git.refs import Remote
from colab_magics.core.git.specs import canonical
from colab_magics.core.packages import expiry, installed, installers, requirements, satisfied, stale_modules
from colab_magics.core.packages.auth_retry import Errand, Item, Options
from colab_magics.core.packages.indexes import Indexes
from colab_magics.core.packages.installed import Dist
from colab_magics.core.packages.installers import Order
from colab_magics.core.secrets import tokenfile
from colab_magics.core.secrets.secrets import Credential
from colab_magics.errors import InstallError

__all__ = ["Installation"]


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
    indexes : Indexes
        The package indexes that the call names.
    settings : Settings
        The configuration.
    progress : Progress
        Hears what is going on.
    """

    def __init__(
        self,
        items: list[Item],
        files: Sequence[Path],
        options: Options,
        indexes: Indexes,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self.indexes = indexes
        self.items, self.files, self.options = items, files, options
        self.settings, self.progress = settings, progress
        self.errand = Errand(options, settings, progress)
        self.installer = installers.choose(settings.installer)
        self.scratch = tempfile.gettempdir()
        self.plain: list[tuple[Path, requirements.Requirements]] = []

    def run(self) -> InstallResult:
        """Install what is not installed yet.

        Raises
        ------
        TokenError
            When a token is missing or refused.
        InstallError
            When there is no such repository or ref, no access, no network, or a build failed.
        """
        self._read_files()
        self._warn()
        with Broker(self.errand.credentials(item.spec.host for item in self.items)) as broker:
            broker.learn("\n".join(item.spec.url for item in self.items))
            expiry.ask(self._shown(broker))
            self.errand.persist(broker, lambda: self._resolve(broker))
            expiry.ask(self._shown(broker))  # also those that were only found when the host wanted one
            before = installed.snapshot()
            for item in self.items:
                self._compare(item, before)
            todo = [item for item in self.items if not item.done]
            lines = [line for _, found in self.plain for line in found.others]
            lines += [f"-c {path}" for path in self.options.constraints if lines]
            files = bool(lines) and (self.options.force or self.options.upgrade or not satisfied.lines_hold(lines))
            if self.options.dry_run or not (todo or files):
                status = "planned" if todo or files else "up-to-date"
                return InstallResult([_package(item, item.before) for item in self.items], status=status)
            imported = stale_modules.imported(item.folder for item in todo if item.folder)
            # All that an installer and its builds leave behind when they are interrupted goes with this folder.
            with tempfile.TemporaryDirectory(prefix="colab_magics-") as scratch:
                self.scratch = scratch
                order = self._order(Path(scratch))
                self.errand.persist(broker, lambda: self._install(todo, order, broker))
                news = [dist for key, dist in installed.snapshot().items() if before.get(key) != dist]
                self.errand.persist(broker, lambda: self._fill(news, broker))
        after = installed.snapshot()
        changed = {key for key, dist in after.items() if before.get(key) != dist}
        stale_modules.activate(key for key in changed if after[key].editable)
        result = self._result(before, after, changed)
        result.stale = stale_modules.stale(imported, changed)
        result.restart_needed = bool(result.stale)
        return result

    def _read_files(self) -> None:
        for path in self.files:
            found = requirements.read(path)
            self.plain.append((path, found))
            for repository in found.repositories:
                item = Item(repository.spec, name=repository.name, editable=repository.editable)
                if not any(item.is_same(other) for other in self.items):
                    self.items.append(item)

    def _shown(self, broker: Broker) -> dict[str, Credential | None]:
        return {item.spec.host: broker.credentials.get(item.spec.host) for item in self.items}

    def _warn(self) -> None:
        """Say once for each token file that others can read it."""
        file = tokenfile.read(self.settings)
        if file and file.path not in _warned and (warning := tokenfile.exposure(file, self.settings)):
            _warned.add(file.path)
            self.progress.say(warning)

    def _resolve(self, broker: Broker) -> None:
        for item in self.items:
            if item.spec.is_folder:
                item.folder = layout.expand(item.spec.path, self.settings)
                if item.folder.is_file():
                    raise InstallError(
                        f"{item.spec.path!r} is a file, no project's folder; for requirements use -r FILE"
                    )
                if not item.folder.is_dir():
                    raise InstallError(f"the folder {item.spec.path!r} does not exist; correct it, or sync it first")
        items = [item for item in self.items if not item.spec.is_folder]
        remotes = refs.resolve([item.spec for item in items], broker, jobs=self.settings.jobs or 8)
        for item, remote in zip(items, remotes, strict=True):
            item.remote = remote

    def _compare(self, item: Item, before: dict[str, Dist]) -> None:
        """Decide whether an item is installed already, at its commit and with all that it requires."""
        if item.remote is not None and item.editable:
            item.folder = self.options.src / item.spec.repository
        item.before = item.find(before.values())
        if item.before is None:
            return
        if item.folder is None:
            item.done = bool(item.remote and not item.before.editable and item.before.is_at(item.remote.commit))
        elif item.editable and item.before.editable:
            item.done = item.remote is None or self._is_there(item.folder, item.remote)
            item.done = item.done and not item.before.is_older_than(item.project)
        if item.done and not self.options.no_deps:
            item.done = satisfied.dependencies_hold(item.before.key, item.spec.extras)
        item.done = item.done and not self.options.force

    def _is_there(self, clone: Path, remote: Remote) -> bool:
        # A branch that is followed may have its owner's own commits on top; a tag or a commit is meant exactly.
        return contains(clone, remote.commit) if remote.branch else head(clone) == remote.commit

    def _order(self, scratch: Path) -> Order:
        """Return the order for the lines of the requirements files, without their repositories.

        Lines that hold are among them: what they say of indexes and versions counts for the repositories too.
        """
        files = []
        for number, (path, found) in enumerate(self.plain):
            if found.repositories or any(map(requirements.is_option, found.others)):
                # The repositories are ordered at their commits, so a copy without them is what the installer reads.
                path = scratch / f"requirements-{number}.txt"
                path.write_text("".join(f"{self.indexes.line(line)}\n" for line in found.others), "utf-8")
            if found.others:
                files.append(path)
        names = tuple(name for _, found in self.plain for name in found.names)
        return Order(
            files=tuple(files),
            names=names,
            constraints=self.options.constraints,
            indexes=self.options.indexes,
            upgrade=self.options.upgrade,
            force=self.options.force,
            no_deps=self.options.no_deps,
        )

    def _install(self, todo: Sequence[Item], order: Order, broker: Broker) -> None:
        for item in todo:
            if item.folder is not None and item.remote is not None:
                if not item.folder.exists():
                    self.progress.say(f"cloning {item.spec.shown} into {item.folder}")
                checkout(item.spec, item.remote, item.folder, broker)
        label = ", ".join(item.spec.shown for item in todo) or "requirements"
        self._call(order, label, todo, broker)
        # pip leaves a package alone whose version is the one it has, whatever commit it was built from.
        after = installed.snapshot().values()
        again = [item for item in todo if item.folder is None and not item.is_installed(after)]
        if again:
            label = ", ".join(item.spec.shown for item in again)
            self._call(Order(force=True, no_deps=True, indexes=self.options.indexes), label, again, broker)

    def _fill(self, news: Sequence[Dist], broker: Broker) -> None:
        """Fetch the content of files that are mere pointers to Git LFS, or say how to come by it."""
        found = {dist: lfs.pointers(dist.place) for dist in news if dist.commit}
        hollow = [dist for dist, files in found.items() if files]
        if hollow and lfs.is_available():
            order = Order(tuple(map(installers.pinned, hollow)), force=True, no_deps=True, indexes=self.options.indexes)
            self._call(order, ", ".join(dist.name for dist in hollow), [], broker, lfs.FRESH)
            found = {dist: lfs.pointers(dist.place) for dist in hollow}
        told = {dist.name: files for dist, files in found.items()}
        for item in self.items:
            if item.folder is not None and item.remote is not None and not item.done:
                told[item.spec.shown] = fetch_large(item.spec, item.folder, broker)
        for label, files in told.items():
            if files:
                self.progress.say(lfs.warning(label, files))

    def _call(
        self, order: Order, label: str, items: Sequence[Item], broker: Broker, more: dict[str, str] | None = None
    ) -> None:
        named, more = list(items), more or {}
        while True:
            self.progress.begin(f"installing {label}")
            try:
                done = self.installer.run(_with_items(order, named), self._environment(broker) | more)
            finally:
                self.progress.end()
            if done.status and broker.met_large_files and more != lfs.FRESH and self.installer.uv:
                more = lfs.FRESH  # uv had left pointers in their places, which a build may not like
                continue
            if done.status == 0 or not (self._learn_name(done.output, named) or _leave_out(done.output, named)):
                break
        self.errand.check(done, label, items[0].spec if len(items) == 1 else None, broker)

    def _environment(self, broker: Broker) -> dict[str, str]:
        return {**self.indexes.environment(broker), "TMPDIR": self.scratch}

    def _learn_name(self, output: str, items: Sequence[Item]) -> bool:
        """Take a project's name from a complaint about the one that an item was thought to have."""
        found = installers.other_name(output)
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
        others = [after[key] for key in sorted(changed - named)]
        also = [_told(dist, before.get(dist.key)) for dist in others if _is_news(dist, before.get(dist.key))]
        if self.files:
            packages += [Package(dist.name, dist.version, dist.url, None, dist.commit, changed=True) for dist in others]
            also = [text for text in also if "->" in text]  # what is new is among the packages
        return InstallResult(packages, status="installed" if changed else "up-to-date", also=also)


_warned: set[Path] = set()


def _with_items(order: Order, items: Sequence[Item]) -> Order:
    targets: list[str] = []
    editables: list[str] = []
    for item in items:
        if item.folder is None:
            targets.append(item.requirement())
        else:
            extras = f"[{','.join(item.spec.extras)}]" if item.spec.extras else ""
            (editables if item.editable else targets).append(f"{os.path.abspath(item.project)}{extras}")
    return replace(order, targets=(*order.targets, *targets), editables=tuple(editables))


def _leave_out(output: str, items: list[Item]) -> bool:
    """Leave out what another package requires too, when pip takes the commit and the ref for two different things.

    It is then installed as a dependency, and afterwards brought to its commit if it is not there.
    """
    required = installers.required_addresses(output)
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


def _is_news(dist: Dist, before: Dist | None) -> bool:
    return before is None or before.version != dist.version


def _told(dist: Dist, before: Dist | None) -> str:
    return f"{dist.name} {before.version} -> {dist.version}" if before else f"{dist.name} {dist.version}"
