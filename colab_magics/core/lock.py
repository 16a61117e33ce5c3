"""What a block used, written down; and running a block with exactly that.

A lock holds no link and no secret: a sync is known by its line's destination and a digest of names, sizes and
checksums, a repository by its address and commit, every other package by its version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from colab_magics.core import installed, links, secrets
from colab_magics.core.plan import Step
from colab_magics.core.results import InstallResult, SyncResult
from colab_magics.core.settings import Settings
from colab_magics.core.specs import Spec, parse_spec
from colab_magics.core.state import Manifest, write_whole
from colab_magics.errors import PlanError, StepError

__all__ = ["Lock"]

_VERSION = 1


@dataclass
class Lock:
    """What a block used.

    Attributes
    ----------
    python : str
        The version of the interpreter.
    syncs : dict of str to dict
        For each destination, as typed, the digest of what the link held and how many files that is.
    repositories : dict of str to str
        The full commit of each repository, by its address.
    packages : dict of str to str
        The version of each installed package, by its comparable name.
    """

    python: str = field(default_factory=platform.python_version)
    syncs: dict[str, dict[str, object]] = field(default_factory=dict)
    repositories: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read a lock.

        Raises
        ------
        PlanError
            When there is none at `path`, or it is none.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
            if data["version"] != _VERSION:
                raise PlanError(f"the lock {str(path)!r} is of version {data['version']}; make it anew with --lock")
            return cls(data["python"], dict(data["syncs"]), dict(data["repositories"]), dict(data["packages"]))
        except OSError as error:
            raise PlanError(f"the lock {str(path)!r} cannot be read: {error.strerror}; make one with --lock") from None
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"{str(path)!r} is no lock; make one with --lock") from None

    def write(self, path: Path) -> None:
        """Write the lock, whole or not at all."""
        data = {"version": _VERSION, **self.__dict__}
        write_whole(path, f"{json.dumps(data, indent=1, sort_keys=True)}\n".encode())

    def note(self, step: Step, result: object, settings: Settings) -> None:
        """Add what a step used."""
        if isinstance(result, SyncResult):
            self.syncs[_destination(step)] = content(step, result, settings)
        if isinstance(result, InstallResult):
            self.repositories |= {_address(entry.url): entry.commit for entry in result.packages if entry.commit}

    def note_packages(self) -> None:
        """Add the version of every installed package."""
        self.packages = {key: dist.version for key, dist in sorted(installed.snapshot().items())}

    def pinned(self, step: Step) -> argparse.Namespace:
        """Return a ``private_pip`` step's arguments with the commits that are locked.

        Raises
        ------
        StepError
            When a repository is not in the lock.
        """
        args = argparse.Namespace(**vars(step.args))
        args.specs = [self._pinned(text) for text in args.specs]
        return args

    def _pinned(self, text: str) -> str:
        spec = parse_spec(text, owner="owner")
        if spec.is_folder:
            return text
        bare = "/" not in text.partition("#")[0].partition("@")[0]  # its owner is known where it is installed
        commit = self._by_name(spec) if bare else self.repositories.get(_address(spec.url))
        if commit is None:
            raise StepError(f"{spec.shown} is not in the lock; make the lock anew with --lock")
        head = text.partition("#")[0]
        head = head.removesuffix(f"@{spec.ref}") if spec.ref else head
        fragment = text.partition("#")[2]
        return f"{head}@{commit}{f'#{fragment}' if fragment else ''}"

    def _by_name(self, spec: Spec) -> str | None:
        name = spec.path.rpartition("/")[2]
        return next((commit for address, commit in self.repositories.items() if address.endswith(f"/{name}")), None)

    @contextmanager
    def constraints(self) -> Iterator[Path]:
        """Yield a file that holds pip to the locked versions."""
        with tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
            path = Path(folder, "constraints.txt")
            path.write_text("".join(f"{name}=={version}\n" for name, version in self.packages.items()), "utf-8")
            yield path

    def check(self, step: Step, result: object, settings: Settings) -> None:
        """Compare what a step brought with the lock.

        Raises
        ------
        StepError
            When it differs; says what.
        """
        if not isinstance(result, SyncResult):
            return
        expected = self.syncs.get(_destination(step))
        if expected is None:
            raise StepError(f"{_destination(step)} is not in the lock; make the lock anew with --lock")
        found = content(step, result, settings)
        if found != expected:
            raise StepError(
                f"the link of {_destination(step)} does not hold what is locked: {found['files']} files with the "
                f"digest {str(found['digest'])[:12]}, not {expected['files']} with {str(expected['digest'])[:12]}"
            )


def content(step: Step, result: SyncResult, settings: Settings) -> dict[str, object]:
    """Return the digest of what a link held when it was synced: of names, sizes and CRC-32s."""
    link = step.args.link
    if link.startswith("secret:"):
        link = secrets.named(link, settings).reveal()
    identity = links.parse(link, dropbox_url=settings.dropbox_url).identity
    root = result.path if result.path.is_dir() else result.path.parent
    manifest = Manifest.load(root)
    names = sorted(manifest.members(identity))
    digest = hashlib.sha256()
    for name in names:
        record = manifest.files.get(name)
        size, crc = (record.size, record.crc) if record else (-1, 0)
        digest.update(f"{name}\0{size}\0{crc}\n".encode("utf-8", "surrogatepass"))
    return {"files": len(names), "digest": digest.hexdigest()}


def _destination(step: Step) -> str:
    return step.args.dest or f"line {step.line}"


def _address(url: str) -> str:
    return url.partition("://")[2].removesuffix(".git").lower() or url
