"""What a block used, written down; and running a block with exactly that.

A lock holds no link and no secret: a sync is known by its line's destination and a digest of names, sizes and
checksums, a repository by its address and commit, every other package by its version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.plan import Step
from colab_magics.core.common.files import write_whole
from colab_magics.core.common.results import SyncResult
from colab_magics.core.common.settings import Settings
from colab_magics.core.git.specs import Spec, is_bare, parse_spec
from colab_magics.core.http import links
from colab_magics.core.packages import installed, requirements
from colab_magics.core.packages.pip_args import parse_line
from colab_magics.core.secrets import secrets
from colab_magics.core.syncing.manifest import Manifest
from colab_magics.errors import PlanError, StepError

__all__ = ["Lock"]

_VERSION = 2


@dataclass
class Lock:
    """What a block used.

    Attributes
    ----------
    python : str
        The version of the interpreter.
    syncs : dict of str to list of dict
        For each destination, as typed, what was synced into it: a digest of the link, the digest of what it held, and
        how many files that is.
    repositories : dict of str to str
        The full commit of each repository, by its address.
    packages : dict of str to str
        The version of each installed package, by its comparable name.
    block : str
        The digest of the block itself.
    """

    python: str = field(default_factory=platform.python_version)
    syncs: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    repositories: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    block: str = ""

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read a lock.

        Raises
        ------
        PlanError
            When there is none at `path`, or it is none.
        """
        try:
            return cls.parse(path.read_text("utf-8"), repr(str(path)))
        except OSError as error:
            raise PlanError(f"the lock {str(path)!r} cannot be read: {error.strerror}; make one with --lock") from None
        except UnicodeDecodeError:
            raise PlanError(f"{str(path)!r} is no lock; make one with --lock") from None

    @classmethod
    def parse(cls, text: str, shown: str = "what was sent") -> Lock:
        """Understand the text of a lock, which messages call `shown`; raises PlanError when it is none."""
        try:
            data = json.loads(text)
            if data["version"] != _VERSION:
                raise PlanError(f"the lock {shown} is of version {data['version']}; make it anew with --lock")
            syncs = {dest: list(held) for dest, held in data["syncs"].items()}
            return cls(data["python"], syncs, dict(data["repositories"]), dict(data["packages"]), data.get("block", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"{shown} is no lock; make one with --lock") from None

    def write(self, path: Path) -> None:
        """Write the lock, whole or not at all."""
        data = {"version": _VERSION, **self.__dict__}
        write_whole(path, f"{json.dumps(data, indent=1, sort_keys=True)}\n".encode())

    def differences(self, other: Lock, packages: Iterable[str]) -> list[str]:
        """Return what another run of the block used and this one did not, of these packages and of all else; names."""
        found = [f"the link of {dest}" for dest in self.syncs if _contents(self, dest) != _contents(other, dest)]
        both = self.repositories.keys() & other.repositories.keys()
        found += [url for url in sorted(both) if self.repositories[url] != other.repositories[url]]
        return found + [name for name in packages if self.packages.get(name) != other.packages.get(name)]

    def note_sync(self, step: Step, result: SyncResult, settings: Settings) -> None:
        """Add what the link of a sync held."""
        self.syncs.setdefault(self.destination(step), []).append(content(*_held(step, result, settings)))

    def note_repositories(self, commits: Iterable[tuple[str, str | None]]) -> None:
        """Add the commit of each repository, by its address."""
        self.repositories |= {_address(url): commit for url, commit in commits if commit}

    def note_packages(self) -> None:
        """Add the version of every installed package, and the commit of each that came from a repository."""
        dists = installed.snapshot()
        self.packages = {key: dist.version for key, dist in sorted(dists.items())}
        self.note_repositories((dist.url, dist.commit) for dist in dists.values())

    def lacks(self, steps: Iterable[Step]) -> list[str]:
        """Return what steps ask for and this does not hold, a line each; files that are yet to come are not read."""
        return [
            f"line {step.line}: {name} is not in the lock; make the lock anew with --lock"
            for step in steps
            for name in verbs.get(step.verb).missing(step, self)
        ]

    def holds(self, step: Step) -> bool:
        """Tell whether it knows of a sync into the step's destination."""
        return self.destination(step) in self.syncs

    def unknown(self, text: str) -> str | None:
        """Return how a spec is shown, when its repository is not in the lock."""
        spec = parse_spec(text, owner="owner")
        return None if spec.is_folder or self._commit(spec, bare=is_bare(text)) else spec.shown

    @staticmethod
    def destination(step: Step) -> str:
        """Return what a sync is known by: its destination, as typed."""
        return step.args.dest or f"line {step.line}"

    @contextmanager
    def held(self, step: Step) -> Iterator[Step]:
        """Yield an installing step that asks for the locked commits and versions, wherever it names them.

        Raises
        ------
        StepError
            When a repository is not in the lock.
        """
        with tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
            limits = Path(folder, "constraints.txt")
            limits.write_text("".join(f"{name}=={version}\n" for name, version in self.packages.items()), "utf-8")
            if step.command:
                words = self._pinned_words(step.command, Path(folder))
                yield replace(step, command=(*words, "-c", str(limits)))
                return
            args = argparse.Namespace(**vars(step.args))
            args.specs = [self.pinned(text) for text in args.specs]
            args.requirement = [self._pinned_file(name, Path(folder)) for name in args.requirement]
            args.constraint = [*args.constraint, str(limits)]
            yield replace(step, args=args)

    def pinned(self, text: str) -> str:
        """Return a spec at its locked commit.

        Raises
        ------
        StepError
            When its repository is not in the lock.
        """
        spec = parse_spec(text, owner="owner")
        if spec.is_folder:
            return text
        commit = self._locked(spec, bare=is_bare(text))
        head, _, fragment = text.partition("#")
        head = head.removesuffix(f"@{spec.ref}") if spec.ref else head
        return f"{head}@{commit}{f'#{fragment}' if fragment else ''}"

    def _pinned_words(self, words: Sequence[str], folder: Path) -> Iterator[str]:
        given = iter(words)
        for word in given:
            text = f"{word} {next(given, '')}" if word in {"-r", "--requirement"} else word
            if files := parse_line(text).files:
                yield from ("-r", self._pinned_file(files[0], folder))
            else:
                yield self._pinned_line(word)

    def _pinned_file(self, name: str, folder: Path) -> str:
        """Write a requirements file, and those that it names, with every repository at its locked commit."""
        path = Path(os.path.expanduser(name))
        if "://" in name or name.startswith("drive:") or not path.is_file():
            return name
        found = requirements.read(path)
        if not found.repositories:
            return name
        copy = folder / f"requirements-{len(list(folder.iterdir()))}.txt"
        lines = [
            *found.others,
            *(self._pinned_line(f"{'-e ' * entry.editable}{entry.spec.text}") for entry in found.repositories),
        ]
        copy.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return str(copy)

    def _pinned_line(self, text: str) -> str:
        line = requirements.repository(text)
        if line is None or line.is_excluded:
            return text
        parts = [f"subdirectory={line.spec.subdirectory}"] if line.spec.subdirectory else []
        extras = f"[{','.join(line.spec.extras)}]" if line.spec.extras else ""
        if line.editable and line.name:
            parts.append(f"egg={line.name}{extras}")
        address = f"git+{line.spec.url}@{self._locked(line.spec)}{'#' * bool(parts)}{'&'.join(parts)}"
        if line.editable:
            return f"--editable={address}"
        return f"{line.name}{extras} @ {address}" if line.name else address

    def _locked(self, spec: Spec, *, bare: bool = False) -> str:
        commit = self._commit(spec, bare=bare)
        if commit is None:
            raise StepError(f"{spec.shown} is not in the lock; make the lock anew with --lock")
        return commit

    def _commit(self, spec: Spec, *, bare: bool = False) -> str | None:
        if not bare:
            return self.repositories.get(_address(spec.url))
        # Its owner is known where it is installed.
        name = spec.path.rpartition("/")[2]
        return next((commit for address, commit in self.repositories.items() if address.endswith(f"/{name}")), None)

    def approval(self, step: Step) -> Callable[[Manifest, str], None]:
        """Return what compares the content of a sync's link with the lock, before the destination changes.

        It raises StepError when it differs, and says what.
        """
        where = self.destination(step)
        entries = self.syncs.get(where, [])

        def approve(manifest: Manifest, identity: str) -> None:
            found = content(manifest, identity)
            # By the same link where that is known; a link that was made anew may hold the same.
            expected = [entry for entry in entries if entry["link"] == found["link"]] or entries
            if expected and not any(found | {"link": entry["link"]} == entry for entry in expected):
                locked = " or ".join(f"{entry['files']} with {str(entry['digest'])[:12]}" for entry in expected)
                raise StepError(
                    f"the link of {where} does not hold what is locked: {found['files']} files with the digest "
                    f"{str(found['digest'])[:12]}, not {locked}; nothing was written"
                )

        return approve

    def check(self, step: Step, result: SyncResult, settings: Settings) -> None:
        """Compare what a sync left alone, because it is complete, with the lock."""
        self.approval(step)(*_held(step, result, settings))


def content(manifest: Manifest, identity: str) -> dict[str, object]:
    """Return a digest of a link, and of what it held when it was synced: of names, sizes and CRC-32s."""
    names = sorted(manifest.members(identity))
    digest = hashlib.sha256()
    for name in names:
        record = manifest.files.get(name)
        size, crc = (record.size, record.crc) if record else (-1, 0)
        digest.update(f"{name}\0{size}\0{crc}\n".encode("utf-8", "surrogatepass"))
    link = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return {"link": link, "files": len(names), "digest": digest.hexdigest()}


def _contents(lock: Lock, dest: str) -> list[tuple[object, object]]:
    """Return what a lock says that a destination holds, whichever link it came by."""
    return sorted(((entry["files"], entry["digest"]) for entry in lock.syncs.get(dest, [])), key=repr)


def _held(step: Step, result: SyncResult, settings: Settings) -> tuple[Manifest, str]:
    """Return the manifest of where a sync went, and the link's identity in it."""
    link = step.args.link
    if link.startswith("secret:"):
        link = secrets.named(link, settings).reveal()
    root = result.path if result.path.is_dir() else result.path.parent
    return Manifest.load(root), links.parse(link, dropbox_url=settings.dropbox_url).identity


def _address(url: str) -> str:
    return url.partition("://")[2].removesuffix(".git").lower() or url
