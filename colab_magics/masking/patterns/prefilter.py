"""Tell at a glance that a large text holds no secret (pure).

Most text holds none, and only to drop its white space takes twice as long as all that is done here. But of a random
token many characters are capitals, and of ordinary text few are. So text and encodings are both *sifted*: reduced to
capitals, which neither white space nor colours nor escaped line breaks contain. What separates the characters of a
secret goes with that, and of the text so little remains that looking for the sifted encodings in it costs next to
nothing.

Hexadecimal encodings have no capitals. They are long runs of few characters instead, which ordinary text has not.

A prefilter may be mistaken in one direction only: what it calls clean is clean. The rest is for the matcher.
"""

from __future__ import annotations

import re
import string
import sys
from bisect import bisect_left
from itertools import compress
from operator import length_hint

from colab_magics.masking.patterns.encodings import SEPARATORS

__all__ = ["Prefilter"]

_GRAM = 4
_MOST = 100  # places that are looked at closely; with more, a careful look at all of the text takes no longer
_BLOCK = 1 << 12
_CAPITALS = string.ascii_uppercase.encode()
_KEPT = bytes(code in _CAPITALS for code in range(256))
_DROP = bytes(code for code in range(256) if code not in _CAPITALS)
_HEX = b"0123456789abcdefABCDEF:-"
_WIDE = b"\xc2\xe2\xe3\xef" + bytes(range(128, 192))  # bytes of borders and invisible characters
_SEPARATORS = SEPARATORS + b"\x1b[;m>" + _WIDE
_ESCAPED = b"\\nrtvfxu"

_COLOUR = rb"\x1b\[[0-9;]*m"
_GAP = rb"(?:[>" + re.escape(SEPARATORS + _WIDE) + rb"]|" + _COLOUR + rb")*"
_TAG = rb"<" + _GAP + rb"[/!?a-zA-Z][^<>]*>"
_STRANGE = rb"\x1b(?!\[[0-9;]*m)"
_STRANGE_ESCAPED = rb"1" + _GAP + rb"b" + _GAP + rb"\[(?![0-9;]*m)"


class Prefilter:
    """What sifted secrets look like."""

    def __init__(self) -> None:
        # Of each gram: what it is a part of when sifted, and where in that; how much of the encoding must be there, and
        # where in the encoding the sifted bytes stood, with one more on either side.
        self._grams: dict[int, tuple[tuple[bytes, int, int, tuple[int, ...]], ...]] = {}
        self._poor: frozenset[bytes] = frozenset()  # what leaves less than a gram; a single b"" if nothing is left
        self._run = 0  # bytes of the shortest hexadecimal encoding, or piece of one
        self._prefixes: frozenset[bytes] = frozenset()
        # Not compiled at import, which every start of a kernel would pay for.
        self._strange, self._strange_escaped = re.compile(_STRANGE), re.compile(_STRANGE_ESCAPED)
        self._tag = re.compile(_TAG)

    def take_over(self, base: Prefilter) -> None:
        """Know what another one knows."""
        self._grams, self._poor = base._grams.copy(), base._poor
        self._run, self._prefixes = base._run, base._prefixes

    def add(self, encoding: bytes, size: int) -> None:
        """Look for each piece of so many bytes of an encoding.

        Parameters
        ----------
        encoding : bytes
            As a matcher knows it, without white space.
        size : int
            At most its length.
        """
        if not encoding.strip(_HEX):
            self._run = min(self._run or size, size)
            return
        sifted = encoding.translate(None, _DROP)
        places = -1, *compress(range(len(encoding)), encoding.translate(_KEPT)), len(encoding)
        chosen = -1
        for start in range(len(encoding) - size + 1):
            first, last = bisect_left(places, start, 1) - 1, bisect_left(places, start + size, 1) - 1
            if last - first < _GRAM:
                self._poor |= {sifted[first:last]}
            elif chosen < first:
                chosen = last - _GRAM
                gram = int.from_bytes(sifted[chosen:last], sys.byteorder)
                self._grams[gram] = (*self._grams.get(gram, ()), (sifted, chosen, size, places))

    def add_prefix(self, prefix: bytes) -> None:
        """Call nothing clean in which this stands."""
        self._prefixes |= {prefix}

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
        if b"" in self._poor or (b"&" in raw and b";" in raw):
            return False
        if b">" in raw and self._tag.search(raw) and not self._clears(self._tag.sub(b"", raw)):
            return False
        return self._clears(raw)

    def _clears(self, raw: bytes) -> bool:
        coloured, escaped = b"\x1b" in raw, b"\\" in raw
        if coloured and self._strange.search(raw):
            return False
        if (escaped and self._strange_escaped.search(raw)) or self._may_hold_run(raw, escaped):
            return False
        if any(self._may_hold(prefix, raw, escaped) for prefix in self._prefixes):
            return False
        sifted = raw.translate(None, _DROP)
        if len(sifted) * (4 if coloured else 10) > len(raw):  # a careful look takes no longer
            return False
        return not any(poor in sifted for poor in self._poor) and not any(
            self._holds(sifted, shift) for shift in range(_GRAM)
        )

    def _holds(self, sifted: bytes, shift: int) -> bool:
        looks = 0
        words = memoryview(sifted)[shift : shift + (len(sifted) - shift) // _GRAM * _GRAM].cast("I")
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK].tolist()
            rest = iter(block)
            while not self._grams.keys().isdisjoint(rest):  # stops behind the first of ours
                number = len(block) - length_hint(rest) - 1
                place = (first + number) * _GRAM + shift
                looks += 1
                if looks > _MOST:
                    return True
                for encoding, offset, size, places in self._grams[block[number]]:
                    start, end = _run(sifted, encoding, place, offset)
                    # As much of the encoding as can stand here: all between the next bytes that differ.
                    if places[end + 1] - places[start] > size:
                        return True
        return False

    def _may_hold(self, prefix: bytes, raw: bytes, escaped: bool) -> bool:
        if prefix[-1:] not in raw:  # it is a rare one
            return False
        broken = _GAP.join(re.escape(prefix[at : at + 1]) for at in range(len(prefix)))
        return escaped or re.search(broken, raw) is not None

    def _may_hold_run(self, raw: bytes, escaped: bool) -> bool:
        if not self._run:
            return False
        step = max(1, self._run // 24)
        allowed = _HEX + _SEPARATORS + (_ESCAPED if escaped else b"")
        table = bytes(code in allowed for code in range(256))
        return b"\1" * (self._run // step) in raw[::step].translate(table)


def _run(data: bytes, encoding: bytes, place: int, offset: int) -> tuple[int, int]:
    """Say how much of `encoding` stands around data[place], which is encoding[offset]."""
    start = end = offset
    while start > 0 and place - offset + start > 0 and data[place - offset + start - 1] == encoding[start - 1]:
        start -= 1
    while end < len(encoding) and place - offset + end < len(data) and data[place - offset + end] == encoding[end]:
        end += 1
    return start, end
