"""The ways in which one secret can be written, and what may stand between its characters (pure).

A mask that knows only the plain text misses what programs commonly make of it. Base64 is the instructive
case: the same bytes come out as three unrelated strings, depending on how many bytes stand before them
(``user:TOKEN`` in a Basic header), and the characters at both ends also depend on the neighbours. So each
alignment contributes the middle piece that the secret alone determines.

Quotes, backslashes, line breaks and borders differ from one way to the next, so they are dropped, here and in the text
that is searched: what is left of ``'it''s'``, ``"it's"`` and the two lines of a table's cell is the same.
"""

from __future__ import annotations

import base64
import html
import json
import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, quote_plus

__all__ = [
    "ESCAPES",
    "MIN_LENGTH",
    "OUTSIDE_TAGS",
    "SEPARATORS",
    "Escapes",
    "encodings",
    "is_random",
    "parts",
    "squeeze",
    "unescape",
    "visible",
]

MIN_LENGTH = 8  # characters; anything shorter occurs by chance in ordinary text
_SMALL = 1 << 12  # bytes
_FEW = 8

#: Bytes that wrapping, quoting, tables and UTF-16 put between characters.
SEPARATORS = b" \t\n\r\v\f\0\"',`|#"


class Escapes(NamedTuple):
    """One kind of separators that are several characters long."""

    start: bytes  # the byte that each begins with, which is searched for fast
    pattern: re.Pattern[bytes]
    nests: bytes  # where this occurs, a sequence may hold the starting byte of another
    apart: bool  # whether what is one is one wherever it occurs; but for those that are cut off

    def drop(self, squeezed: bytes) -> bytes:
        """Return squeezed text without these sequences."""
        if not self.apart or len(squeezed) < _SMALL:
            return self.pattern.sub(b"", squeezed)
        # A program writes few different ones, many times over. To replace them one kind after the other takes a
        # fraction of the time. A line break marks where one was: what stood around it must not become another one.
        at = 0
        for _ in range(_FEW):
            found = self.pattern.search(squeezed, at)
            if found is None:
                break
            at = found.start()
            if found.end() == len(squeezed):
                squeezed = squeezed[:at]
                break
            squeezed = squeezed.replace(found[0], b"\n")
        else:
            squeezed = squeezed[:at] + self.pattern.sub(b"\n", squeezed[at:])
        return squeezed.translate(None, b"\n") if b"\n" in squeezed else squeezed

    def border(self, data: bytes, end: int) -> int:
        """Find where some sequence begins, at or before `end`; 0 if that would take long to find out."""
        start = data.rfind(self.start, 0, max(0, end))
        if start <= 0 or (self.nests and self.nests in data):
            return 0
        return len(data[: start + 1].rstrip(self.start))


# Terminal escapes (CSI, OSC); those and line breaks, borders and NUL as repr and JSON write them; borders of tables and
# invisible characters; other white space, the soft hyphen and the byte order mark; HTML's names for those (whose # is a
# separator); tags; the > before a quoted line. What is more than one character may also be cut off by the end, since a
# stream is cut anywhere. The patterns consume every run of backslashes whole, so that none is looked at twice. Each is
# one group, so that a text can be split by them without losing where they stood, and begins with one byte, for which
# `re` looks fast.
ESCAPES = (
    Escapes(
        b"\x1b",
        re.compile(rb"(\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|\Z)|\][^\x07\x1b\n]*(?:\x07|\x1b\\|\Z)|\Z))"),
        nests=b"\x1b]",
        apart=True,
    ),
    Escapes(
        b"\\",
        re.compile(
            rb"(\\\\*(?:[nrtvf]|(?:x1b|u001b)(?:\[[0-9;]*(?:[A-Za-z]|\Z))?|x00|u0000|u25[0-9a-f]{2}"
            rb"|(?:x[01]?|u(?:0(?:0(?:[01]0?)?)?|2(?:5[0-9a-f]?)?)?)?\Z)?)"
        ),
        nests=b"",
        apart=False,
    ),
    Escapes(
        b"\xe2",
        re.compile(rb"(\xe2(?:[\x94-\x96][\x80-\xbf]|\x80[\x80-\x8f\xa8-\xaf]|\x81[\x9f-\xaf]))"),
        nests=b"",
        apart=True,
    ),
    Escapes(b"\xc2", re.compile(rb"(\xc2[\xa0\xad])"), nests=b"", apart=True),
    Escapes(b"\xe3", re.compile(rb"(\xe3\x80\x80)"), nests=b"", apart=True),
    Escapes(b"\xef", re.compile(rb"(\xef\xbb\xbf)"), nests=b"", apart=True),
    Escapes(
        b"&",
        re.compile(rb"(&(?:(?:nbsp|160|xa0|shy);|(?:n(?:b(?:sp?)?)?|1(?:60?)?|x(?:a0?)?|s(?:hy?)?)?\Z))"),
        nests=b"",
        apart=True,
    ),
    Escapes(b"<", re.compile(rb"(<[/!?a-zA-Z][^<>\n]*(?:>|\Z)|<\Z)"), nests=b"", apart=True),
    Escapes(b">", re.compile(rb"(>)"), nests=b"", apart=True),
)
#: How many of them are never part of a tag: a text is also searched without these only, for what stands in a tag.
OUTSIDE_TAGS = 7
_WORD = re.compile(r"[A-Za-z0-9_.+/~-]{16,}=*")
_KEY = re.compile(r"-----BEGIN [^-]+-----(.+?)-----END", re.DOTALL)
_TURN = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")  # not the one in a capitalised word
_UNESCAPED = re.compile(r"[A-Za-z0-9_.~-]*")


