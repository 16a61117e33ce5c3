"""What an installation carries from step to step: its options, its items, and how it comes by tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from colab_magics.core.common import process
from colab_magics.core.common.progress import Progress
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import refs
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.errors import read_refusal
from colab_magics.core.git.refs import NeedsTokenError, RefusedTokenError, Remote, TryAgainError
from colab_magics.core.git.specs import Spec, canonical
from colab_magics.core.packages import installed, installers
from colab_magics.core.packages.installed import Dist
from colab_magics.core.secrets import secrets
from colab_magics.core.secrets.secrets import Credential
from colab_magics.errors import InstallError, TokenError

__all__ = ["Errand", "Item", "Options"]

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Options:
    """How to install; `colab_magics.core.packages.install.install` says what each means."""

    token: str | None = None
    src: Path = field(default_factory=Path)
    upgrade: bool = False
    force: bool = False
    no_deps: bool = False
    dry_run: bool = False
    constraints: tuple[Path, ...] = ()
    indexes: tuple[str, ...] = ()


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

    def is_same(self, other: Item) -> bool:
        """Tell whether another item asks for the same thing."""
        if self.spec.is_folder or other.spec.is_folder:
            return self.spec == other.spec
        mine, theirs = (
            (canonical(spec.url), spec.ref, spec.extras, spec.subdirectory) for spec in (self.spec, other.spec)
        )
        return mine == theirs

    def find(self, dists: Iterable[Dist]) -> Dist | None:
        """Return what is installed of it."""
        if self.folder is not None:
            return installed.from_folder(dists, self.project)
        return installed.from_repository(dists, self.spec.url, self.spec.subdirectory)

    def is_installed(self, dists: Iterable[Dist]) -> bool:
        """Tell whether its commit is what is installed."""
        dist = self.find(dists)
        return bool(dist and self.remote and dist.is_at(self.remote.commit))

    def requirement(self) -> str:
        """Return it as an installer's argument: at its commit, so that a wheel that was built once is used again."""
        part = f"#subdirectory={self.spec.subdirectory}" if self.spec.subdirectory else ""
        address = f"git+{self.spec.url}@{self.remote.commit if self.remote else ''}{part}"
        if not self.known_as:
            return address
        extras = f"[{','.join(self.spec.extras)}]" if self.spec.extras else ""
        return f"{self.known_as}{extras} @ {address}"


class Errand:
    """Finds tokens as hosts turn out to want them.

    Parameters
    ----------
    options : Options
        Name the token that a call gives.
    settings : Settings
        Say where tokens are and who can be asked.
    progress : Progress
        Hears what is going on.
    """

    def __init__(self, options: Options, settings: Settings, progress: Progress) -> None:
        self.options, self.settings, self.progress = options, settings, progress
        self._named: set[str] = set()

    def credentials(self, hosts: Iterable[str]) -> dict[str, Credential | None]:
        """Look up what is shown to these hosts, and to those that a dependency may be on."""
        self._named = {host for host in hosts if host}
        every = self._named | set(secrets.token_hosts(self.settings))
        return {host: self._credential(host) for host in sorted(every)}

    def persist(self, broker: Broker, deed: Callable[[], _Result]) -> _Result:
        """Do `deed`; where a host turns out to want a token, or another user name with it, find that and do it again.

        Raises
        ------
        TokenError
            When there is none, or it is refused.
        """
        looked: set[str] = set()
        while True:
            try:
                return deed()
            except TryAgainError:
                continue
            except NeedsTokenError as error:
                host, hints = str(error), list[str]()
                if host and host not in looked:
                    looked.add(host)
                    broker.credentials[host] = self._credential(host, last=True, hints=hints)
                    if broker.credentials[host]:
                        continue
                if error.refused:
                    hints.append(f"It refused what this machine's git configuration shows it: {error.refused}")
                problem = secrets.missing_token(host or "the host", self.settings, hints)
            except RefusedTokenError as error:
                if broker.try_next_username(error.host):
                    continue
                problem = TokenError(str(error))
            raise problem

    def check(self, done: process.Finished, label: str, spec: Spec | None, broker: Broker) -> None:
        """Raise what an installer's failure means; nothing when it is none.

        Raises
        ------
        TryAgainError
            When `persist` is to do it again.
        InstallError, NeedsTokenError, RefusedTokenError
            When it is not.
        """
        if done.status == 0:
            return
        if broker.learn(done.output):
            raise TryAgainError
        if error := refs.explain(done.output, spec, broker):
            raise error
        refusal = read_refusal(done.output)
        if refusal and refusal.kind == "no ref":
            near = refs.near_refs(spec, broker.environment()) if spec else f" ({refusal.line})"
            ref = repr(spec.ref) if spec and spec.ref else "that is asked for"
            raise InstallError(f"{label} has no branch, tag or commit {ref}{near}")
        raise installers.explain_failure(done.output, label)

    def _credential(self, host: str, *, last: bool = False, hints: list[str] | None = None) -> Credential | None:
        named = self.options.token if host in self._named else None
        return secrets.host_token(host, self.settings, token=named, last=last, hints=hints)
