"""A clone to develop in: made whole or not at all, brought to a commit, and never robbed of its owner's work."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from colab_magics.core.common import process
from colab_magics.core.git import credential_helper, lfs
from colab_magics.core.git.broker import CLONES, Broker, serve_clones
from colab_magics.core.git.config import CLONE, quoted
from colab_magics.core.git.refs import Remote, explain
from colab_magics.core.git.specs import Spec, canonical
from colab_magics.core.secrets import hosts
from colab_magics.errors import InstallError

__all__ = ["branch", "changed", "checkout", "fetch_large", "head", "is_at", "origin"]

_ELSEWHERE = "elsewhere (private_pip: --src DIR; git_clone: DEST)"


def head(folder: Path) -> str | None:
    """Return the commit that a clone is at, or None where no clone stands."""
    return _asked(folder, "rev-parse", "--verify", "HEAD")


def branch(folder: Path) -> str | None:
    """Return the branch that a clone is on, or None where it is on none."""
    return _asked(folder, "symbolic-ref", "--quiet", "--short", "HEAD")


def changed(folder: Path) -> list[str]:
    """List the files of a clone with changes that are not committed."""
    done = process.run(
        ["git", "-c", "core.quotePath=false", "status", "--porcelain", "--untracked-files=no"], cwd=folder
    )
    return [line[3:] for line in done.output.splitlines()] if done.status == 0 else []


def is_at(folder: Path, remote: Remote) -> bool:
    """Tell whether a clone stands at a commit; on a branch, commits of its owner's own may be on top."""
    if head(folder) == remote.commit:
        return True
    return bool(remote.branch) and _asked(folder, "merge-base", "--is-ancestor", remote.commit, "HEAD") is not None


def origin(folder: Path) -> str:
    """Return the address that a clone was made from; empty where no clone stands."""
    return _asked(folder, "config", "--get", "remote.origin.url") or ""


def checkout(spec: Spec, remote: Remote, folder: Path, broker: Broker, depth: int | None = None) -> None:
    """Make `folder` a clone of a spec's repository at its commit, in which git finds its token by itself afterwards.

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
    depth : int, optional
        How many commits a new clone has.

    Raises
    ------
    InstallError
        When something else stands there, the clone has work in it that would be lost, or git failed.
    NeedsTokenError, RefusedTokenError
        When a host wants a token, or another one.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        _clone(spec, remote, folder, broker, depth)
    else:
        _check(spec, folder)
        if head(folder) != remote.commit:
            _move(spec, remote, folder, broker)
    _connect(folder, broker)


def _check(spec: Spec, folder: Path) -> None:
    """Raise when what stands at a folder is no clone of a spec's repository."""
    if not (folder / ".git").exists():
        raise InstallError(
            f"{str(folder)!r} is there and is no clone of {spec.shown}; move it away, or clone {_ELSEWHERE}"
        )
    source = origin(folder)
    if canonical(source) != canonical(spec.url):
        raise InstallError(
            f"{str(folder)!r} is a clone of {source or 'nothing'}, not of {spec.shown}; move it away, or clone "
            f"{_ELSEWHERE}"
        )


def _move(spec: Spec, remote: Remote, folder: Path, broker: Broker) -> None:
    """Bring a clone to another commit."""
    clone = _Clone(spec, folder, broker)
    if not clone.git("for-each-ref", "--count=1", "--contains", "HEAD"):
        raise InstallError(
            f"{str(folder)!r} has commits that are on no branch, so it was not moved to {_goal(spec)}; keep them with: "
            "git branch mine"
        )
    before = clone.git("rev-parse", "--verify", f"origin/{remote.branch}", fails=True)
    # By the address itself: the one that the clone keeps may hold an old token.
    every = remote.branch if clone.git("rev-parse", "--is-shallow-repository") == "true" else "*"
    wanted = ["--tags", f"+refs/heads/{every}:refs/remotes/origin/{every}"] if every else []
    clone.git("fetch", "--quiet", "--force", spec.url, *wanted)
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


def _clone(spec: Spec, remote: Remote, folder: Path, broker: Broker, depth: int | None) -> None:
    # Beside its place first: a clone that is interrupted leaves nothing that could be taken for one.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as half:
        clone = _Clone(spec, Path(half, folder.name), broker)
        clone.folder.mkdir()
        less = [f"--depth={depth}"] if depth else []
        branch = ["--branch", remote.branch] if depth and remote.branch else []
        clone.git("clone", "--quiet", "--no-checkout", *less, *branch, spec.url, ".")
        clone.fetch(remote.commit, *less)
        if remote.branch:
            clone.git("checkout", "--quiet", "-B", remote.branch, f"origin/{remote.branch}")
        else:
            clone.git("checkout", "--quiet", "--detach", remote.commit)
        clone.git("submodule", "update", "--quiet", "--init", "--recursive")
        if broker.met_large_files:
            # Else the owner's own git would take the content for a change, where git-lfs is not set up for all.
            clone.git("lfs", "install", "--local", "--skip-repo")
        if folder.exists():
            folder.rmdir()
        shutil.move(clone.folder, folder)


def _connect(folder: Path, broker: Broker) -> None:
    """Let git in a clone and its submodules ask for the tokens that it needed; none is written down."""
    found = {host: credential for host, credential in broker.credentials.items() if credential}
    serve_clones(found)
    asked = shlex.join([sys.executable, "-I", credential_helper.__file__])
    helper = f'!f() {{ test "$1" != get || {asked} "${CLONES}" clone || echo quit=1; }}; f'
    text = ""
    for host in found:
        base = hosts.origin(host)
        text += f"[credential {quoted(base)}]\n\thelper = {quoted(helper)}\n\tuseHttpPath = true\n"
        text += f"[url {quoted(f'{base}/')}]\n"
        text += "".join(f"\tinsteadOf = {quoted(prefix)}\n" for prefix in hosts.ssh_prefixes(host))
    path = Path(_asked(folder, "rev-parse", "--absolute-git-dir") or "", CLONE)
    path.write_text(text, "utf-8")
    include = ["git", "config", "--local", "--replace-all", "include.path"]
    process.run([*include, CLONE, f"^{CLONE}$"], cwd=folder)
    if (folder / ".gitmodules").exists():
        each = shlex.join([*include, str(path), f"/{CLONE}$"])
        process.run(["git", "submodule", "--quiet", "foreach", "--recursive", each], cwd=folder)


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

    def fetch(self, commit: str, *options: str) -> None:
        """Fetch a commit that is on no branch."""
        if self.git("cat-file", "-t", commit, fails=True) != "commit":
            self.git("fetch", "--quiet", *options, self.spec.url, commit)

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
