"""Ask a git host what a ref is, clone a repository, and say in one line what a refusal means."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colab_magics import masking
from colab_magics.core import process
from colab_magics.core.credentials import Broker
from colab_magics.core.specs import Spec
from colab_magics.errors import InstallError, TokenError

__all__ = ["NeedsTokenError", "Remote", "checkout", "failure", "pick_ref", "resolve"]

_FULL = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_TIMEOUT = 120.0  # seconds for one ls-remote

_NO_NETWORK = re.compile(
    r"could not resolve host|failed to connect|connection (refused|timed out|reset)|network is unreachable|"
    r"couldn't connect|operation timed out|empty reply from server|ssl certificate problem|gnutls_handshake",
    re.IGNORECASE,
)
_NEEDS_TOKEN = re.compile(
    r"could not read (username|password)|told us to quit|terminal prompts disabled", re.IGNORECASE
)
_REFUSED = re.compile(
    r"authentication failed|invalid username or (password|token)|invalid credentials|HTTP basic: access denied",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r"error: 403|403 forbidden|access denied|permission (to .* )?denied|SAML SSO", re.IGNORECASE)
_NOT_FOUND = re.compile(
    r"repository .{0,300}not found|not found: |error: 404|project you were looking for could not be found",
    re.IGNORECASE,
)


class NeedsTokenError(Exception):
    """The host wants a token and none was found."""


@dataclass(frozen=True)
class Remote:
    """A ref, resolved.

    Attributes
    ----------
    commit : str
        What to install: the full commit, or an abbreviated one that only a clone can complete.
    branch : str or None
        The branch that it is the tip of, when a branch was asked for.
    """

    commit: str
    branch: str | None = None


def resolve(spec: Spec, broker: Broker) -> Remote:
    """Ask the host for the commit of a spec's ref: one ``git ls-remote``.

    Raises
    ------
    NeedsTokenError
        When the host wants a token and the broker has none.
    TokenError
        When it refuses the token.
    InstallError
        When there is no such repository or ref, no access, or no network.
    """
    if spec.ref and _FULL.fullmatch(spec.ref):
        return Remote(spec.ref)
    command = ["git", "ls-remote", "--symref", spec.url]
    if spec.ref in {None, "HEAD"}:
        command.append("HEAD")
    try:
        done = subprocess.run(
            command,
            env=broker.environment(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=False,
            errors="replace",
        )
    except FileNotFoundError:
        raise InstallError("git was not found; install it (apt-get install git) and run it again") from None
    except subprocess.TimeoutExpired:
        raise InstallError(
            f"{spec.host} does not answer within {_TIMEOUT:.0f} s; check the network and run it again"
        ) from None
    if done.returncode:
        error = failure(done.stderr, spec.shown, spec.host, broker)
        raise error or InstallError(f"{spec.shown} cannot be read: {_last_line(done.stderr)}")
    return pick_ref(done.stdout, spec)


def pick_ref(listing: str, spec: Spec) -> Remote:
    """Choose a spec's ref from what ``git ls-remote --symref`` lists, in the order of gitrevisions(7)."""
    refs: dict[str, str] = {}
    head = None
    for line in listing.splitlines():
        left, _, name = line.partition("\t")
        if left.startswith("ref: "):
            head = left.removeprefix("ref: ").removeprefix("refs/heads/") if name == "HEAD" else head
        else:
            refs[name] = left
    if spec.ref is None or spec.ref == "HEAD":
        if "HEAD" not in refs:
            raise InstallError(f"{spec.shown} is empty: it has no commit to install; push one first")
        return Remote(refs["HEAD"], head)
    for name in (spec.ref, f"refs/{spec.ref}", f"refs/tags/{spec.ref}", f"refs/heads/{spec.ref}"):
        if name in refs:
            branch = name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else None
            return Remote(refs.get(f"{name}^{{}}", refs[name]), branch)
    if _ABBREVIATED.fullmatch(spec.ref):
        whole = {commit for commit in refs.values() if commit.startswith(spec.ref)}
        return Remote(whole.pop() if len(whole) == 1 else spec.ref)
    names = [re.sub(r"^refs/(heads|tags)/", "", name) for name in refs if re.match(r"refs/(heads|tags)/[^^]+$", name)]
    near = difflib.get_close_matches(spec.ref, names, n=3, cutoff=0.5) or sorted(names, reverse=True)[:5]
    hint = f"; there is {', '.join(near)}" if near else ""
    raise InstallError(f"{spec.shown} has no branch, tag or commit {spec.ref!r}{hint}")


