"""Tell at a glance that a large text holds no secret (pure).

Most text holds none, and to search it carefully takes two looks at each byte and, where there are colours, four. But
of a random token many characters are capitals, and of ordinary text few are. So text and encodings are both *sifted*:
reduced to capitals and to some rare letters, which neither white space nor colours nor escaped line breaks contain.
What separates the characters of a secret goes with that, and of the text so little remains that looking for the
sifted encodings in it costs next to nothing.

Hexadecimal encodings have no capitals. They are long runs of few characters instead, which ordinary text has not.

A prefilter may be mistaken in one direction only: what it calls clean is clean. The rest is for the matcher.
"""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Iterable
from itertools import accumulate
from operator import length_hint

from colab_magics.masking.patterns.encodings import SEPARATORS

__all__ = ["Prefilter"]

_GRAM = 4
_POOR = 2  # bytes that must be left of whatever must be found; fewer occur in most texts
_BLOCK = 1 << 12
_CAPITALS = string.ascii_uppercase.encode()
_RARE = b"zqjkygwp"  # rarest first; none of the letters in `\n`, `\x1b`, `\u001b` and in a colour's sequence
_HEX = b"0123456789abcdefABCDEF:-"
_SEPARATORS = SEPARATORS + b"\x1b[;m>\xe2" + bytes(range(128, 192))
_ESCAPED = b"\\nrtvfxu"

_COLOUR = rb"\x1b\[[0-9;]*m"
_GAP = rb"(?:[>\x80-\xbf\xe2" + re.escape(SEPARATORS) + rb"]|" + _COLOUR + rb")*"
_TAG = rb"<" + _GAP + rb"[/!?a-zA-Z][^<>]*>"
_STRANGE = rb"\x1b(?!\[[0-9;]*m)"
_STRANGE_ESCAPED = rb"1" + _GAP + rb"b" + _GAP + rb"\[(?![0-9;]*m)"


