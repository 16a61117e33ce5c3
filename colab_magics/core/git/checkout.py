"""A clone to develop in: made whole or not at all, brought to a commit, and never robbed of its owner's work."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from pathlib import Path

from colab_magics.core.common import process
from colab_magics.core.git import lfs
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.refs import Remote, explain
from colab_magics.core.git.specs import Spec, canonical
from colab_magics.errors import InstallError

__all__ = ["checkout", "contains", "fetch_large", "head", "origin"]


# git asks this helper last, when nobody else has a token to show. In a notebook it would then ask a person, who is not
# heard there, and wait for ever; a terminal may ask.
_HINT = (
    '!f() { test "$1" = get && test -n "$JPY_PARENT_PID$COLAB_RELEASE_TAG$KAGGLE_KERNEL_RUN_TYPE" || return 0; '
    "echo quit=1; echo 'no token is kept in this clone; to update it, run %private_pip -e on it again' >&2; }; f"
)


def head(folder: Path) -> str | None:
    """Return the commit that a clone is at, or None where no clone stands."""
    if not (folder / ".git").exists():
        return None
    done = process.run(["git", "rev-parse", "--verify", "HEAD"], cwd=folder)
    return done.output.strip() if done.status == 0 else None


def contains(folder: Path, commit: str) -> bool:
    """Tell whether a clone is at a commit, or has it with commits of its owner's on top."""
    if head(folder) == commit:
        return True
    done = process.run(["git", "merge-base", "--is-ancestor", commit, "HEAD"], cwd=folder)
    return done.status == 0


def origin(folder: Path) -> str:
    """Return the address that a clone was made from; empty where no clone stands."""
    if not (folder / ".git").exists():
        return ""
    done = process.run(["git", "config", "--get", "remote.origin.url"], cwd=folder)
    return done.output.strip() if done.status == 0 else ""


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
    source = origin(folder)
    if canonical(source) != canonical(spec.url):
        raise InstallError(
            f"{str(folder)!r} is a clone of {source or 'nothing'}, not of {spec.shown}; move it away, or use --src DIR"
        )
    if head(folder) == remote.commit:
        return
    _check_nothing_is_lost(spec, folder, broker)
    before = _git(["rev-parse", "--verify", f"origin/{remote.branch}"], folder, broker, spec, fails=True).strip()
    _git(["fetch", "--quiet", "--tags", "--force", "origin"], folder, broker, spec)
    if _git(["cat-file", "-t", remote.commit], folder, broker, spec, fails=True).strip() != "commit":
        _git(["fetch", "--quiet", "origin", remote.commit], folder, broker, spec)
    # Each of these keeps changes that are not committed, and does nothing at all where it would have to overwrite one.
    if remote.branch:
        _move(["checkout", "--quiet", remote.branch], spec, folder, broker)
        # Where its owner has committed nothing it follows a branch that was rewritten, too.
        follow = ["reset", "--quiet", "--keep"] if head(folder) == before else ["merge", "--quiet", "--ff-only"]
        _move([*follow, remote.commit], spec, folder, broker)
    else:
        _move(["checkout", "--quiet", "--detach", remote.commit], spec, folder, broker)
    _git(["submodule", "sync", "--quiet", "--recursive"], folder, broker, spec)
    _git(["submodule", "update", "--quiet", "--init", "--recursive"], folder, broker, spec)


def fetch_large(spec: Spec, folder: Path, broker: Broker) -> list[str]:
    """Fetch what a clone holds as mere pointers to Git LFS; return those that stay pointers."""
    found = lfs.pointers_in_clone(folder)
    if found and lfs.is_available():
        _git(["lfs", "pull"], folder, broker, spec)
        found = lfs.pointers_in_clone(folder)
    return found


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
        _git(["config", "--local", f"credential.{_base(spec.url)}.helper", _HINT], fresh, broker, spec)
        if broker.met_large_files:
            # Else the owner's own git would take the content for a change, where git-lfs is not set up for all.
            _git(["lfs", "install", "--local", "--skip-repo"], fresh, broker, spec)
        if folder.exists():
            folder.rmdir()
        shutil.move(fresh, folder)


def _check_nothing_is_lost(spec: Spec, folder: Path, broker: Broker) -> None:
    if not _git(["for-each-ref", "--count=1", "--contains", "HEAD"], folder, broker, spec).strip():
        raise InstallError(
            f"{str(folder)!r} has commits that are on no branch, so it was not moved to {_goal(spec)}; keep them with: "
            "git branch mine"
        )


def _move(arguments: list[str], spec: Spec, folder: Path, broker: Broker) -> None:
    """Bring a clone to another commit, or say which work of its owner's is in the way."""
    done = process.run(["git", *arguments], cwd=folder, env=broker.environment())
    if done.status == 0:
        return
    if "ast-forward" in done.output:
        raise InstallError(
            f"{str(folder)!r} has commits of its own, and {spec.shown} has others, so it was not moved to "
            f"{_goal(spec)}; put yours on top with: git -C {shlex.quote(str(folder))} rebase {arguments[-1][:7]}"
        )
    files = re.findall(r"^\t(\S.*)$", done.output, re.MULTILINE) or re.findall(
        r"Entry '(.+)' not uptodate", done.output
    )
    if not files:
        raise _failed(arguments, done, spec, broker)
    raise InstallError(
        f"{str(folder)!r} has changes that are not committed, in {', '.join(files[:5])}, so it was not moved to "
        f"{_goal(spec)}; commit or stash them"
    )


def _base(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _goal(spec: Spec) -> str:
    return spec.ref or "the newest commit"


def _git(arguments: list[str], folder: Path | None, broker: Broker, spec: Spec, *, fails: bool = False) -> str:
    done = process.run(["git", *arguments], cwd=folder, env=broker.environment())
    if done.status and not fails:
        raise _failed(arguments, done, spec, broker)
    return done.output if done.status == 0 else ""


def _failed(arguments: list[str], done: process.Finished, spec: Spec, broker: Broker) -> Exception:
    return explain(done.output, spec, broker) or InstallError(
        f"git {arguments[0]} of {spec.shown} failed; mend what its last lines say and run it again:\n{done.tail(8)}"
    )
