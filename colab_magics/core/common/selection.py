"""Which files are wanted, by globs as in ``.gitignore``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Selection", "posix_pattern"]


@dataclass(frozen=True)
class Selection:
    """Which members are wanted.

    A pattern without a slash is matched with every part of a path, one with a slash with the path from DEST on,
    as in ``.gitignore``: ``*`` stops at a slash, ``**`` does not, and what matches a folder takes all that is in it.

    Parameters
    ----------
    include : tuple of str
        Globs of which one must match; none means all.
    exclude : tuple of str
        Globs of which none may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
        return [_compile(glob) for glob in self.include], [_compile(glob) for glob in self.exclude]

    def takes(self, name: str) -> bool:
        """Tell whether the member called `name` is wanted."""
        include, exclude = self._patterns
        if include and not any(pattern.match(name) for pattern in include):
            return False
        return not any(pattern.match(name) for pattern in exclude)


def _compile(glob: str) -> re.Pattern[str]:
    glob = re.sub(r"^(\./)+", "/", glob)
    anchored = "/" in glob.rstrip("/")
    text = "" if anchored else "(?:.*/)?"
    for piece in re.findall(r"\*\*/?|\*|\?|\[!?\]?[^]]*\]|.", glob.strip("/"), re.DOTALL):
        if piece == "**/":
            text += "(?:.*/)?"
        elif piece == "**":
            text += ".*"
        elif piece in "*?":
            text += "[^/]" + ("*" if piece == "*" else "")
        elif piece[0] == "[" and len(piece) > 1:
            text += _one_of(piece)
        else:
            text += re.escape(piece)
    return re.compile(f"{text}(?:/.*)?\\Z", re.DOTALL)


def posix_pattern(glob: str) -> str:
    """Return a glob as an extended regular expression (POSIX XBD 9.4) for names that begin with ``./``."""
    text = _compile(glob).pattern.removesuffix("\\Z").replace("(?:", "(")
    # In brackets of POSIX's a backslash stands for itself, which no name has; "]" is literal where it is the first.
    text = re.sub(r"\(\?!/\)\[(\^?)(\\(?=\]))?(\]?)", lambda found: f"[{found[1]}{found[3]}{found[1] and '/'}", text)
    return r"^\./" + re.sub(r"\\([^]\[\\.*^$+?(){}|])", r"\1", text) + "$"


def _one_of(piece: str) -> str:
    """Return the pattern of a glob's ``[...]``; one that makes no sense, as ``[z-a]``, stands for itself."""
    negated = piece[1] == "!"
    inner = re.sub(r"([\\\[&~|^])", r"\\\1", piece[2:-1] if negated else piece[1:-1])
    inner = f"\\{inner}" if inner.startswith("]") else inner
    try:
        re.compile(f"[{inner}]")
    except re.error:
        return re.escape(piece)
    return f"(?!/)[{'^' if negated else ''}{inner}]"