class Prefilter:
    """What sifted secrets look like.

    Parameters
    ----------
    whole : iterable of bytes
        Forms that are masked when they occur whole.
    tokens : iterable of bytes
        Forms of which each piece of `fragment` bytes is masked.
    heads : iterable of bytes
        Beginnings that are masked wherever they occur.
    prefixes : iterable of bytes
        What heads start with.
    fragment : int
        How long a piece of a token must be.
    """

    def __init__(
        self,
        whole: Iterable[bytes],
        tokens: Iterable[bytes],
        heads: Iterable[bytes],
        prefixes: Iterable[bytes],
        fragment: int,
    ) -> None:
        pieces, heads, prefixes = set(tokens), set(heads), set(prefixes)
        encodings = pieces.union(whole)
        runs = {encoding for encoding in encodings if not encoding.strip(_HEX)}
        self._run = min(
            (min(len(encoding), fragment) if encoding in pieces else len(encoding) for encoding in runs), default=0
        )
        encodings -= runs
        for rare in range(len(_RARE) + 1):
            # The prefixes of tokens have no capitals, but some have these.
            kept = _CAPITALS + bytes({*b"".join(prefixes)} & {*b"_-"}) + _RARE[:rare]
            self._drop = bytes(code for code in range(256) if code not in kept)
            windows = {
                encoding: _windows(encoding, kept, fragment if encoding in pieces else len(encoding))
                for encoding in encodings
            }
            sizes = {end - start for each in windows.values() for start, end in each}
            self._useful = min(sizes, default=0) >= _POOR
            if self._useful:
                break
        # Of every so many positions one is looked at. What is too short for that is looked for by itself.
        least = min((size for size in sizes if size >= _GRAM), default=_GRAM)
        self._reach = max(1, (least - _GRAM + 1) // _GRAM * _GRAM)
        self._poor: set[bytes] = set()
        self._windows: dict[bytes, set[tuple[int, int]]] = {}
        self._index: dict[int, list[tuple[bytes, int]]] = {}
        for encoding in encodings:
            sifted = encoding.translate(None, self._drop)
            count = len(sifted) - _GRAM + 1
            for offset in range(count if encoding in pieces else min(self._reach, count)):
                gram = int.from_bytes(sifted[offset : offset + _GRAM], sys.byteorder)
                self._index.setdefault(gram, []).append((sifted, offset))
            self._windows.setdefault(sifted, set()).update(windows[encoding])
            self._poor.update(sifted[start:end] for start, end in windows[encoding] if end - start < _GRAM)
        self._grams = frozenset(self._index)
        # Not compiled at import, which every start of a kernel would pay for.
        self._strange, self._strange_escaped = re.compile(_STRANGE), re.compile(_STRANGE_ESCAPED)
        self._tag = re.compile(_TAG)
        sifted_heads = {re.escape(head.translate(None, self._drop)) for head in heads}
        broken = {_GAP.join(re.escape(prefix[at : at + 1]) for at in range(len(prefix))) for prefix in prefixes}
        self._heads = re.compile(b"|".join(sorted(sifted_heads))) if heads else None
        self._prefixes = re.compile(b"|".join(sorted(broken)))

    def clears(self, raw: bytes) -> bool:
        """Tell whether it is certain, and was easy to see, that no encoding stands in a text.

        Parameters
        ----------
        raw : bytes
            Text, with white space and escape sequences.

        Returns
        -------
        bool
            False means nothing: look carefully.
        """
        if b">" in raw and self._tag.search(raw) and not self._clears(self._tag.sub(b"", raw)):
            return False
        return self._clears(raw)

    def _clears(self, raw: bytes) -> bool:
        coloured, escaped = b"\x1b" in raw, b"\\" in raw
        if not self._useful or (coloured and self._strange.search(raw)):
            return False
        if (escaped and self._strange_escaped.search(raw)) or self._may_hold_run(raw, escaped):
            return False
        sifted = raw.translate(None, self._drop)
        if len(sifted) * (4 if coloured else 10) > len(raw) * self._reach:  # a careful look takes no longer
            return False
        if self._heads and self._heads.search(sifted) and (escaped or self._prefixes.search(raw)):
            return False
        if any(poor in sifted for poor in self._poor):
            return False
        return not any(self._holds(sifted[shift:]) for shift in range(1 if self._reach > 1 else _GRAM))

    def _may_hold_run(self, raw: bytes, escaped: bool) -> bool:
        if not self._run:
            return False
        step = max(1, self._run // 24)
        allowed = _HEX + _SEPARATORS + (_ESCAPED if escaped else b"")
        table = bytes(code in allowed for code in range(256))
        return b"\1" * (self._run // step) in raw[::step].translate(table)

    def _holds(self, sifted: bytes) -> bool:
        words = memoryview(sifted)[: len(sifted) // _GRAM * _GRAM].cast("I")[:: max(1, self._reach // _GRAM)]
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK].tolist()
            rest = iter(block)
            while not self._grams.isdisjoint(rest):  # stops behind the first of ours
                number = len(block) - length_hint(rest) - 1
                place = (first + number) * max(_GRAM, self._reach)
                for encoding, offset in self._index[block[number]]:
                    start, end = _run(sifted, encoding, place, offset)
                    if any(start <= left and right <= end for left, right in self._windows[encoding]):
                        return True
        return False


def _windows(encoding: bytes, kept: bytes, size: int) -> list[tuple[int, int]]:
    """Say what each `size` neighbours in `encoding` are in what is left when it is sifted, as half-open ranges."""
    sums = [0, *accumulate(encoding.translate(bytes(code in kept for code in range(256))))]
    return list(zip(sums, sums[size:], strict=False))


def _run(data: bytes, encoding: bytes, place: int, offset: int) -> tuple[int, int]:
    """Say how much of `encoding` stands around data[place], which is encoding[offset]."""
    start = end = offset
    while start > 0 and place - offset + start > 0 and data[place - offset + start - 1] == encoding[start - 1]:
        start -= 1
    while end < len(encoding) and place - offset + end < len(data) and data[place - offset + end] == encoding[end]:
        end += 1
    return start, end