def failure(output: str, shown: str, host: str, broker: Broker) -> Exception | None:
    """Return what git's refusal means, or None when it is none of the known ones.

    Parameters
    ----------
    output : str
        What git (or an installer that ran it) printed.
    shown : str
        What messages call the repository.
    host : str
        The host that was asked.
    broker : Broker
        Knows what was asked for and refused.
    """
    credential = broker.credentials.get(host)
    source = credential.token.source if credential else ""
    if credential and (host in broker.refused or _REFUSED.search(output)):
        return TokenError(
            f"{host} refused the token from {source} for {shown}: it has expired, was revoked, or is mistyped; make a "
            "new one with read access to this repository (for an organisation with SSO, authorise it there)"
        )
    if _NEEDS_TOKEN.search(output) or _REFUSED.search(output):
        return NeedsTokenError(host)
    if _NO_NETWORK.search(output):
        return InstallError(f"{host} cannot be reached ({_last_line(output)}); check the network and run it again")
    if _FORBIDDEN.search(output):
        return InstallError(
            f"{host} gives the token from {source or 'nowhere'} no access to {shown} (403): give it read access to this "
            "repository's contents; for an organisation with SSO, authorise the token there"
        )
    if _NOT_FOUND.search(output):
        return InstallError(
            f"{host} has no repository {shown}, or the token may not see it (both look the same from outside); check "
            "the name, and that the token's owner has access"
        )
    return None


def checkout(spec: Spec, remote: Remote, folder: Path, env: Mapping[str, str]) -> None:
    """Make `folder` a clone of a spec's repository at its commit, without ever losing a change in it.

    Raises
    ------
    InstallError
        When something else stands there, or the clone has changes that would be lost.
    """
    if not folder.exists() or not any(folder.iterdir()):
        branch = ["--branch", remote.branch] if remote.branch else []
        _git(["clone", "--quiet", "--recurse-submodules", *branch, spec.url, str(folder)], None, env, spec)
        if not remote.branch:
            _git(["checkout", "--quiet", "--recurse-submodules", remote.commit], folder, env, spec)
        return
    if not (folder / ".git").exists():
        raise InstallError(f"{str(folder)!r} is there and is no clone of {spec.shown}; move it away, or use --src DIR")
    if _git(["rev-parse", "HEAD"], folder, env, spec).strip() == remote.commit:
        return
    if _git(["status", "--porcelain", "--untracked-files=no"], folder, env, spec).strip():
        raise InstallError(
            f"{str(folder)!r} has changes that are not committed, so it was not moved to {spec.ref or 'the newest commit'}; "
            "commit or stash them"
        )
    _git(["fetch", "--quiet", "--tags", "origin"], folder, env, spec)
    if remote.branch:
        _git(["checkout", "--quiet", remote.branch], folder, env, spec)
        _git(["merge", "--quiet", "--ff-only", remote.commit], folder, env, spec)
    else:
        _git(["checkout", "--quiet", remote.commit], folder, env, spec)
    _git(["submodule", "update", "--quiet", "--init", "--recursive"], folder, env, spec)


def _git(arguments: list[str], folder: Path | None, env: Mapping[str, str], spec: Spec) -> str:
    done = process.run(["git", *arguments], cwd=folder, env=env)
    if done.status:
        raise InstallError(f"git {arguments[0]} of {spec.shown} failed:\n{done.tail(8)}")
    return done.output


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return masking.redact(lines[-1].removeprefix("fatal: ") if lines else "no reason given")
