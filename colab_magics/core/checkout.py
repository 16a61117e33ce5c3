"""A clone to develop in: made whole or not at all, brought to a commit, and never robbed of its owner's work."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from colab_magics.core import process
from colab_magics.core.credentials import Broker
from colab_magics.core.git import Remote, explain
from colab_magics.core.specs import Spec, canonical
from colab_magics.errors import InstallError

__all__ = ["checkout", "head"]


def head(folder: Path) -> str | None:
    """Return the commit that a clone is at, or None where no clone stands."""
    if not (folder / ".git").exists():
        return None
    done = process.run(["git", "rev-parse", "--verify", "HEAD"], cwd=folder)
    return done.output.strip() if done.status == 0 else None


def checkout(spec: Spec, remote: Remote, folder: Path, broker: Broker) -> None:
    """Make `folder` a clone of a spec's repository at its commit.

    Parameters
    ----------
    spec : Spec
        The repository.
    remote : Remote
        Its commit, and the branch when one is followed.
    folder : Path
        Where the clone stands, or will.
    broker : Broker
        An open one; git asks it for tokens.

    Raises
    ------
    InstallError
        When something else stands there, the clone has work in it that would be lost, or git failed.
    NeedsTokenError, RefusedTokenError
        When a host wants a token, or another one.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        _clone(spec, remote, folder, broker)
        return
    if not (folder / ".git").exists():
        raise InstallError(f"{str(folder)!r} is there and is no clone of {spec.shown}; move it away, or use --src DIR")
    origin = _git(["config", "--get", "remote.origin.url"], folder, broker, spec, fails=True).strip()
    if canonical(origin) != canonical(spec.url):
        raise InstallError(
            f"{str(folder)!r} is a clone of {origin or 'nothing'}, not of {spec.shown}; move it away, or use --src DIR"
        )
    if head(folder) == remote.commit:
        return
    _check_nothing_is_lost(spec, folder, broker)
    _git(["fetch", "--quiet", "--tags", "--force", "origin"], folder, broker, spec)
    if _git(["cat-file", "-t", remote.commit], folder, broker, spec, fails=True).strip() != "commit":
        _git(["fetch", "--quiet", "origin", remote.commit], folder, broker, spec)
    if remote.branch:
        _git(["checkout", "--quiet", remote.branch], folder, broker, spec)
        _git(["merge", "--quiet", "--ff-only", remote.commit], folder, broker, spec)
    else:
        _git(["checkout", "--quiet", "--detach", remote.commit], folder, broker, spec)
    _git(["submodule", "sync", "--quiet", "--recursive"], folder, broker, spec)
    _git(["submodule", "update", "--quiet", "--init", "--recursive"], folder, broker, spec)


def _clone(spec: Spec, remote: Remote, folder: Path, broker: Broker) -> None:
    # Beside its place first: a clone that is interrupted leaves nothing that could be taken for one.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as half:
        fresh = Path(half, folder.name)
        _git(["clone", "--quiet", "--no-checkout", spec.url, str(fresh)], None, broker, spec)
        if _git(["cat-file", "-t", remote.commit], fresh, broker, spec, fails=True).strip() != "commit":
            _git(["fetch", "--quiet", "origin", remote.commit], fresh, broker, spec)
        if remote.branch:
            _git(["checkout", "--quiet", "-B", remote.branch, f"origin/{remote.branch}"], fresh, broker, spec)
        else:
            _git(["checkout", "--quiet", "--detach", remote.commit], fresh, broker, spec)
        _git(["submodule", "update", "--quiet", "--init", "--recursive"], fresh, broker, spec)
        if folder.exists():
            folder.rmdir()
        shutil.move(fresh, folder)


def _check_nothing_is_lost(spec: Spec, folder: Path, broker: Broker) -> None:
    wanted = f"so it was not moved to {spec.ref or 'the newest commit'}"
    if _git(["status", "--porcelain", "--untracked-files=no"], folder, broker, spec).strip():
        raise InstallError(f"{str(folder)!r} has changes that are not committed, {wanted}; commit or stash them")
    if not _git(["for-each-ref", "--count=1", "--contains", "HEAD"], folder, broker, spec).strip():
        raise InstallError(
            f"{str(folder)!r} has commits that are on no branch, {wanted}; keep them with: git branch mine"
        )


def _git(arguments: list[str], folder: Path | None, broker: Broker, spec: Spec, *, fails: bool = False) -> str:
    done = process.run(["git", *arguments], cwd=folder, env=broker.environment())
    if done.status and not fails:
        raise explain(done.output, spec, broker) or InstallError(
            f"git {arguments[0]} of {spec.shown} failed; mend what its last lines say and run it again:\n{done.tail(8)}"
        )
    return done.output if done.status == 0 else ""