def squeeze(data: bytes) -> bytes:
    """Drop `SEPARATORS`.

    Parameters
    ----------
    data : bytes
        UTF-8 text or anything else.

    Returns
    -------
    bytes
        The same without white space, quotes, commas and vertical bars.
    """
    return data.translate(None, SEPARATORS)


def unescape(squeezed: bytes, kinds: tuple[Escapes, ...] = ESCAPES) -> bytes:
    """Drop `ESCAPES` from squeezed text.

    Parameters
    ----------
    squeezed : bytes
        What `squeeze` returned.
    kinds : tuple of Escapes
        Which ones.

    Returns
    -------
    bytes
        The same without escape sequences, borders and tags.
    """
    for kind in kinds:
        if kind.start in squeezed:
            squeezed = kind.drop(squeezed)
    return squeezed


def visible(value: str) -> int:
    """Count the characters of a secret that are compared: not quotes, backslashes, white space and borders."""
    kept = unescape(squeeze(value.encode("utf-8", "surrogatepass")), ESCAPES[:OUTSIDE_TAGS])
    return len(kept.decode("utf-8", "surrogatepass"))


def is_random(word: str) -> bool:
    """Tell whether a long enough piece of this secret is a secret too.

    True for random words: there, small letters, capitals and digits take turns. False for passphrases, links
    and names, whose pieces (``https://www.``, ``-production-``) are ordinary text.
    """
    return _WORD.fullmatch(word) is not None and len(_TURN.findall(word)) * 6 >= len(word) and len(set(word)) >= 8


def parts(value: str) -> set[str]:
    """Find what is a secret of its own in a secret.

    Parameters
    ----------
    value : str
        A secret: a token, a link, a private key, the JSON of a service account.

    Returns
    -------
    set of str
        Its random words (of a link with a query, only those in the query), each line of a private key, and, where
        nothing looks like the names and values of a file, each line of at least `MIN_LENGTH` characters.
    """
    text = value.replace("\\n", "\n").strip()
    if text.startswith(("https://", "http://")):
        # A host and a path are named in ordinary output.
        text = (text.partition("?")[2] or text).replace("/", " ")
    found = {word for word in _WORD.findall(text) if is_random(word)}
    lines = [line for block in _KEY.findall(text) for line in block.split("\n")]
    if not re.search(r"[:=\[{]|-----", text):
        lines += text.split("\n")
    found.update(line.strip() for line in lines if visible(line) >= MIN_LENGTH)
    return found - {value}


def _replaced(characters: str, by: str, text: str) -> str:
    return "".join(by.format(ord(c)) if c in characters else c for c in text)


def _as_html(double: str, single: str, escape: Callable[[str], str], text: str) -> str:
    return escape(html.escape(text, quote=False).replace('"', double).replace("'", single))


def _as_references(text: str) -> str:
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _as_octal(text: str) -> str:
    return "".join(chr(b) if b < 128 else f"\\{b:o}" for b in text.encode("utf-8", "surrogatepass"))


def _as_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _small(escape: Callable[..., str], safe: str, text: str) -> str:
    return re.sub("%..", lambda m: m.group().lower(), escape(text, safe=safe, errors="replace"))


def _as_names(text: str) -> str:
    return text.encode("ascii", "namereplace").decode()


def _as_cookie(text: str) -> str:
    return "".join(f"\\{ord(c):03o}" if c in ",;" or c < " " or "\x7f" <= c <= "\xff" else c for c in text)


def _as_latex(names: dict[str, str], text: str) -> str:
    return "".join(names.get(c, c) for c in text)


_PYGMENTS = {
    char: f"\\PYZ{name}{{}}"
    for char, name in (
        ("\\", "bs"), ("{", "ob"), ("}", "cb"), ("^", "ca"), ("_", "us"), ("&", "am"), ("<", "lt"), (">", "gt"),
        ("#", "sh"), ("%", "pc"), ("$", "dl"), ("-", "hy"), ("'", "sq"), ('"', "dq"), ("~", "ti"),
    )
}  # fmt: skip
_PANDAS = {"\\": "\\textbackslash ", "~": "\\textasciitilde ", "^": "\\textasciicircum "}

