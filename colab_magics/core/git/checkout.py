"""A clone to develop in: made whole or not at all, brought to a commit, and never robbed of its owner's work."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
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
    return _asked(folder, "rev-parse", "--verify", "HEAD")


def contains(folder: Path, commit: str) -> bool:
    """Tell whether a clone is at a commit, or has it with commits of its owner's on top."""
    return head(folder) == commit or _asked(folder, "merge-base", "--is-ancestor", commit, "HEAD") is not None


def origin(folder: Path) -> str:
    """Return the address that a clone was made from; empty where no clone stands."""
    return _asked(folder, "config", "--get", "remote.origin.url") or ""


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
    clone = _Clone(spec, folder, broker)
    if not clone.git("for-each-ref", "--count=1", "--contains", "HEAD"):
        raise InstallError(
            f"{str(folder)!r} has commits that are on no branch, so it was not moved to {_goal(spec)}; keep them with: "
            "git branch mine"
        )
    before = clone.git("rev-parse", "--verify", f"origin/{remote.branch}", fails=True)
    # By the address itself: the one that the clone keeps may hold an old token.
    clone.git("fetch", "--quiet", "--tags", "--force", spec.url, "+refs/heads/*:refs/remotes/origin/*")
    clone.fetch(remote.commit)
    # Each of these keeps changes that are not committed, and does nothing at all where it would have to overwrite one.
    if remote.branch:
        clone.move("checkout", "--quiet", remote.branch)
        # Where its owner has committed nothing it follows a branch that was rewritten, too.
        follow = ["reset", "--quiet", "--keep"] if head(folder) == before else ["merge", "--quiet", "--ff-only"]
        clone.move(*follow, remote.commit)
    else:
        clone.move("checkout", "--quiet", "--detach", remote.commit)
    clone.git("submodule", "sync", "--quiet", "--recursive")
    clone.git("submodule", "update", "--quiet", "--init", "--recursive")


def fetch_large(spec: Spec, folder: Path, broker: Broker) -> list[str]:
    """Fetch what a clone holds as mere pointers to Git LFS; return those that stay pointers."""
    found = lfs.pointers_in_clone(folder)
    if found and lfs.is_available():
        _Clone(spec, folder, broker).git("lfs", "pull")
        found = lfs.pointers_in_clone(folder)
    return found


def _clone(spec: Spec, remote: Remote, folder: Path, broker: Broker) -> None:
    # Beside its place first: a clone that is interrupted leaves nothing that could be taken for one.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as half:
        clone = _Clone(spec, Path(half, folder.name), broker)
        clone.folder.mkdir()
        clone.git("clone", "--quiet", "--no-checkout", spec.url, ".")
        clone.fetch(remote.commit)
        if remote.branch:
            clone.git("checkout", "--quiet", "-B", remote.branch, f"origin/{remote.branch}")
        else:
            clone.git("checkout", "--quiet", "--detach", remote.commit)
        clone.git("submodule", "update", "--quiet", "--init", "--recursive")
        base = "/".join(spec.url.split("/")[:3])
        clone.git("config", "--local", f"credential.{base}.helper", _HINT)
        if broker.met_large_files:
            # Else the owner's own git would take the content for a change, where git-lfs is not set up for all.
            clone.git("lfs", "install", "--local", "--skip-repo")
        if folder.exists():
            folder.rmdir()
        shutil.move(clone.folder, folder)


class _Clone:
    """git in one clone, with the broker to ask."""

    def __init__(self, spec: Spec, folder: Path, broker: Broker) -> None:
        self.spec, self.folder, self.broker = spec, folder, broker
        self.env = broker.environment(folder=folder if folder.exists() else None)

    def git(self, *arguments: str, fails: bool = False) -> str:
        done = process.run(["git", *arguments], cwd=self.folder, env=self.env)
        if done.status and not fails:
            raise self._failed(arguments, done)
        return done.output.strip() if done.status == 0 else ""

    def fetch(self, commit: str) -> None:
        """Fetch a commit that is on no branch."""
        if self.git("cat-file", "-t", commit, fails=True) != "commit":
            self.git("fetch", "--quiet", self.spec.url, commit)

    def move(self, *arguments: str) -> None:
        """Bring the clone to another commit, or say which work of its owner's is in the way."""
        done = process.run(["git", *arguments], cwd=self.folder, env=self.env)
        if done.status == 0:
            return
        spec, place = self.spec, str(self.folder)
        if "ast-forward" in done.output:
            raise InstallError(
                f"{place!r} has commits of its own, and {spec.shown} has others, so it was not moved to {_goal(spec)}; "
                f"put yours on top with: git -C {shlex.quote(place)} rebase {arguments[-1][:7]}"
            )
        files = ["".join(names) for names in re.findall(r"(?m)^\t(\S.*)$|Entry '(.+)' not uptodate", done.output)]
        if not files:
            raise self._failed(arguments, done)
        raise InstallError(
            f"{place!r} has changes that are not committed, in {', '.join(files[:5])}, so it was "
            f"not moved to {_goal(spec)}; commit or stash them"
        )

    def _failed(self, arguments: Sequence[str], done: process.Finished) -> Exception:
        what = f"git {arguments[0]} of {self.spec.shown}"
        return explain(done.output, self.spec, self.broker) or InstallError(
            f"{what} failed; mend what its last lines say and run it again:\n{done.tail(8)}"
        )


def _goal(spec: Spec) -> str:
    return spec.ref or "the newest commit"


def _asked(folder: Path, *arguments: str) -> str | None:
    """Return what git says of a clone; None where it fails, or no clone stands."""
    if not (folder / ".git").exists():
        return None
    done = process.run(["git", *arguments], cwd=folder)
    return done.output.strip() if done.status == 0 else None
