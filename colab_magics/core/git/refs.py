"""Ask a git host what a ref is, and say in one line what a refusal means."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colab_magics import masking
from colab_magics.core.common import process
from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.errors import Refusal, read_refusal
from colab_magics.core.git.specs import Spec
from colab_magics.errors import InstallError

__all__ = [
    "NeedsTokenError",
    "RefusedTokenError",
    "Remote",
    "TryAgainError",
    "explain",
    "pick_ref",
    "resolve",
]

_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_TIMEOUT = 120.0  # seconds for one ls-remote


class NeedsTokenError(Exception):
    """The host wants a token and none was found; its text is the host.

    Parameters
    ----------
    host : str
        The host.
    refused : bool, optional
        Whether it refused what the person's own git configuration shows it instead.
    """

    def __init__(self, host: str, *, refused: bool = False) -> None:
        super().__init__(host)
        self.refused = refused


class RefusedTokenError(Exception):
    """The host refused the token; its text is what a person is told.

    Parameters
    ----------
    message : str
        See above.
    host : str
        The host.
    """

    def __init__(self, message: str, host: str) -> None:
        super().__init__(message)
        self.host = host


class TryAgainError(Exception):
    """What failed may go well now: git knows another way to a repository."""


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


def resolve(wanted: Sequence[Spec], broker: Broker) -> list[Remote]:
    """Ask the hosts for the commits of refs: one ``git ls-remote`` each, side by side.

    Parameters
    ----------
    wanted : sequence of Spec
        The repositories and refs. A full commit is not asked for.
    broker : Broker
        An open one.

    Returns
    -------
    list of Remote
        One for each of `wanted`.

    Raises
    ------
    NeedsTokenError
        When a host wants a token and the broker has none.
    RefusedTokenError
        When it refuses the token.
    InstallError
        When there is no such repository or ref, no access, or no network.
    """
    env = broker.environment()
    asked = [spec for spec in wanted if not spec.is_pinned]
    found: dict[Spec, Remote] = {}
    for spec, (status, out, err) in zip(asked, _ls_remote([(s, _patterns(s)) for s in asked], env), strict=True):
        if status:
            raise explain(err, spec, broker) or InstallError(f"{spec.shown} cannot be read: {_last_line(err)}")
        remote = pick_ref(out, spec)
        if remote is None:
            raise _no_ref(spec, env)
        found[spec] = remote
    return [found.get(spec) or Remote(str(spec.ref)) for spec in wanted]


def _patterns(spec: Spec) -> list[str]:
    if spec.ref in {None, "HEAD"}:
        return ["HEAD"]
    if _ABBREVIATED.fullmatch(spec.ref or ""):
        return []
    # The pattern becomes a ref-prefix of protocol v2, so that a host with 100,000 refs sends a few; a tag's own
    # commit ("peeled") has a name of its own.
    return [str(spec.ref), f"{spec.ref}^{{}}"]


def _ls_remote(asked: Sequence[tuple[Spec, list[str]]], env: Mapping[str, str]) -> list[tuple[int, str, str]]:
    commands = [["git", "ls-remote", "--symref", spec.url, *patterns] for spec, patterns in asked]
    try:
        return process.capture(commands, env=env, timeout=_TIMEOUT)
    except FileNotFoundError:
        raise InstallError("git was not found; install it (apt-get install git) and run it again") from None
    except subprocess.TimeoutExpired as error:
        spec = next(spec for spec, _ in asked if spec.url in error.cmd)
        raise InstallError(
            f"{spec.host} does not answer within {_TIMEOUT:.0f} s; check the network, run it again"
        ) from None


def pick_ref(listing: str, spec: Spec) -> Remote | None:
    """Choose a spec's ref from what ``git ls-remote --symref`` lists, in the order of gitrevisions(7).

    Parameters
    ----------
    listing : str
        Lines of ``COMMIT<TAB>REF``.
    spec : Spec
        Says which ref is asked for.

    Returns
    -------
    Remote or None
        None when it is not there.

    Raises
    ------
    InstallError
        When the repository is empty.
    """
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
    return None


def _no_ref(spec: Spec, env: Mapping[str, str]) -> InstallError:
    """Return the error for a ref that is not there: it names the branches and tags that are near it."""
    [(_, listing, _)] = _ls_remote([(spec, ["refs/heads/*", "refs/tags/*"])], env)
    names = list(dict.fromkeys(re.findall(r"\trefs/(?:heads|tags)/([^^\n]+)(?:\^\{\})?$", listing, re.MULTILINE)))
    near = difflib.get_close_matches(spec.ref or "", names, n=3, cutoff=0.5) or sorted(names, reverse=True)[:5]
    there = f"there is {', '.join(near)}" if near else "it has no branch and no tag"
    return InstallError(f"{spec.shown} has no branch, tag or commit {spec.ref!r}; {there}")


def explain(output: str, spec: Spec | None, broker: Broker) -> Exception | None:
    """Return the error that a refusal means, or None when the output holds none.

    Parameters
    ----------
    output : str
        What git (or an installer that ran it) printed.
    spec : Spec or None
        What was asked for, for when git does not say which repository it was.
    broker : Broker
        Knows which token was shown.
    """
    refusal = read_refusal(output)
    if refusal is None:
        return None
    if refusal.kind == "no ref" and spec and spec.ref:
        return _no_ref(spec, broker.environment())
    host = refusal.host or (spec.host if spec else "")
    shown = _shown(refusal, spec)
    credential = broker.credentials.get(host)
    if refusal.kind in {"needs token", "refused"} and refusal.is_plain and not is_loopback(host):
        what = shown if refusal.path or (spec and spec.host == host) else f"what {shown} requires"
        return InstallError(
            f"{host} wants a token for {what}, whose address there is plain http; a token is only sent over https, so "
            "write the https:// address"
        )
    if refusal.kind == "needs token" or (refusal.kind == "refused" and credential is None):
        return NeedsTokenError(host, refused=refusal.kind == "refused")
    source = f"the token from {credential.token.source}" if credential else "this machine, which has no token for it,"
    if refusal.kind == "refused" and host not in broker.asked:
        return InstallError(
            f"{host} refused what this machine's git configuration shows it for {shown}, and was not shown {source}; "
            "take that out of the configuration: git config --list --show-origin shows where it stands"
        )
    if refusal.kind == "refused":
        return RefusedTokenError(
            f"{host} refused {source} for {shown}: it has expired, was revoked, or is mistyped; make a "
            "new one with read access to this repository (for an organisation with SSO, authorise it there)",
            host,
        )
    messages = {
        "forbidden": f"{host} gives {source} no access to {shown} (403): give it read access to this "
        "repository's contents; for an organisation with SSO, authorise the token there",
        "not found": f"{host} has no repository {shown}, or {source} may not see it (the host answers 404 for both); "
        "check the name, and that the token's owner has access",
        "no network": f"{host} cannot be reached ({_last_line(refusal.line)}); check the network and run it again",
        "server": f"{host} has trouble of its own ({_last_line(refusal.line)}); wait a little and run it again",
        "large": f"the content of large files (Git LFS) of {shown} cannot be fetched ({_last_line(refusal.line)}); it "
        "is missing there, or its host refuses it: push it, or ask the repository's owner",
        "ssh": f"{shown} is reached over ssh, and {host or 'the host'} does not know this machine's key "
        f"({_last_line(refusal.line)}); with a token for that host in the token file it is fetched over https instead",
        "no ref": f"{shown} has no branch, tag or commit that is asked for ({refusal.line}); correct it",
    }
    return InstallError(messages[refusal.kind])


def _shown(refusal: Refusal, spec: Spec | None) -> str:
    if refusal.path:
        return refusal.path if refusal.host == "github.com" else f"{refusal.host}/{refusal.path}"
    return spec.shown if spec else "a repository"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return masking.redact(lines[-1].removeprefix("fatal: ") if lines else "no reason given")
