"""What a git host's refusal means, read from what git and the installers print. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Refusal", "read_refusal"]

Kind = Literal["refused", "needs token", "forbidden", "not found", "no ref", "no network", "ssh", "server", "large"]


@dataclass(frozen=True)
class Refusal:
    """A refusal, understood.

    Attributes
    ----------
    kind : str
        Which of the known ones it is.
    host : str
        Who refused, with its port where it has one; empty when git does not say.
    path : str
        The repository's path there; empty when git does not say.
    line : str
        git's own line.
    is_plain : bool
        Whether it was asked over plain http.
    """

    kind: Kind
    host: str
    path: str
    line: str
    is_plain: bool = False


_URL = r"'(?P<url>\S+?)/?'"
_TROUBLE = (
    r"Could not resolve (?:host|proxy)|Failed to connect|Couldn't connect|Connection (?:refused|timed out|reset)|"
    r"Operation timed out|Empty reply|Recv failure|SSL|GnuTLS|OpenSSL|schannel|server certificate|"
    r"Network is unreachable|Failure when receiving|Received HTTP code \d+ from proxy|.*timed out"
)
_NO_REF = (
    r"not our ref\s+[0-9a-f]+|couldn't find remote ref|Remote branch \S+ not found|unadvertised object|"
    r"reference is not a tree|did not match any file\(s\) known to git|unable to read tree|"
    r"failed to find (?:branch|tag|commit|ref)|bad object [0-9a-f]{7,}|revspec \S+ not found"
)
# The order counts: a host's 401 ends in "Authentication failed" whatever the lines before it say.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("refused", rf"Authentication failed for {_URL}"),
    ("needs token", rf"could not read (?:Username|Password) for {_URL}:"),
    ("needs token", r"told us to quit|terminal prompts disabled"),
    ("forbidden", rf"unable to access {_URL}: The requested URL returned error: 403"),
    ("not found", rf"unable to access {_URL}: The requested URL returned error: 404"),
    ("server", rf"unable to access {_URL}: The requested URL returned error: (?:429|5\d\d)"),
    ("not found", rf"repository {_URL} not found"),
    ("not found", r"TF401019: The Git repository with name or identifier \S+ does not exist"),
    ("not found", r"(?P<url>https?://\S+?)/info/refs\S* not valid: is this a git repository"),
    (
        "no network",
        rf"unable to access {_URL}: (?:{_TROUBLE})",
    ),
    ("ssh", r"(?P<url>[\w.-]+@[\w.-]+): Permission denied|Host key verification failed|cannot run ssh|ssh: Could not"),
    ("large", r"batch response: .|Smudge error: .|smudge filter lfs failed"),
    (
        "no ref",
        _NO_REF,
    ),
)
_KNOWN = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PATTERNS)


def read_refusal(output: str) -> Refusal | None:
    """Return what git's refusal means, or None when it is none of the known ones.

    Parameters
    ----------
    output : str
        What git printed, or an installer that ran it.
    """
    # An installer may cut git's lines with line ends and a frame of its own.
    lines = re.sub(r"\n[ \t│|]*", "\n", output)
    for kind, pattern in _KNOWN:
        if match := pattern.search(lines):
            url = match.groupdict().get("url") or ""
            host, path = _split(url)
            start, end = lines.rfind("\n", 0, match.start()) + 1, lines.find("\n", match.end())
            line = lines[start : end if end >= 0 else None].strip()
            return Refusal(
                kind, host, path, line.removeprefix("fatal: ").removeprefix("error: "), url.startswith("http:")
            )
    return None


def _split(url: str) -> tuple[str, str]:
    """Split an address, or scp's ``user@host:path``, into host and path."""
    bare = re.sub(r"^\w+://", "", url)
    host, _, path = re.sub(r"^[^/@]*@", "", bare).partition("/" if bare != url else ":")
    return host.lower(), path.removesuffix(".git")