# What is done to quotes and backslashes need not be known: they are dropped.
_ESCAPERS: tuple[Callable[[str], str], ...] = (
    _as_json,
    lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    partial(_as_html, '"', "'", str),
    partial(_as_html, "&quot;", "&#x27;", str),
    lambda s: quote(s, safe="", errors="replace"),
    partial(quote, safe="/", errors="replace"),
    # The first six are also what is done to what another one has made.
    lambda s: repr(s)[1:-1],
    lambda s: ascii(s)[1:-1],
    lambda s: repr(s.encode("utf-8", "surrogatepass"))[2:-1],
    lambda s: re.sub(r"\\[xuU][0-9a-f]+", lambda m: m[0][:2] + m[0][2:].upper(), ascii(s))[1:-1],  # as YAML does
    _as_octal,
    _as_references,
    *(
        partial(_as_html, double, single, escape)
        for double, single in (("&quot;", "&#39;"), ("&#34;", "&#39;"), ("&quot;", "'"), ("&quot;", "&apos;"))
        for escape in (str, _as_references)
    ),
    partial(_as_html, '"', "'", _as_references),
    *(partial(quote, safe=safe, errors="replace") for safe in ("!~*'()", ";/?:@&=+$,#!~*'()")),
    lambda s: quote_plus(s, errors="replace"),
    *(partial(_small, escape, safe) for escape, safe in ((quote, ""), (quote, "/"), (quote_plus, ""))),
    # JSON in HTML: of Go, of plotly, of Jinja, of Django.
    lambda s: _replaced("&<>", "\\u{:04x}", _as_json(s)),
    lambda s: _replaced("<>/", "\\u{:04x}", _as_json(s)),
    lambda s: _replaced("&<>'", "\\u{:04x}", _as_json(s)),
    lambda s: _replaced("&<>'\"=-;`\\", "\\u{:04X}", s),
    # Signs that format strings and templates write twice.
    *(lambda s, signs=signs: re.sub(f"[{signs}]", r"\g<0>\g<0>", s) for signs in ("%", "{}", "$")),
    _as_names,
    _as_cookie,
    partial(_as_latex, _PYGMENTS),
    partial(_as_latex, _PANDAS),
)


def _spellings(value: str) -> set[str]:
    """Escape `value` in every way, and some over others (HTML in JSON, a JSON in a JSON)."""
    if _UNESCAPED.fullmatch(value):
        return {value}
    known = {value, unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)}
    known |= {escape(text) for text in known for escape in _ESCAPERS}
    return known | {escape(text) for text in known for escape in _ESCAPERS[:6]}


def _aligned(data: bytes, encode: Callable[[bytes], bytes], bits: int) -> set[bytes]:
    """Encode `data` behind 0, 1, ... other bytes; of each, keep the digits of `bits` bits that `data` decides."""
    group = 5 if bits == 5 else 3
    spans = ((before, -(-8 * before // bits), 8 * (before + len(data)) // bits) for before in range(group))
    return {encode(b"\0" * before + data)[first:last] for before, first, last in spans}


def encodings(value: str) -> set[bytes]:
    """Write a secret in every way the mask knows.

    Parameters
    ----------
    value : str
        The secret.

    Returns
    -------
    set of bytes
        UTF-8, squeezed, each of at least `MIN_LENGTH` bytes: plain; composed and decomposed; escaped as JSON,
        Python, YAML, XML, LaTeX, a URL, a cookie or a shell does, and two of those in a row; base64 and base32 at every
        alignment, hexadecimal, each also of its JSON; base64 of its UTF-16.
    """
    raw = value.encode("utf-8", "surrogatepass")
    spelled = {text.encode("utf-8", "surrogatepass") for text in _spellings(value)}
    # Whoever prints a secret that was read from a file may or may not have stripped its line break.
    of_64 = _aligned(value.encode("utf-16-le", "surrogatepass"), base64.b64encode, 6)
    for data in {raw, raw.strip(), *(escape(value).encode("utf-8", "surrogatepass") for escape in _ESCAPERS[:2])}:
        of_64 |= _aligned(data, base64.b64encode, 6)
        spelled |= _aligned(data, base64.b32encode, 5)
        spelled |= {data.hex().encode(), data.hex().upper().encode(), data.hex(":").encode(), data.hex("-").encode()}
    spelled |= of_64 | {data.translate(bytes.maketrans(b"+/", b"-_")) for data in of_64}
    squeezed = {squeeze(data) for data in spelled}
    escaped = {data for data in squeezed if any(kind.start in data for kind in ESCAPES)}
    escaped |= {unescape(data, ESCAPES[:OUTSIDE_TAGS]) for data in escaped}
    # With another < behind it, the end of a secret cannot pass for a tag that is cut off.
    escaped |= {unescape(data + b"<") for data in escaped}
    return {data for data in squeezed | escaped if len(data) >= MIN_LENGTH}
