"""A repository as a working tree: cloned, or brought up to date, with its submodules and large files."""

from __future__ import annotations

import os
import time

from colab_magics.core.common import drive
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.results import CloneResult
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import checkout, lfs, refs
from colab_magics.core.git.auth_retry import CredentialsRetry
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.specs import Spec, is_bare, parse_spec
from colab_magics.core.secrets import secrets
from colab_magics.errors import InstallError

__all__ = ["git_clone", "repository"]


def git_clone(
    spec: str,
    dest: str | os.PathLike[str] | None = None,
    *,
    depth: int | None = None,
    token: str | None = None,
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> CloneResult:
    """Make DEST a working tree of a repository; one that stands there is fetched and brought forward.

    Changes of the user's own stay as they are; what would overwrite one, or a commit, is an error that says how to go
    on. Git finds the token in it by itself for as long as this process runs, and afterwards where the token file or the
    environment has one; it is never written into the clone.

    Parameters
    ----------
    spec : str
        As `colab_magics.core.git.specs.parse_spec` takes it.
    dest : path-like, optional
        By default the repository's name.
    depth : int, optional
        How many commits a new clone has; by default all.
    token : str, optional
        ``secret:NAME`` of the token.
    dry_run : bool, optional
        Ask what the ref is, change nothing.
    settings : Settings, optional
        By default read from the environment.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    CloneResult

    Raises
    ------
    TokenError
        When a token is missing, refused, or was typed itself.
    InstallError
        When there is no such repository or ref, no access, no network, or something is in the way.

    Examples
    --------
    >>> from colab_magics import core, sandbox
    >>> with sandbox.start() as box:
    ...     result = core.git_clone(box.private_repo("acme/site", {"index.md": "# Hello"}).spec)
    >>> result.status, str(result.path), (result.path / "index.md").read_text()
    ('cloned', 'site', '# Hello')
    """
    settings, began = settings or Settings.load(), time.monotonic()
    secrets.refuse_literal([spec, os.fspath(dest or ""), token or ""])
    host, owner = (is_bare(spec) and secrets.default_owner(settings)) or ("github.com", None)
    wanted = repository(spec, owner, host)
    folder = drive.expand(dest or wanted.repository, settings)
    retry = CredentialsRetry(settings, token)
    with Broker(retry.credentials([wanted.host])) as broker:
        broker.learn(wanted.url)
        [remote] = retry.run(broker, lambda: refs.resolve([wanted], broker))
        before, branch = checkout.head(folder), checkout.branch(folder)
        if dry_run:
            status = "up-to-date" if checkout.is_at(folder, remote) else "planned"
            return CloneResult(folder, wanted.url, wanted.ref, remote.commit, status=status)
        progress.begin(f"{'updating' if before else 'cloning'} {wanted.shown}")
        try:
            if wanted.ref is None and branch not in {None, remote.branch}:
                progress.say(
                    f"{folder} is on your branch {branch} and stays there; {remote.branch} has {remote.commit[:7]}"
                )
            else:
                retry.run(broker, lambda: checkout.checkout(wanted, remote, folder, broker, depth))
                if hollow := retry.run(broker, lambda: checkout.fetch_large(wanted, folder, broker)):
                    progress.say(lfs.warning(wanted.shown, hollow, again="run this again"))
        finally:
            progress.end()
    after = checkout.head(folder) or ""
    status = "cloned" if before is None else "up-to-date" if before == after else "updated"
    seconds = time.monotonic() - began
    return CloneResult(folder, wanted.url, wanted.ref, after, checkout.changed(folder), status, seconds)


def repository(spec: str, owner: str | None, owner_host: str = "github.com") -> Spec:
    """Understand what a person typed for a repository as a whole.

    Raises
    ------
    InstallError, TokenError
        As of `parse_spec`, and for a part of one.
    """
    found = parse_spec(spec, owner=owner, owner_host=owner_host)
    if found.is_folder or found.extras or found.subdirectory:
        raise InstallError(f"{spec!r} is no whole repository; use org/repo, org/repo@REF, HOST/org/repo or its address")
    return found
