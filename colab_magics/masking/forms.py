"""The ways in which one secret can be spelled (pure).

A mask that knows only the plain text misses what programs commonly make of it. Base64 is the instructive
case: the same bytes come out as three unrelated strings, depending on how many bytes stand before them
(``user:TOKEN`` in a Basic header), and the characters at both ends also depend on the neighbours. So each
alignment contributes the middle piece that the secret alone determines.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, quote_plus

__all__ = [
    "ESCAPES",
    "MIN_LENGTH",
    "Escapes",
    "forms",
    "is_token_like",
    "squeeze",
    "unescape",
]

MIN_LENGTH = 8  # characters; anything shorter occurs by chance in ordinary text

_WHITESPACE = b" \t\n\r\v\f"


class Escapes(NamedTuple):
    """One kind of escape sequences."""

    start: bytes  # the byte that each begins with, which is searched for fast
    pattern: re.Pattern[bytes]
    nests: bytes  # where this occurs, a sequence may hold the starting byte of another

    def border(self, data: bytes, end: int) -> int:
        """Find where some sequence begins, at or before `end`; 0 if that would take long to find out."""
        start = data.rfind(self.start, 0, max(0, end))
        if start <= 0 or (self.nests and self.nests in data):
            return 0
        return len(data[: start + 1].rstrip(self.start))


# Separators that are more than white space: terminal escapes (CSI, OSC), and those and line breaks in the escaped
# spelling that repr and JSON give them. Each alternative may also be cut off by the end, since a stream is cut
# anywhere. The patterns consume every run of backslashes whole, so that none is looked at twice. Each is one group, so
# that a text can be split by them without losing where they stood.
ESCAPES = (
    Escapes(
        b"\x1b",
        re.compile(rb"(\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|\Z)|\][^\x07\x1b]*(?:\x07|\x1b\\|\Z)|\Z))"),
        nests=b"\x1b]",
    ),
    Escapes(
        b"\\",
        re.compile(rb"(\\+(?:[nrtvf]|(?:x1b|u001b)(?:\[[0-9;]*(?:[A-Za-z]|\Z))?|(?:x1?|u(?:0(?:0(?:1)?)?)?)?\Z)?)"),
        nests=b"",
    ),
)
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9_.+=~-]{32,}")


def squeeze(data: bytes) -> bytes:
    """Drop white space, which is what wrapping adds.

    Parameters
    ----------
    data : bytes
        UTF-8 text or anything else.

    Returns
    -------
    bytes
        The same without ASCII white space.
    """
    return data.translate(None, _WHITESPACE)


def unescape(squeezed: bytes) -> bytes:
    """Drop terminal escapes and escaped line breaks from squeezed text.

    Parameters
    ----------
    squeezed : bytes
        What `squeeze` returned.

    Returns
    -------
    bytes
        The same without escape sequences.
    """
    for kind in ESCAPES:
        if kind.start in squeezed:
            squeezed = kind.pattern.sub(b"", squeezed)
    return squeezed


def is_token_like(value: str) -> bool:
    """Tell whether a long enough piece of this secret is a secret too.

    True for long random words. False for passphrases, links and PEM blocks: pieces of those
    (``https://www.``, ``BEGIN PRIVATE KEY``) are ordinary text.
    """
    return _TOKEN_LIKE.fullmatch(value) is not None and len(set(value)) >= 10


def _escaped_quote(text: str) -> str:
    # repr escapes a quote only when the whole string holds both kinds, which a secret inside it cannot know
    return repr("\"'" + text)[4:-1]


_ESCAPERS: tuple[Callable[[str], str], ...] = (
    lambda s: json.dumps(s)[1:-1],
    lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    lambda s: repr(s)[1:-1],
    lambda s: ascii(s)[1:-1],
    lambda s: repr(s.encode("utf-8", "surrogatepass"))[2:-1],
    _escaped_quote,
    html.escape,
    lambda s: html.escape(s, quote=False),
    lambda s: html.escape(s).replace("&#x27;", "&#39;"),
    lambda s: quote(s, errors="replace"),
    lambda s: quote(s, safe="", errors="replace"),
    lambda s: quote_plus(s, errors="replace"),
    lambda s: re.sub("%..", lambda m: m.group().lower(), quote(s, safe="", errors="replace")),
    lambda s: shlex.quote(s)[1:-1] if shlex.quote(s) != s else s,
    lambda s: s.replace("'", "'\\''"),
)


def _spellings(value: str) -> set[str]:
    """Escape `value` in every way, twice over (HTML in JSON, a repr in a repr)."""
    known = {value}
    for _ in range(2):
        known |= {escape(text) for text in known for escape in _ESCAPERS}
    return known


def _base64(data: bytes) -> set[bytes]:
    pieces = set()
    for before in range(3):
        first, last = -(-8 * before // 6), 8 * (before + len(data)) // 6
        piece = base64.b64encode(b"\0" * before + data)[first:last]
        pieces |= {piece, piece.translate(bytes.maketrans(b"+/", b"-_"))}
    return pieces


def forms(value: str) -> set[bytes]:
    """Spell a secret in every way the mask knows.

    Parameters
    ----------
    value : str
        The secret.

    Returns
    -------
    set of bytes
        UTF-8, squeezed, each of at least `MIN_LENGTH` bytes: plain; escaped as JSON, Python, HTML, a URL or a
        shell does, and two of those in a row; base64 at three alignments in both alphabets; hexadecimal.
    """
    raw = value.encode("utf-8", "surrogatepass")
    spelled = {text.encode("utf-8", "surrogatepass") for text in _spellings(value)}
    # Whoever prints a secret that was read from a file may or may not have stripped its line break.
    for data in {raw, raw.strip()}:
        spelled |= _base64(data)
        spelled |= {data.hex().encode(), data.hex().upper().encode()}
        spelled |= {data.hex(separator).encode() for separator in ":-"}
    squeezed = {squeeze(data) for data in spelled}
    return {data for data in squeezed | {unescape(data) for data in squeezed} if len(data) >= MIN_LENGTH}
